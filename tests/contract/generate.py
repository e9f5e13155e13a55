"""Policies and packets by chance: every field of a rule, values that meet often, both families."""

from __future__ import annotations

import random
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec

from tests.contract.arena import HOST_ADDRESSES, PORTS, WORLD, A, B, Port
from tests.contract.wire import GRE
from tortie.intent.packet import ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE, Packet
from tortie.intent.policy import (
    Action,
    Address,
    AddressSet,
    BothWays,
    Chain,
    Direction,
    End,
    Family,
    Icmp,
    NamedPort,
    Network,
    Policy,
    PortRange,
    PortSet,
    Rule,
    RuleOrigin,
    Tier,
    WorkloadPolicy,
)
from tortie.intent.state import PolicyChanges
from tortie.model.resource import ResourceKey

PROTOCOLS = (TCP, UDP, SCTP, UDPLITE, ICMP, ICMPV6, GRE)
WITH_PORTS = (TCP, UDP, SCTP)

OUTSIDE: tuple[Address, ...] = tuple(
    map(ip_address, ("192.0.2.1", "192.0.2.129", "198.51.100.1", "2001:db8::1", "2001:db8:1::1"))
)
ADDRESSES = (*A.addresses, *B.addresses, *OUTSIDE)
ALLOWED_SOURCES: tuple[Network, ...] = tuple(
    map(ip_network, ("192.0.2.0/25", "198.51.100.1/32", "2001:db8::/64", "2001:db8:1::1/128"))
)
NETWORKS: tuple[Network, ...] = tuple(
    map(
        ip_network,
        (
            *("10.65.0.0/24", "10.65.0.1/32", "10.65.0.2/32", "10.65.0.0/31", "192.0.2.0/24", "192.0.2.128/25"),
            *("192.0.2.1/32", "192.0.0.0/9", "198.51.100.0/30", "0.0.0.0/1"),
            *(
                "fd00:65::/64",
                "fd00:65::1/128",
                "fd00:65::2/127",
                "2001:db8::/32",
                "2001:db8:1::/48",
                "2001:db8::1/128",
            ),
        ),
    )
)
NUMBERS = (1, 53, 80, 81, 443, 8080)
# Those that connection tracking takes for the beginning of a conversation.
ICMP_TYPES = {4: (8, 13, 15, 17), 6: (128, 139)}


class Chance(random.Random):
    def often(self, share: float) -> bool:
        return self.random() < share

    def some(self, values: Any, most: int = 3) -> tuple[Any, ...]:
        values = tuple(values)
        return tuple(self.sample(values, self.randint(1, min(most, len(values)))))


def changes(chance: Chance, number_of_policies: int = 5, rules: int = 12, shapes: int = 0) -> PolicyChanges:
    """A whole state: sets, policies, profiles, and what the two workloads go through.

    With `shapes` all rules have one of so many, each of which names addresses or ports.
    """
    sets = [_address_set(chance, f"s{number}") for number in range(4)]
    port_sets = [_port_set(chance, f"p{number}") for number in range(3)]
    seeds = [_seed_that_names(chance, sets, port_sets) for _ in range(shapes)]
    policies = [_policy(chance, f"policy{n}", sets, port_sets, rules, seeds) for n in range(number_of_policies)]
    profiles = [_policy(chance, f"profile{n}", sets, port_sets, 4, profile=True) for n in range(2)]
    keys = [policy.key for policy in policies]
    workloads = [_workload(chance, port, keys, [profile.key for profile in profiles]) for port in (A, B)]
    return PolicyChanges(
        new_sets=(*sets, *port_sets),
        policies={policy.key: policy for policy in (*policies, *profiles)},
        workloads={workload.key: workload for workload in workloads},
    )


def _address_set(chance: Chance, name: str) -> AddressSet:
    return AddressSet(
        id=name,
        addresses=set(chance.sample(ADDRESSES, chance.randint(0, 5))),
        networks=set(chance.sample(NETWORKS, chance.choice((0, 0, 1, 3)))),
    )


