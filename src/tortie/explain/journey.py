"""The first packet of a conversation, from end to end: judged where it is sent, and where it arrives.

What the kernels of the nodes know is not known here: a packet to another node leaves by one uplink, which has the
node's own addresses and the name that a host endpoint gives it. The answers of a conversation are not asked about:
connection tracking lets them pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

import msgspec

from tortie.errors import UsageError
from tortie.explain.cluster import Cluster, addresses_of
from tortie.explain.flow import FlowKind
from tortie.explain.party import Party
from tortie.intent.packet import SYN, TCP, WITH_PORTS, Fib, Flow, Packet, Route
from tortie.intent.policy import Address, End, Rule, RuleOrigin
from tortie.intent.state import PolicyState
from tortie.intent.verdict import Translation, Verdict, verdict
from tortie.model.resource import ResourceKey

# What a client is given by its kernel; a rule may ask for another, and then the packet is not one that it means.
SOURCE_PORT = 49152
_UPLINK = "uplink"


class Matched(msgspec.Struct, frozen=True, kw_only=True):
    """Why a rule's selector or set meant an end of the packet."""

    end: str  # source or destination
    member: str  # the address or prefix that is in the set
    of: str  # who brought it there; empty: several, or an object that is gone


class Met(msgspec.Struct, frozen=True, kw_only=True):
    """One thing on the way: a rule that matched, or the end of a tier."""

    place: str
    tier: str
    rule: RuleOrigin | None
    action: str
    matched: tuple[Matched, ...] = ()


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """What one node does with the packet."""

    node: str
    arrives_by: str  # interface; empty: the node sends it
    leaves_by: str  # interface; empty: the node is meant
    packet: Packet
    verdict: Verdict
    met: tuple[Met, ...]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The whole way. The last leg decides; there is more than one only if those before it let the packet pass."""

    source: Party
    destination: Party
    kind: FlowKind
    legs: tuple[Leg, ...]

    @property
    def allowed(self) -> bool:
        return self.legs[-1].verdict.action == "accept"


def explain(cluster: Cluster, source: Party, destination: Party, kind: FlowKind, family: int) -> Explanation:
    """What becomes of the first packet. Raises UsageError for one that no node of the cluster would meet."""
    packet = _first_packet(cluster, source, destination, kind.of_family(family), family)
    nodes = list(dict.fromkeys(node for node in (source.node, destination.node) if node))
    if not nodes:
        raise UsageError(f"neither {source.text} nor {destination.text} is of this cluster: no node judges the packet")
    legs: list[Leg] = []
    for node in nodes:
        leg = _leg(cluster, node, _at(cluster, node, packet, source))
        legs.append(leg)
        if leg.verdict.action != "accept":
            break
        packet = _translated(packet, leg.verdict.translated)
    return Explanation(source=source, destination=destination, kind=kind.of_family(family), legs=tuple(legs))


def _first_packet(cluster: Cluster, source: Party, destination: Party, kind: FlowKind, family: int) -> Packet:
    ends = source.address(family), destination.address(family)
    if ends[0] is None or ends[1] is None:
        without = source if ends[0] is None else destination
        raise UsageError(f"{without.text} has no IPv{family} address")
    return Packet(
        source=ends[0],
        destination=ends[1],
        protocol=kind.protocol,
        source_port=SOURCE_PORT if kind.protocol in WITH_PORTS else None,
        destination_port=_port(cluster, destination, kind),
        icmp_type=kind.icmp_type,
        icmp_code=kind.icmp_code,
        tcp_flags=SYN if kind.protocol == TCP else None,
    )


def _port(cluster: Cluster, destination: Party, kind: FlowKind) -> int | None:
    if not isinstance(kind.port, str):
        return kind.port
    endpoint = None if destination.endpoint is None else cluster.get(destination.endpoint)
    ports = () if endpoint is None else endpoint.spec.ports
    for port in ports:
        if (port.name, int(port.protocol)) == (kind.port, kind.protocol):
            number: int = port.port
            return number
    named = ", ".join(sorted(port.name for port in ports if port.name)) or "none"
    raise UsageError(f"{destination.text} has no port called {kind.port!r} for that protocol; it has {named}")


def _at(cluster: Cluster, node: str, packet: Packet, source: Party) -> Packet:
    """The packet as it comes to the node."""
    if source.node != node:
        return msgspec.structs.replace(packet, interface=_uplink(cluster, node))
    if source.endpoint is None:
        return packet
    workload = cluster.state(node).workloads.get(source.endpoint)
    endpoint = cluster.get(source.endpoint)
    assert endpoint is not None  # the party was found by it
    mac = workload.mac if workload is not None else ""
    return msgspec.structs.replace(packet, interface=endpoint.spec.interface_name, source_mac=mac)


def _leg(cluster: Cluster, node: str, packet: Packet) -> Leg:
    state = cluster.state(node)
    fib = _fib(cluster, node, state)
    found = verdict(state, packet, Flow.NEW, fib)
    after = _translated(packet, found.translated)
    inside = state.inside(packet.destination)
    if inside is not None:
        after = msgspec.structs.replace(after, destination=inside)
    route = fib.route(after.destination)
    met = tuple(
        Met(
            place=step.place,
            tier=step.tier,
            rule=step.rule,
            action=step.action,
            matched=tuple(_matched(cluster, state, step.rule, (packet, after))),
        )
        for step in found.trace
    )
    return Leg(
        node=node,
        arrives_by=packet.interface,
        leaves_by=route.interface if route else "",
        packet=packet,
        verdict=found,
        met=met,
    )


def _fib(cluster: Cluster, node: str, state: PolicyState) -> Fib:
    uplink = _uplink(cluster, node)
    found = cluster.get(ResourceKey("Node", "", node))
    own = () if found is None else addresses_of(found)
    routes = [
        Route(ip_network(every), uplink, next((each for each in own if each.version == family), None))
        for family, every in ((4, "0.0.0.0/0"), (6, "::/0"))
    ]
    for workload in state.workloads.values():
        routes += [Route(ip_network(address), workload.interface) for address in workload.addresses]
    return Fib(routes=tuple(routes), addresses={uplink: frozenset(own)})


def _uplink(cluster: Cluster, node: str) -> str:
    """By the name that a host endpoint of the node gives it: the one with the node's address, else the first."""
    found = cluster.get(ResourceKey("Node", "", node))
    own = set() if found is None else set(addresses_of(found))
    named = [
        each.spec
        for each in cluster.of_kind("HostEndpoint").values()
        if each.spec.node == node and each.spec.interface_name not in ("", "*")
    ]
    by_address = [spec for spec in named if not own.isdisjoint(spec.expected_ips)]
    chosen = next(iter((*by_address, *named)), None)
    return str(chosen.interface_name) if chosen is not None else _UPLINK


