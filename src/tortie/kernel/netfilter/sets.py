"""Sets and maps: what a rule looks a value up in.

The kernel chooses the structure: a hash without `interval`, with it a search tree, and for several fields with
intervals a list of maps by bit (pipapo). Known members one by one belong in a hash, ranges and prefixes alone in an
interval set: 100,000 members take 230 ms against 620, and a lookup 62 ns against 335 (measured). Concatenated
intervals serve up to about a thousand elements, and from 8 deletions on a new set is cheaper.

**An interval set is created and filled in an earlier transaction than the rule that uses it**, see the package.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from tortie.kernel.netfilter import datatype
from tortie.kernel.netfilter.change import CREATE, EXCLUSIVE, TABLE, Change, Operation, change, head, wire_type
from tortie.kernel.netfilter.datatype import VERDICT, DataType
from tortie.kernel.netfilter.message import Family, be32, element, nest, number, open_message
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netlink.message import Message, attribute, text

_NAME = 2
_FLAGS = 3
_KEY_TYPE = 4
_KEY_LENGTH = 5
_DATA_TYPE = 6
_DATA_LENGTH = 7
_DESCRIPTION = 9
_ID = 10
_USERDATA = 13
_SIZE = 1
_CONCATENATION = 2
_FIELD_LENGTH = 1
_ELEMENTS_SET = 2

_INTERVAL = 0x4
_MAP = 0x8
_CONCATENATED = 0x80

_ANY_ID = 1  # rules of ours name a set by its name; the kernel demands a number all the same

# Userdata of libnftnl: type, length, value. nft prints host-ordered keys right only if told so.
_ORDER = struct.Struct("=BBI")
_KEY_ORDER = 0
_DATA_ORDER = 1
_NO_ORDER, _HOST_ORDER, _NETWORK_ORDER = 0, 1, 2


class Set(NamedTuple):
    """`data` makes it a map: `(VERDICT,)` or the fields of a value. `size`, 0 for none, limits it and speeds it up."""

    family: Family
    table: str
    name: str
    key: tuple[DataType, ...]
    data: tuple[DataType, ...] = ()
    interval: bool = False
    size: int = 0

    @property
    def concatenated_intervals(self) -> bool:
        return self.interval and len(self.key) > 1


def add(wanted: Set) -> Change:
    """Makes the set, which must not exist."""
    flags = _INTERVAL * wanted.interval | _MAP * bool(wanted.data) | _CONCATENATED * wanted.concatenated_intervals
    description = [be32(_SIZE, wanted.size)] if wanted.size else []
    if wanted.concatenated_intervals:
        fields = [element(be32(_FIELD_LENGTH, field.length)) for field in wanted.key]
        description.append(nest(_CONCATENATION, *fields))
    attributes = [
        text(_NAME, wanted.name),
        be32(_FLAGS, flags),
        be32(_KEY_TYPE, datatype.number_of(wanted.key)),
        be32(_KEY_LENGTH, datatype.length_of(wanted.key)),
        be32(_ID, _ANY_ID),
        nest(_DESCRIPTION, *description) if description else b"",
    ]
    userdata = _ORDER.pack(_KEY_ORDER, 4, _order(wanted.key))
    if wanted.data:
        attributes.append(be32(_DATA_TYPE, datatype.number_of(wanted.data)))
        attributes.append(be32(_DATA_LENGTH, datatype.length_of(wanted.data)))
        userdata += _ORDER.pack(_DATA_ORDER, 4, _order(wanted.data))
    attributes.append(attribute(_USERDATA, userdata))
    return change(Operation.NEW_SET, CREATE | EXCLUSIVE, wanted.family, wanted.table, *attributes)


def flush(wanted: Set) -> Change:
    """Deletes its elements."""
    return change(Operation.DELETE_ELEMENTS, 0, wanted.family, wanted.table, text(_ELEMENTS_SET, wanted.name))


def delete(wanted: Set) -> Change:
    """With its elements; `Busy` while a rule uses it."""
    return change(Operation.DELETE_SET, 0, wanted.family, wanted.table, text(_NAME, wanted.name))


def dump(sock: NetfilterSocket, family: Family, table: str) -> list[Set]:
    """The sets of a table, without their elements."""
    return sock.dump(wire_type(Operation.GET_SET), head(family, table), parse, f"list sets of {table}")


def parse(message: Message) -> Set:
    family, attributes = open_message(message)
    flags = number(attributes, _FLAGS)
    data: tuple[DataType, ...] = ()
    if flags & _MAP:
        data = datatype.from_number(number(attributes, _DATA_TYPE), number(attributes, _DATA_LENGTH))
    return Set(
        family,
        attributes.text(TABLE),
        attributes.text(_NAME),
        datatype.from_number(number(attributes, _KEY_TYPE), number(attributes, _KEY_LENGTH)),
        data,
        bool(flags & _INTERVAL),
        number(attributes.nested(_DESCRIPTION), _SIZE),
    )


def _order(fields: tuple[DataType, ...]) -> int:
    if len(fields) > 1 or fields == (VERDICT,):
        return _NO_ORDER
    return _HOST_ORDER if fields[0].host_order else _NETWORK_ORDER