def _port_set(chance: Chance, name: str) -> PortSet:
    members = {
        NamedPort(chance.choice(WITH_PORTS), chance.choice(ADDRESSES), chance.choice(NUMBERS))
        for _ in range(chance.randint(0, 12))
    }
    return PortSet(id=name, members=members)


def many_policies(chance: Chance) -> PolicyChanges:
    """Many policies of few rules, which are found by a lookup."""
    return changes(chance, number_of_policies=30, rules=2, shapes=3)


def _seed_that_names(chance: Chance, sets: list[AddressSet], port_sets: list[PortSet]) -> float:
    origin = RuleOrigin("", ResourceKey("", "", ""), Direction.INGRESS, 0)
    while True:
        seed = chance.random()
        rule = _rule(chance, Chance(seed), origin, sets, port_sets)
        if any((end.nets or end.ports) and not end.port_sets for end in (rule.source, rule.destination)):
            return seed


def _policy(
    chance: Chance,
    name: str,
    sets: list[AddressSet],
    port_sets: list[PortSet],
    most: int,
    seeds: Sequence[float] = (),
    *,
    profile: bool = False,
) -> Policy:
    key = ResourceKey("Profile" if profile else "GlobalNetworkPolicy", "", name)
    tier = "" if profile else "tier"

    def rules(direction: Direction) -> tuple[Rule, ...]:
        # Half of the lists are runs of one shape, which are folded.
        alike = bool(seeds) or chance.often(0.5)
        seed = chance.choice(seeds) if seeds else chance.random()
        found = []
        for number in range(chance.randint(0, most)):
            shape = Chance(seed) if alike else chance
            found.append(_rule(chance, shape, RuleOrigin(tier, key, direction, number), sets, port_sets))
        return tuple(found)

    return Policy(
        key=key,
        ingress=rules(Direction.INGRESS),
        egress=rules(Direction.EGRESS),
        staged=not profile and chance.often(0.15),
    )


def _rule(chance: Chance, shape: Chance, origin: RuleOrigin, sets: list[AddressSet], port_sets: list[PortSet]) -> Rule:
    """What the rule speaks of is the shape's to say, the values are chance's."""
    family: Family | None = shape.choice((None, None, 4, 6))
    has_protocol = shape.often(0.75)
    protocol = chance.choice(WITH_PORTS if shape.often(0.7) else PROTOCOLS) if has_protocol else None
    if protocol in (ICMP, ICMPV6):
        family = 4 if protocol == ICMP else 6
    ends = [_end(chance, shape, protocol, sets, port_sets) for _ in range(2)]
    versions = {net.version for end in ends for net in (*end.nets, *end.not_nets)}
    if len(versions) == 1 and family is None:
        family = versions.pop()
    if versions - {family}:
        ends = [msgspec.structs.replace(end, nets=(), not_nets=()) for end in ends]
    icmp = not_icmp = None
    if protocol in (ICMP, ICMPV6) and family in ICMP_TYPES:
        icmp = _icmp(chance, family) if shape.often(0.5) else None
        not_icmp = _icmp(chance, family) if shape.often(0.3) else None
    return Rule(
        origin=origin,
        action=chance.choices(list(Action), (5, 3, 1, 2))[0],
        family=family,
        protocol=protocol,
        not_protocol=chance.choice(PROTOCOLS) if shape.often(0.1) else None,
        icmp=icmp,
        not_icmp=not_icmp,
        source=ends[0],
        destination=ends[1],
    )


def _icmp(chance: Chance, family: int) -> Icmp:
    return Icmp(chance.choice(ICMP_TYPES[family]), chance.choice((None, 0, 1)))


