"""Types of keys and data: what the kernel only counts in bytes, and nft needs to print.

The kernel keeps the number of a type, and as userdata the order of bytes, without looking at either; both are nft's.
"""

from __future__ import annotations

from typing import NamedTuple

_CONCATENATED_BITS = 6  # of one field's number within the number of a concatenation


class DataType(NamedTuple):
    number: int
    length: int  # in bytes
    host_order: bool = False


IPV4 = DataType(7, 4)
IPV6 = DataType(8, 16)
ETHER = DataType(9, 6)
PROTOCOL = DataType(12, 1)
SERVICE = DataType(13, 2)
MARK = DataType(19, 4, host_order=True)
IFINDEX = DataType(20, 4, host_order=True)
IFNAME = DataType(41, 16, host_order=True)
VERDICT = DataType(0xFFFFFF00, 0)

_KNOWN = {kind.number: kind for kind in (IPV4, IPV6, ETHER, PROTOCOL, SERVICE, MARK, IFINDEX, IFNAME, VERDICT)}


def padded(length: int) -> int:
    """The bytes that a field takes in a concatenation."""
    return (length + 3) & ~3


def number_of(fields: tuple[DataType, ...]) -> int:
    number = 0
    for field in fields:
        number = number << _CONCATENATED_BITS | field.number
    return number


def length_of(fields: tuple[DataType, ...]) -> int:
    return fields[0].length if len(fields) == 1 else sum(padded(field.length) for field in fields)


def from_number(number: int, length: int) -> tuple[DataType, ...]:
    """The fields of a number; one that nobody here knows stands for itself."""
    if number in _KNOWN:
        return (_KNOWN[number],)
    fields = []
    rest = number
    while rest:
        fields.append(_KNOWN.get(rest & ((1 << _CONCATENATED_BITS) - 1)))
        rest >>= _CONCATENATED_BITS
    known = tuple(field for field in reversed(fields) if field is not None)
    return known if len(known) == len(fields) > 1 else (DataType(number, length),)


def concatenate(*fields: bytes) -> bytes:
    """One key of several fields."""
    return b"".join([field + bytes(-len(field) % 4) for field in fields])


def ifname(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape").ljust(IFNAME.length, b"\0")