def _translated(packet: Packet, translation: Translation | None) -> Packet:
    if translation is None:
        return packet
    return msgspec.structs.replace(packet, source=translation.source, destination=translation.destination)


def _matched(
    cluster: Cluster, state: PolicyState, origin: RuleOrigin | None, packets: tuple[Packet, Packet]
) -> Iterator[Matched]:
    rule = _rule(state, origin)
    if rule is None:
        return
    ends: tuple[tuple[str, End, list[Address]], ...] = (
        ("source", rule.source, [each.source for each in packets]),
        ("destination", rule.destination, [each.destination for each in packets]),
    )
    for name, end, addresses in ends:
        for set_id in end.sets:
            members = state.sets[set_id]
            for address in dict.fromkeys(addresses):
                networks = [each for each in members.networks if address in each]
                if address in members.addresses:
                    yield Matched(end=name, member=str(address), of=_holder(cluster, address))
                elif networks:
                    network = max(networks, key=lambda each: each.prefixlen)
                    yield Matched(end=name, member=str(network), of=_network_set(cluster, network))


def _rule(state: PolicyState, origin: RuleOrigin | None) -> Rule | None:
    policy = None if origin is None else state.policies.get(origin.owner)
    if policy is None or origin is None:
        return None
    return next((rule for rule in policy.rules(origin.direction) if rule.origin == origin), None)


def _holder(cluster: Cluster, address: Address) -> str:
    owner = cluster.owner(address)
    if owner is not None:
        return str(owner.key)
    for key, each in cluster.of_kind("HostEndpoint").items():
        if address in each.spec.expected_ips:
            return str(key)
    return _network_set(cluster, ip_network(address))


def _network_set(cluster: Cluster, network: object) -> str:
    holders = [
        key
        for kind in ("GlobalNetworkSet", "NetworkSet")
        for key, each in cluster.of_kind(kind).items()
        if network in each.spec.nets
    ]
    return str(holders[0]) if len(holders) == 1 else ""
