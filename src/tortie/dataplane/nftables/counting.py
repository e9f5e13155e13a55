"""What rules of policy have counted: a rule by itself, or an entry of the map that its rule became part of.

A rule is known by its comment, which says where it was written. A policy may have several chains, one for each place
where it is asked, and its rules several alternatives: they are added up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from tortie.dataplane.naming import comment_of
from tortie.dataplane.nftables.chains import (
    chain_prefix,
    comment_of_many,
    keys_of,
    map_spec,
    passes,
)
from tortie.dataplane.nftables.endpoints import tier_prefix
from tortie.dataplane.nftables.rows import MAP, TABLE
from tortie.dataplane.nftables.table import kernel_set
from tortie.errors import Gone
from tortie.intent.folding import Lookup, fold
from tortie.intent.policy import FAMILIES, Direction, Family, Policy, Rule, RuleOrigin
from tortie.intent.report import Count
from tortie.kernel.netfilter import elements, rule
from tortie.kernel.netfilter.message import Family as Protocol
from tortie.kernel.netfilter.rule import COMMENT_BYTES, figures, lookups
from tortie.kernel.netfilter.socket import NetfilterSocket

NOTHING = Count(0, 0)


def chains_of(policy: Policy, names: Iterable[str]) -> Iterator[tuple[str, Direction, Family]]:
    """The chains, of these, that may hold the policy's rules: its own, or those of tiers."""
    ways = [(direction, family) for direction in Direction for family in FAMILIES]
    prefixes = [tier_prefix(*way) if passes(policy, way[0]) else chain_prefix(policy.key, *way) for way in ways]
    for name in names:
        for prefix, way in zip(prefixes, ways, strict=True):
            if name.startswith(prefix):
                yield name, *way


def count(
    sock: NetfilterSocket, policy: Policy, chains: Iterable[tuple[str, Direction, Family]]
) -> dict[RuleOrigin, Count]:
    """Of each rule that stands in the kernel. Raises KernelError."""
    found: dict[RuleOrigin, Count] = {}
    maps: dict[str, tuple[Lookup, Family]] = {}  # each once, whatever chains ask it
    for name, direction, family in chains:
        for origin, counted in _of_chain(sock, policy, name, direction, family, maps):
            found[origin] = found.get(origin, NOTHING) + counted
    for asked, (step, family) in maps.items():
        for origin, counted in _of_map(sock, asked, step, family):
            found[origin] = found.get(origin, NOTHING) + counted
    return found


def _of_chain(
    sock: NetfilterSocket,
    policy: Policy,
    name: str,
    direction: Direction,
    family: Family,
    maps: dict[str, tuple[Lookup, Family]],
) -> Iterator[tuple[RuleOrigin, Count]]:
    """Of the rules that stand there; adds to `maps` those that it asks."""
    steps: dict[str, Rule | Lookup] = {}
    for step in fold(policy.rules(direction)):
        comment = comment_of_many(step) if isinstance(step, Lookup) else comment_of(step, COMMENT_BYTES)
        steps.setdefault(comment, step)
    with suppress(Gone):
        for each in rule.dump(sock, Protocol.INET, TABLE, name):
            found = steps.get(each.comment)
            if isinstance(found, Rule):
                for figure in figures(each.expressions):
                    yield found.origin, Count(*figure)
            elif found is not None:
                # Each of its alternatives asks the same map; what else it asks is no map.
                maps |= {asked: (found, family) for asked in lookups(each.expressions) if asked.startswith(MAP)}


def _of_map(sock: NetfilterSocket, name: str, step: Lookup, family: Family) -> Iterator[tuple[RuleOrigin, Count]]:
    owners = keys_of(step, family)
    spec = map_spec(step, family)
    with suppress(Gone):
        for one in elements.dump(sock, kernel_set(name, spec)):
            owner = owners.get((one.key, one.last if spec.interval else None))
            if owner is not None:
                yield owner.origin, NOTHING if one.counted is None else Count(*one.counted)
