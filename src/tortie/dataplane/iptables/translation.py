"""Addresses that change on the way: outside addresses of workloads, and what leaves the pools for the world.

    nat PREROUTING, OUTPUT   to an outside address -> to the workload's own
    nat POSTROUTING          a workload that asks itself by its outside address -> from that one
                             from a pool with natOutgoing, to no pool, not to a workload -> from an address of this host

The kernel asks these chains once for each conversation and translates the rest, both ways, by itself. Nothing of this
exists where nothing is translated.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tortie.dataplane.iptables.dispatch import Ours, branches, by
from tortie.dataplane.iptables.match import ADDRESSES, members_of
from tortie.dataplane.iptables.rows import (
    NAT,
    Kind,
    MemberKey,
    RowKey,
    Rows,
    Rule,
    SetSpec,
    chain,
    chain_name,
    jump,
    set_name,
)
from tortie.intent.policy import FAMILIES, Address, Family, FloatingAddress, Member, NatPool, PolicySettings

_INWARD = chain_name("inward")
_OUTWARD = chain_name("outward")
_POOLS = "pools"  # the tree by which they are left
# Sets.
_TRANSLATED, _ALL_POOLS, _HOSTS = "nat-from", "nat-pools", "nat-hosts"


class Translation(NamedTuple):
    """What decides about it. Of outside addresses that meet, the first counts."""

    floating: tuple[FloatingAddress, ...]
    pools: tuple[NatPool, ...]
    hosts: frozenset[Address]
    settings: PolicySettings
    ours: Ours


def translation_rows(wanted: Translation) -> Rows:
    """Sets, chains and jumps."""
    rows: Rows = {}
    for family in FAMILIES:
        inward, outward = _floating(wanted, family)
        if inward:
            rows |= chain(family, NAT, _INWARD, inward)
            rows |= jump(family, NAT, "PREROUTING", _INWARD) | jump(family, NAT, "OUTPUT", _INWARD)
        if any(pool.outgoing and pool.network.version == family for pool in wanted.pools):
            rows |= _outgoing(wanted, family)
            outward.append(Rule(f"-g {by(_POOLS)}"))
        if outward:
            rows |= chain(family, NAT, _OUTWARD, outward) | jump(family, NAT, "POSTROUTING", _OUTWARD)
    return rows


def _floating(wanted: Translation, family: Family) -> tuple[list[Rule], list[Rule]]:
    """To the address inside; and, for a workload that asks itself, from the one outside."""
    own = [each for each in reversed(wanted.floating) if each.outside.version == family]
    inside = {each.outside: each.inside for each in own}
    outside = {each.inside: each.outside for each in own}
    inward = [Rule(f"-d {one} -j DNAT --to-destination {other}") for one, other in sorted(inside.items())]
    hairpin = [Rule(f"-s {one} -d {one} -j SNAT --to-source {other}") for one, other in sorted(outside.items())]
    return inward, hairpin


def _outgoing(wanted: Translation, family: Family) -> Rows:
    """The tree by which the pools are left, and the sets that say what is a pool."""
    own = [pool for pool in wanted.pools if pool.network.version == family]
    rows = _set(_TRANSLATED, family, (pool.network for pool in own if pool.outgoing))
    rows |= _set(_ALL_POOLS, family, (pool.network for pool in own))
    conditions = [_in(_TRANSLATED, family, "src"), _in(_ALL_POOLS, family, "dst", "! ")]
    if wanted.settings.nat_excludes_hosts:
        rows |= _set(_HOSTS, family, (each for each in wanted.hosts if each.version == family))
        conditions.append(_in(_HOSTS, family, "dst", "! "))
    address = wanted.settings.nat_address if family == 4 else None
    target = "-j MASQUERADE" if address is None else f"-j SNAT --to-source {address}"
    translated = " ".join([*conditions, target])
    last = [
        *(Rule(f"-o {prefix}+ -j RETURN") for prefix in wanted.ours.prefixes),
        Rule(translated, "natOutgoing"),
    ]
    ways = dict.fromkeys(wanted.ours.outsiders, "-j RETURN") | dict.fromkeys(wanted.ours.exempt, translated)
    for name, rules in branches(_POOLS, "-o", ways, last):
        rows |= chain(family, NAT, name, rules)
    return rows


def _in(name: str, family: Family, end: str, inverted: str = "") -> str:
    return f"-m set {inverted}--match-set {set_name(name, family)} {end}"


def _set(set_id: str, family: Family, members: Iterable[Member]) -> Rows:
    name = set_name(set_id, family)
    rows: Rows = {RowKey(Kind.SET, name): SetSpec(ADDRESSES, family)}
    for member in members:
        for text in members_of(member):
            rows[RowKey(Kind.MEMBER, MemberKey(name, text))] = None
    return rows
