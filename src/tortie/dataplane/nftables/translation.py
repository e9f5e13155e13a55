"""Addresses that change on the way: outside addresses of workloads, and what leaves the pools for the world.

    prerouting, output   to an outside address -> to the workload's own
    postrouting          a workload that asks itself by its outside address -> from that one
                         from a pool with natOutgoing, to no pool, not to a workload -> from an address of this host

The kernel asks these chains once for each conversation and translates the rest, both ways, by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

from tortie.dataplane.nftables.arrival import WORKLOADS
from tortie.dataplane.nftables.conditions import NFPROTO
from tortie.dataplane.nftables.cover import Cover
from tortie.dataplane.nftables.match import ADDRESS, interval_of, side
from tortie.dataplane.nftables.rows import ChainSpec, KernelRule, Kind, MemberKey, RowKey, Rows, SetSpec, chain_row
from tortie.intent.policy import FAMILIES, Address, Family, FloatingAddress, NatPool, Network, PolicySettings
from tortie.kernel.netfilter.chain import Hook, InetHook, Priority
from tortie.kernel.netfilter.expression import Cmp, Expression, Lookup, Meta, MetaKey
from tortie.kernel.netfilter.message import Family as Protocol
from tortie.kernel.netfilter.rule import body
from tortie.kernel.netfilter.statement import Counter, Immediate, Masquerade, Nat, NatType

_PROTOCOL = {4: Protocol.IP, 6: Protocol.IP6}


def outgoing(pools: Iterable[NatPool], hosts: frozenset[Address], settings: PolicySettings) -> Rows:
    """Nothing when no pool is translated."""
    pools = tuple(pools)
    rows: Rows = {}
    rules: list[KernelRule] = []
    for family in FAMILIES:
        own = [pool for pool in pools if pool.network.version == family]
        translated = [pool.network for pool in own if pool.outgoing]
        if not translated:
            continue
        rows |= _set(f"nat-from-{family}", family, map(interval_of, _outermost(translated, family)), interval=True)
        all_pools = _outermost((pool.network for pool in own), family)
        rows |= _set(f"nat-pools-{family}", family, map(interval_of, all_pools), interval=True)
        rows |= _set(f"nat-hosts-{family}", family, ((each.packed, None) for each in hosts if each.version == family))
        rules.append(KernelRule(body(_outgoing(family, settings)), "natOutgoing"))
    if rules:
        chain = ChainSpec(tuple(rules), Hook(InetHook.POSTROUTING, Priority.SNAT, type="nat"))
        rows[chain_row("nat-postrouting", chain)] = chain
    return rows


def _outgoing(family: Family, settings: PolicySettings) -> Iterator[Expression]:
    source, destination = side(family, source=True).address, side(family, source=False).address
    yield from (Meta(MetaKey.NFPROTO), Cmp(NFPROTO[family]))
    yield from (source, Lookup(f"nat-from-{family}"))
    yield from (destination, Lookup(f"nat-pools-{family}", inverted=True))
    if settings.nat_excludes_hosts:
        yield from (destination, Lookup(f"nat-hosts-{family}", inverted=True))
    yield from (Meta(MetaKey.OIF), Lookup(WORKLOADS, inverted=True))
    yield Counter()
    if family == 4 and settings.nat_address is not None:
        yield from (Immediate(settings.nat_address.packed), Nat(NatType.SOURCE, Protocol.IP, 0))
    else:
        yield Masquerade()


def floating(addresses: Iterable[FloatingAddress]) -> Rows:
    """Nothing when there are no outside addresses."""
    found = sorted(set(addresses), key=lambda each: (each.outside.version, each.outside))
    if not found:
        return {}
    inward, hairpin = [], []
    for outside, inside in found:
        family: Family = 4 if outside.version == 4 else 6
        source, destination = side(family, source=True).address, side(family, source=False).address
        head = (Meta(MetaKey.NFPROTO), Cmp(NFPROTO[family]))
        comment = f"{outside} is {inside}"
        inward.append(
            KernelRule(
                body(
                    (
                        *head,
                        destination,
                        Cmp(outside.packed),
                        Counter(),
                        Immediate(inside.packed),
                        Nat(NatType.DESTINATION, _PROTOCOL[family], 0),
                    )
                ),
                comment,
            )
        )
        hairpin.append(
            KernelRule(
                body(
                    (
                        *head,
                        source,
                        Cmp(inside.packed),
                        destination,
                        Cmp(inside.packed),
                        Counter(),
                        Immediate(outside.packed),
                        Nat(NatType.SOURCE, _PROTOCOL[family], 0),
                    )
                ),
                comment,
            )
        )
    chains = {
        "floating-prerouting": ChainSpec(tuple(inward), Hook(InetHook.PREROUTING, Priority.DNAT, type="nat")),
        "floating-output": ChainSpec(tuple(inward), Hook(InetHook.OUTPUT, Priority.DNAT, type="nat")),
        "floating-postrouting": ChainSpec(tuple(hairpin), Hook(InetHook.POSTROUTING, Priority.SNAT - 1, type="nat")),
    }
    return {chain_row(name, chain): chain for name, chain in chains.items()}


def _set(name: str, family: Family, members: Iterable[tuple[bytes, bytes | None]], *, interval: bool = False) -> Rows:
    rows: Rows = {RowKey(Kind.SET, name): SetSpec((ADDRESS[family],), interval=interval)}
    for first, last in members:
        rows[RowKey(Kind.MEMBER, MemberKey(name, first, last))] = None
    return rows


def _outermost(networks: Iterable[Network], family: Family) -> Set[Network]:
    cover = Cover(family)
    cover.change(networks)
    return cover.outermost
