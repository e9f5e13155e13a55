"""What a rule does: verdicts, marks, counters, logs, limits, rejections, address translation.

Every value encodes to what the kernel lists of it, but for counters, whose figures move.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from tortie.kernel.netfilter.expression import CtKey, MetaKey, data, expression, wire_register
from tortie.kernel.netfilter.message import Family, be16, be32, be64, element, nest
from tortie.kernel.netfilter.verdict import Verdict
from tortie.kernel.netlink.message import text, u8

_VERDICT = 2  # NFTA_DATA_VERDICT

# include/uapi/linux/netfilter/nf_nat.h
_MAP_ADDRESSES = 1
_MAP_PORTS = 2
_RANDOM_FULLY = 16


class Immediate(NamedTuple):
    """Puts a constant in a register: the argument of a statement that takes one."""

    value: bytes
    register: int = 0

    def encode(self) -> bytes:
        return expression("immediate", be32(1, wire_register(self.register)), data(2, self.value))


class Decide(NamedTuple):
    verdict: Verdict

    def encode(self) -> bytes:
        return expression("immediate", be32(1, 0), nest(2, self.verdict.encode(_VERDICT)))


class SetMeta(NamedTuple):
    """Of the packet: MARK."""

    key: MetaKey
    register: int = 0

    def encode(self) -> bytes:
        return expression("meta", be32(2, self.key), be32(3, wire_register(self.register)))


class SetCt(NamedTuple):
    """Of the connection: MARK."""

    key: CtKey
    register: int = 0

    def encode(self) -> bytes:
        return expression("ct", be32(4, wire_register(self.register)), be32(2, self.key))


class Notrack(NamedTuple):
    """No connection tracking for this packet."""

    def encode(self) -> bytes:
        return element(text(1, "notrack"))


class Counter(NamedTuple):
    """A new rule's counter begins with these figures."""

    packets: int = 0
    octets: int = 0

    def encode(self) -> bytes:
        return expression("counter", be64(1, self.octets), be64(2, self.packets))


class Log(NamedTuple):
    """A copy to whoever listens to the nflog group (see `nflog.py`); always behind a `Limit`.

    Unlimited, it took a third of the packets that a drop can take, and the listener lost messages (measured).
    `snap_bytes` None is the whole packet.
    """

    group: int
    prefix: str = ""
    snap_bytes: int | None = None

    def encode(self) -> bytes:
        prefix = text(2, self.prefix) if self.prefix else b""
        snap = b"" if self.snap_bytes is None else be32(3, self.snap_bytes)
        return expression("log", prefix, be16(1, self.group), snap)


class Limit(NamedTuple):
    """Goes on while packets come at most at `rate` per `per_s` seconds, `burst` of them at once."""

    rate: int
    per_s: int = 1
    burst: int = 5
    over: bool = False  # the other way round: goes on with what is beyond

    def encode(self) -> bytes:
        return expression(
            "limit", be64(1, self.rate), be64(2, self.per_s), be32(3, self.burst), be32(4, 0), be32(5, self.over)
        )


class Connlimit(NamedTuple):
    """Goes on while there are at most so many, or with `over` beyond them."""

    connections: int
    over: bool = False

    def encode(self) -> bytes:
        return expression("connlimit", be32(1, self.connections), be32(2, self.over))


class RejectType(enum.IntEnum):
    ICMP = 0  # of the family of the table, with that family's codes
    TCP_RESET = 1
    ICMPX = 2  # of the packet's own family; for inet


class Icmpx(enum.IntEnum):
    NO_ROUTE = 0
    PORT_UNREACHABLE = 1
    HOST_UNREACHABLE = 2
    ADMIN_PROHIBITED = 3


class Reject(NamedTuple):
    type: RejectType = RejectType.ICMPX
    code: int = Icmpx.PORT_UNREACHABLE  # means nothing for TCP_RESET

    def encode(self) -> bytes:
        code = b"" if self.type == RejectType.TCP_RESET else u8(2, self.code)
        return expression("reject", be32(1, self.type), code)


class NatType(enum.IntEnum):
    SOURCE = 0
    DESTINATION = 1


class Nat(NamedTuple):
    """Translates to the address and port in the registers; what is None stays."""

    type: NatType
    family: Family
    address_register: int | None = None
    port_register: int | None = None

    def encode(self) -> bytes:
        address = port = b""
        flags = 0
        if self.address_register is not None:
            register = wire_register(self.address_register)
            address, flags = be32(3, register) + be32(4, register), _MAP_ADDRESSES
        if self.port_register is not None:
            register = wire_register(self.port_register)
            port, flags = be32(5, register) + be32(6, register), flags | _MAP_PORTS
        return expression("nat", be32(1, self.type), be32(2, self.family), address, port, be32(7, flags))


class Masquerade(NamedTuple):
    """Source translation to an address of the interface that the packet leaves by."""

    random_ports: bool = False
    port_registers: tuple[int, int] | None = None  # first and last

    def encode(self) -> bytes:
        flags = _RANDOM_FULLY * self.random_ports | _MAP_PORTS * (self.port_registers is not None)
        parts = [be32(1, flags)] if flags else []
        if self.port_registers is not None:
            first, last = map(wire_register, self.port_registers)
            parts += [be32(2, first), be32(3, last)]
        return expression("masq", *parts)


class Redirect(NamedTuple):
    """Destination translation to the host itself, to the port in the register, or the packet's own."""

    port_register: int | None = None

    def encode(self) -> bytes:
        if self.port_register is None:
            return expression("redir")
        register = wire_register(self.port_register)
        return expression("redir", be32(1, register), be32(2, register), be32(3, _MAP_PORTS))
