"""What a rule looks at: loads into registers, and comparisons that end the rule where they fail.

Registers are counted in units of 4 bytes, 0 to 15; a value takes as many as it needs, and a concatenation is several
values side by side, each from a register of its own on. Every value encodes to what the kernel lists of it; compare
the bytes, since values of different kinds may be equal as tuples.
"""

from __future__ import annotations

import enum
from typing import NamedTuple, Protocol

from tortie.kernel.netfilter.message import be32, element, nest
from tortie.kernel.netlink.message import attribute, text, u8

# enum nft_expr_attributes, nft_data_attributes
_NAME = 1
_DATA = 2
_VALUE = 1

_REGISTER_32 = 8  # NFT_REG32_00; where one of NFT_REG_1 to 4, of 16 bytes, begins, the kernel lists that one

VERDICT_REGISTER = -1  # takes a verdict, which is obeyed


class Expression(Protocol):
    """A piece of a rule."""

    def encode(self) -> bytes: ...


def expression(name: str, *attributes: bytes) -> bytes:
    return element(text(_NAME, name), nest(_DATA, *attributes))


def wire_register(register: int) -> int:
    return 1 + register // 4 if register % 4 == 0 else _REGISTER_32 + register


def data(kind: int, value: bytes) -> bytes:
    return nest(kind, attribute(_VALUE, value))


class MetaKey(enum.IntEnum):
    """NFT_META_*; indexes, names and marks are as the host orders bytes."""

    PROTOCOL = 1
    MARK = 3
    IIF = 4
    OIF = 5
    IIFNAME = 6
    OIFNAME = 7
    IIFTYPE = 8
    NFPROTO = 15
    L4PROTO = 16
    PKTTYPE = 19


class Meta(NamedTuple):
    key: MetaKey
    register: int = 0

    def encode(self) -> bytes:
        return expression("meta", be32(2, self.key), be32(1, wire_register(self.register)))


class Base(enum.IntEnum):
    """The header that an offset counts from (NFT_PAYLOAD_*)."""

    LINK = 0
    NETWORK = 1
    TRANSPORT = 2


class Payload(NamedTuple):
    base: Base
    offset: int
    length: int
    register: int = 0

    def encode(self) -> bytes:
        return expression(
            "payload",
            be32(1, wire_register(self.register)),
            be32(2, self.base),
            be32(3, self.offset),
            be32(4, self.length),
        )


class CtKey(enum.IntEnum):
    """NFT_CT_*; the last ones are of a tuple, so they need a direction."""

    STATE = 0
    DIRECTION = 1
    STATUS = 2
    MARK = 3
    PROTOCOL = 10
    PROTO_SRC = 11
    PROTO_DST = 12
    SRC_IP = 19
    DST_IP = 20
    SRC_IP6 = 21
    DST_IP6 = 22


class CtDirection(enum.IntEnum):
    ORIGINAL = 0
    REPLY = 1


class CtState(enum.IntFlag):
    INVALID = 1
    ESTABLISHED = 2
    RELATED = 4
    NEW = 8
    UNTRACKED = 64


class Ct(NamedTuple):
    key: CtKey
    register: int = 0
    direction: CtDirection | None = None

    def encode(self) -> bytes:
        direction = b"" if self.direction is None else u8(3, self.direction)
        return expression("ct", be32(1, wire_register(self.register)), be32(2, self.key), direction)


class FibResult(enum.IntEnum):
    OIF = 1
    OIFNAME = 2
    ADDRESS_TYPE = 3


class FibFlag(enum.IntFlag):
    """What is looked up, and by what."""

    SOURCE = 1
    DESTINATION = 2
    MARK = 4
    IIF = 8
    OIF = 16
    PRESENT = 32


class Fib(NamedTuple):
    """What the routing table says of an address of the packet."""

    result: FibResult
    flags: FibFlag
    register: int = 0

    def encode(self) -> bytes:
        return expression("fib", be32(1, wire_register(self.register)), be32(2, self.result), be32(3, self.flags))


class Exthdr(NamedTuple):
    """Loads from the IPv6 extension header `type`, or 1 if it is `present` and 0 if not."""

    type: int
    offset: int
    length: int
    present: bool = False
    register: int = 0

    def encode(self) -> bytes:
        return expression(
            "exthdr",
            be32(1, wire_register(self.register)),
            u8(2, self.type),
            be32(3, self.offset),
            be32(4, self.length),
            be32(5, self.present),
            be32(6, 0),  # NFT_EXTHDR_OP_IPV6
        )


class Op(enum.IntEnum):
    """NFT_CMP_*; the greater and the less are of bytes in network order."""

    EQ = 0
    NEQ = 1
    LT = 2
    LTE = 3
    GT = 4
    GTE = 5


class Cmp(NamedTuple):
    value: bytes
    op: Op = Op.EQ
    register: int = 0

    def encode(self) -> bytes:
        return expression("cmp", be32(1, wire_register(self.register)), be32(2, self.op), data(3, self.value))


class Range(NamedTuple):
    """Both ends belong to the range."""

    first: bytes
    last: bytes
    inverted: bool = False
    register: int = 0

    def encode(self) -> bytes:
        return expression(
            "range",
            be32(1, wire_register(self.register)),
            be32(2, self.inverted),
            data(3, self.first),
            data(4, self.last),
        )


class Bitwise(NamedTuple):
    """`register` = `register` & mask ^ xor; where the mask is 0, xor sets the bit."""

    mask: bytes
    xor: bytes
    register: int = 0

    def encode(self) -> bytes:
        register = wire_register(self.register)
        return expression(
            "bitwise",
            be32(1, register),
            be32(2, register),
            be32(3, len(self.mask)),
            be32(6, 0),  # NFT_BITWISE_MASK_XOR
            data(4, self.mask),
            data(5, self.xor),
        )


class Lookup(NamedTuple):
    """Goes on if the value from `register` on is in the set, or, `inverted`, if it is not.

    Of a map, `into` is the register that takes the data; `VERDICT_REGISTER` that of the verdict, which is obeyed.
    """

    set: str
    inverted: bool = False
    into: int | None = None
    register: int = 0

    def encode(self) -> bytes:
        into = b""
        if self.into is not None:
            into = be32(3, 0 if self.into == VERDICT_REGISTER else wire_register(self.into))
        return expression(
            "lookup", text(1, self.set), be32(2, wire_register(self.register)), into, be32(5, self.inverted)
        )