def _end(chance: Chance, shape: Chance, protocol: int | None, sets: list[AddressSet], port_sets: list[PortSet]) -> End:
    version = shape.choice((4, 6))
    nets = [net for net in NETWORKS if net.version == version]
    with_ports = protocol in WITH_PORTS
    names = [each.id for each in port_sets]
    return End(
        nets=chance.some(nets) if shape.often(0.25) else (),
        not_nets=chance.some(nets, 2) if shape.often(0.15) else (),
        sets=(chance.choice(sets).id,) if shape.often(0.25) else (),
        not_sets=(chance.choice(sets).id,) if shape.often(0.15) else (),
        ports=_ports(chance) if with_ports and shape.often(0.3) else (),
        port_sets=(chance.choice(names),) if (with_ports or protocol is None) and shape.often(0.1) else (),
        not_ports=_ports(chance) if with_ports and shape.often(0.1) else (),
        not_port_sets=(chance.choice(names),) if with_ports and shape.often(0.05) else (),
    )


def _ports(chance: Chance) -> tuple[PortRange, ...]:
    found = []
    for number in chance.some(NUMBERS):
        found.append(PortRange(number, number + chance.choice((0, 0, 0, 1, 400))))
    return tuple(found)


def _workload(chance: Chance, port: Port, policies: list[ResourceKey], profiles: list[ResourceKey]) -> WorkloadPolicy:
    return WorkloadPolicy(
        key=ResourceKey("WorkloadEndpoint", "default", port.interface),
        interface=port.interface,
        mac=port.mac if chance.often(0.8) else "",
        addresses=port.addresses,
        allowed_sources=chance.some(ALLOWED_SOURCES) if chance.often(0.4) else (),
        policy=BothWays(ingress=chain_of(chance, policies, profiles), egress=chain_of(chance, policies, profiles)),
    )


def chain_of(chance: Chance, policies: list[ResourceKey], profiles: list[ResourceKey]) -> Chain:
    chosen = chance.sample(policies, chance.randint(0, len(policies)))
    cut = chance.randint(0, len(chosen))
    tiers = [
        Tier(name=name, policies=tuple(some), default=chance.choice((Action.DENY, Action.PASS)))
        for name, some in (("first", chosen[:cut]), ("second", chosen[cut:]))
        if some
    ]
    return Chain(tiers=tuple(tiers), profiles=chance.some(profiles) if chance.often(0.8) else ())


def packet(chance: Chance) -> Packet:
    """From one of the three sides to one of the others, or to the host; now and then in disguise."""
    port = chance.choice(PORTS)
    version = chance.choice((4, 6))
    own = [*port.addresses, *(OUTSIDE if port is WORLD else ())]
    others = [each for other in PORTS if other is not port and other is not WORLD for each in other.addresses]
    targets = [*others, *others, *(OUTSIDE if port is not WORLD else ()), *HOST_ADDRESSES]
    if chance.often(0.08):
        own = list(ADDRESSES)
    protocol = chance.choice(PROTOCOLS)
    if protocol in (ICMP, ICMPV6):
        version = 4 if protocol == ICMP else 6
    ports = (chance.choice(NUMBERS), chance.choice(NUMBERS)) if protocol in (*WITH_PORTS, UDPLITE) else (None, None)
    is_icmp = protocol in (ICMP, ICMPV6)
    return Packet(
        interface=port.interface,
        source=chance.choice([each for each in own if each.version == version]),
        destination=chance.choice([each for each in targets if each.version == version]),
        protocol=protocol,
        source_port=ports[0],
        destination_port=ports[1],
        icmp_type=chance.choice(ICMP_TYPES[version]) if is_icmp else None,
        icmp_code=chance.choice((0, 1)) if is_icmp else None,
        tcp_flags=chance.choice((2, 2, 2, 2, 0x10, 0x12)) if protocol == TCP else None,
        source_mac=port.mac if not chance.often(0.05) else "02:00:00:00:00:55",
    )
