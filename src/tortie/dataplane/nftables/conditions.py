"""Pieces of the rules that are no policy's: what a packet is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from tortie.dataplane.nftables.match import side
from tortie.dataplane.nftables.rows import KernelRule
from tortie.intent.packet import UDP
from tortie.intent.policy import Address, Family, Network
from tortie.kernel.netfilter.expression import (
    VERDICT_REGISTER,
    Base,
    Bitwise,
    Cmp,
    Ct,
    CtKey,
    CtState,
    Expression,
    Lookup,
    Meta,
    MetaKey,
    Op,
    Payload,
    Range,
)
from tortie.kernel.netfilter.rule import body
from tortie.kernel.netfilter.statement import Decide
from tortie.kernel.netfilter.verdict import Verdict

NFPROTO: dict[Family, bytes] = {4: b"\x02", 6: b"\x0a"}


def rule(*expressions: Expression, to: Verdict) -> KernelRule:
    return KernelRule(body((*expressions, Decide(to))))


def ask(key: MetaKey, name: str) -> KernelRule:
    return KernelRule(body((Meta(key), Lookup(name, into=VERDICT_REGISTER))))


def family_of(found: Address | Network) -> Family:
    return 4 if found.version == 4 else 6


def of_family(family: Family) -> Iterator[Expression]:
    yield from (Meta(MetaKey.NFPROTO), Cmp(NFPROTO[family]))


def from_packed(address: bytes) -> Iterator[Expression]:
    family: Family = 4 if len(address) == 4 else 6
    yield from (side(family, source=True).address, Cmp(address))


def from_address(address: Address) -> Iterator[Expression]:
    yield from of_family(family_of(address))
    yield from from_packed(address.packed)


def from_network(network: Network) -> Iterator[Expression]:
    yield from of_family(family_of(network))
    yield from within(network)


def within(network: Network) -> Iterator[Expression]:
    address = side(family_of(network), source=True).address
    yield from (address, Range(network.network_address.packed, network.broadcast_address.packed))


def udp(source: int, destination: int) -> Iterator[Expression]:
    yield from (Meta(MetaKey.L4PROTO), Cmp(bytes([UDP])))
    yield from ports(source, destination)


def ports(source: int, destination: int) -> Iterator[Expression]:
    both = source.to_bytes(2, "big") + destination.to_bytes(2, "big")
    yield from (Payload(Base.TRANSPORT, 0, 4), Cmp(both))


def icmp(protocol: int, kind: int) -> Iterator[Expression]:
    yield from (Meta(MetaKey.L4PROTO), Cmp(bytes([protocol])), Payload(Base.TRANSPORT, 0, 1), Cmp(bytes([kind])))


def in_state(states: CtState) -> Iterator[Expression]:
    mask = int(states).to_bytes(4, "little")
    yield from (Ct(CtKey.STATE), Bitwise(mask, bytes(4)), Cmp(bytes(4), Op.NEQ))
