"""Whether a rule means a packet, and what a chain decides: policy, word for word, with nothing left out for speed.

A chain goes through its tiers, a tier through its policies, a policy through its rules. The first Allow or Deny
decides; Pass leaves the tier; at the end of a tier its default speaks, Deny or Pass. What no tier decides the
profiles do, in their order; what they do not decide is left to the caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tortie.intent.packet import ICMP_FAMILY, WITH_PORTS, Packet
from tortie.intent.policy import (
    Action,
    Address,
    AddressSet,
    Chain,
    Direction,
    End,
    Icmp,
    NamedPort,
    Network,
    Policy,
    PortRange,
    PortSet,
    Rule,
    SetId,
)
from tortie.model.resource import ResourceKey


class Tables(NamedTuple):
    """What chains and rules refer to by key."""

    policies: Mapping[ResourceKey, Policy]
    sets: Mapping[SetId, AddressSet]
    port_sets: Mapping[SetId, PortSet]


class Hit(NamedTuple):
    """A rule that matched, or the end of a tier, which has no rule. `action` is what it does."""

    action: Action
    tier: str  # empty for a profile
    rule: Rule | None = None
    staged: bool = False  # only counted


def decide(chain: Chain, direction: Direction, packet: Packet, tables: Tables) -> Iterator[Hit]:
    """Every hit on the packet's way through the chain. The last one decides if it is an Allow or a Deny; otherwise
    the chain decides nothing.
    """
    for tier in chain.tiers:
        yield from (hits := list(_tier_hits(tier.policies, direction, packet, tables)))
        if hits and _ends(hits[-1]):
            if hits[-1].action is not Action.PASS:
                return
            continue
        yield Hit(tier.default, tier.name)
        if tier.default is Action.DENY:
            return
    for profile in chain.profiles:
        for hit in _policy_hits(tables.policies[profile], direction, packet, tables):
            yield hit
            if hit.action in (Action.ALLOW, Action.DENY):
                return


def _ends(hit: Hit) -> bool:
    return not hit.staged and hit.action is not Action.LOG


def _tier_hits(
    policies: tuple[ResourceKey, ...], direction: Direction, packet: Packet, tables: Tables
) -> Iterator[Hit]:
    for key in policies:
        policy = tables.policies[key]
        for hit in _policy_hits(policy, direction, packet, tables):
            yield hit
            if _ends(hit):
                return


def _policy_hits(policy: Policy, direction: Direction, packet: Packet, tables: Tables) -> Iterator[Hit]:
    """Logs, and the rule that decides."""
    for rule in policy.rules(direction):
        if matches(rule, packet, tables):
            yield Hit(rule.action, rule.origin.tier, rule, policy.staged)
            if rule.action is not Action.LOG:
                return


def matches(rule: Rule, packet: Packet, tables: Tables) -> bool:
    """Whether every part of the rule is true of the packet."""
    return (
        rule.family in (None, packet.family)
        and rule.protocol in (None, packet.protocol)
        and rule.not_protocol != packet.protocol
        and (rule.icmp is None or _is_message(rule.icmp, packet))
        and (rule.not_icmp is None or not _is_message(rule.not_icmp, packet))
        and _end_matches(rule.source, packet.source, packet.source_port, packet, tables)
        and _end_matches(rule.destination, packet.destination, packet.destination_port, packet, tables)
    )


def _is_message(icmp: Icmp, packet: Packet) -> bool:
    """Type and code are one thing: what is not (3, 4) may be (3, 1)."""
    return (
        ICMP_FAMILY.get(packet.protocol) == packet.family
        and icmp.type == packet.icmp_type
        and icmp.code in (None, packet.icmp_code)
    )


def _end_matches(end: End, address: Address, port: int | None, packet: Packet, tables: Tables) -> bool:
    return (
        means_address(end, address, tables)
        and (not (end.ports or end.port_sets) or _has_port(end.ports, end.port_sets, address, port, packet, tables))
        and not _has_port(end.not_ports, end.not_port_sets, address, port, packet, tables)
    )


def means_address(end: End, address: Address, tables: Tables) -> bool:
    """Whether a rule means the address at that end, whatever the port is."""
    return (
        (not end.nets or _within(address, end.nets))
        and not _within(address, end.not_nets)
        and all(address in tables.sets[each] for each in end.sets)
        and not any(address in tables.sets[each] for each in end.not_sets)
    )


def _within(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


def _has_port(
    ranges: tuple[PortRange, ...],
    port_sets: tuple[SetId, ...],
    address: Address,
    port: int | None,
    packet: Packet,
    tables: Tables,
) -> bool:
    if port is None or packet.protocol not in WITH_PORTS:
        return False
    if any(first <= port <= last for first, last in ranges):
        return True
    named = NamedPort(packet.protocol, address, port)
    return any(named in tables.port_sets[each].members for each in port_sets)
