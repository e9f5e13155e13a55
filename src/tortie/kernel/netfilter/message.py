"""nfnetlink on top of netlink: the header that names family and subsystem, and numbers in network order.

Attributes are nested without NLA_F_NESTED, since nf_tables lists its own so: what is sent can be compared byte
for byte with what is read back (include/uapi/linux/netfilter/nfnetlink.h, nf_tables.h).
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator

from tortie.kernel.netlink.message import (
    ATTRIBUTE,
    Attributes,
    Message,
    attribute,
    malformed,
    parse_attributes,
    unpack_fixed,
)

NETLINK_NETFILTER = 12

BATCH_BEGIN = 16
BATCH_END = 17
BATCH_GENERATION = 1  # NFNL_BATCH_GENID

CONNTRACK = 1
LOG = 4
NF_TABLES = 10

# family, version, resource (in network order)
GENERIC = struct.Struct(">BBH")

_ELEMENT = 1  # NFTA_LIST_ELEM


class Family(enum.IntEnum):
    """Which packets a table sees (NFPROTO_*)."""

    UNSPECIFIED = 0
    INET = 1
    IP = 2
    ARP = 3
    NETDEV = 5
    BRIDGE = 7
    IP6 = 10


def open_message(message: Message) -> tuple[Family, Attributes]:
    """The family and the attributes of a message of nf_tables."""
    family, _version, _resource = unpack_fixed(GENERIC, message.payload)
    try:
        return Family(family), parse_attributes(message.payload, GENERIC.size)
    except ValueError as error:
        raise malformed(f"family {family}") from error


def message_type(subsystem: int, operation: int) -> int:
    return subsystem << 8 | operation


def nest(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind, b"".join(attributes))


def element(*attributes: bytes) -> bytes:
    """One entry of a list."""
    return attribute(_ELEMENT, b"".join(attributes))


def be16(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(2, "big"))


def be32(kind: int, value: int) -> bytes:
    """A negative value in two's complement."""
    return ATTRIBUTE.pack(8, kind) + (value & 0xFFFFFFFF).to_bytes(4, "big")


def be64(kind: int, value: int) -> bytes:
    return ATTRIBUTE.pack(12, kind) + value.to_bytes(8, "big")


def number(attributes: Attributes, kind: int, default: int = 0) -> int:
    """An unsigned number in network order, of whatever size."""
    value = attributes.get(kind)
    return default if value is None else int.from_bytes(value, "big")


def signed(attributes: Attributes, kind: int, default: int = 0) -> int:
    value = attributes.get(kind)
    return default if value is None else int.from_bytes(value, "big", signed=True)


def parse_list(data: bytes) -> Iterator[bytes]:
    """The entries of a list of attributes, whatever their types."""
    offset, end = 0, len(data)
    while end - offset >= ATTRIBUTE.size:
        length, _kind = ATTRIBUTE.unpack_from(data, offset)
        if not ATTRIBUTE.size <= length <= end - offset:
            raise malformed(f"a list's entry of length {length}, {end - offset} bytes left")
        yield data[offset + ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
