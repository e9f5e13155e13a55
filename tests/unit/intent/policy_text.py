"""Policies, packets and flows as text, so that a test's table can be read at a glance.

rule      Allow tcp source=10.0.0.0/8 source!=in:web destination=80,8000:8080,named:http icmp=8/0 v4
packet    cali1 10.65.0.1:1000 > 10.65.0.2:80 tcp syn
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import Any

from tortie.intent.packet import ACK, ICMP, ICMPV6, SYN, TCP, Fib, Packet, Route
from tortie.intent.policy import (
    Action,
    BothWays,
    Chain,
    Direction,
    End,
    Icmp,
    Policy,
    PortRange,
    Rule,
    RuleOrigin,
    Tier,
    WorkloadPolicy,
)
from tortie.intent.verdict import Verdict
from tortie.model.resource import ResourceKey

PROTOCOLS = {"icmp": ICMP, "ipip": 4, "tcp": TCP, "udp": 17, "gre": 47, "icmpv6": ICMPV6, "sctp": 132, "udplite": 136}
FLAGS = {"syn": SYN, "ack": ACK, "synack": SYN | ACK, "none": 0, "ecn": SYN | 0xC0}
MAC = "02:00:00:00:00:01"


def key(name: str, kind: str = "GlobalNetworkPolicy") -> ResourceKey:
    return ResourceKey(kind, "", name)


def rule(text: str, origin: RuleOrigin) -> Rule:
    action, *words = text.split()
    fields: dict[str, Any] = {}
    ends: dict[str, dict[str, tuple[Any, ...]]] = {"source": {}, "destination": {}}
    for word in words:
        name, equals, value = word.partition("=")
        negated = name.endswith("!")
        name = name.rstrip("!")
        prefix = "not_" if negated else ""
        if not equals:
            if name in ("v4", "v6"):
                fields["family"] = int(name[1])
            elif name.startswith("not-"):
                fields["not_protocol"] = PROTOCOLS[name[4:]]
            else:
                fields["protocol"] = PROTOCOLS[name]
        elif name == "icmp":
            kind, _, code = value.partition("/")
            fields[f"{prefix}icmp"] = Icmp(int(kind), int(code) if code else None)
        else:
            for item in value.split(","):
                field, element = _element(item)
                end = ends[name]
                end[prefix + field] = (*end.get(prefix + field, ()), element)
    source, destination = (End(**ends[name]) for name in ("source", "destination"))
    return Rule(origin=origin, action=Action(action), source=source, destination=destination, **fields)


def _element(text: str) -> tuple[str, Any]:
    if text.startswith("in:"):
        return "sets", text[3:]
    if text.startswith("named:"):
        return "port_sets", text[6:]
    if "/" in text or "::" in text:
        return "nets", ip_network(text)
    first, _, last = text.partition(":")
    return "ports", PortRange(int(first), int(last or first))


def policy(name: str, *, ingress: str = "", egress: str = "", tier: str = "default", staged: bool = False) -> Policy:
    """Rules stand on lines of their own."""
    kind = "GlobalNetworkPolicy" if tier else "Profile"

    def rules(text: str, direction: Direction) -> tuple[Rule, ...]:
        lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
        return tuple(
            rule(line, RuleOrigin(tier, key(name, kind), direction, number)) for number, line in enumerate(lines)
        )

    return Policy(
        key=key(name, kind),
        ingress=rules(ingress, Direction.INGRESS),
        egress=rules(egress, Direction.EGRESS),
        staged=staged,
    )


def profile(name: str, *, ingress: str = "", egress: str = "") -> Policy:
    return policy(name, ingress=ingress, egress=egress, tier="")


def chain(text: str) -> Chain:
    """`ops:pass=a,b default=c | p,q`: tiers with what their end does, their policies, and the profiles."""
    tiers, _, profiles = text.partition("|")
    return Chain(
        tiers=tuple(_tier(word) for word in tiers.split()),
        profiles=tuple(key(name, "Profile") for name in profiles.replace(" ", "").split(",") if name),
    )


def _tier(text: str) -> Tier:
    name, _, policies = text.partition("=")
    name, _, end = name.partition(":")
    return Tier(
        name=name,
        policies=tuple(key(each) for each in policies.split(",")),
        default=Action.PASS if end == "pass" else Action.DENY,
    )


def workload(
    name: str, address: str, *, ingress: str = "", egress: str = "", mac: str = "", **more: Any
) -> WorkloadPolicy:
    return WorkloadPolicy(
        key=ResourceKey("WorkloadEndpoint", "default", name),
        interface=f"cali{name}",
        mac=mac,
        addresses=tuple(ip_address(each) for each in address.split(",")),
        policy=BothWays(ingress=chain(ingress), egress=chain(egress)),
        **more,
    )


def packet(text: str) -> Packet:
    """`INTERFACE SOURCE[:PORT] > DESTINATION[:PORT] PROTOCOL [WORD]`; the host's own packets come from `-`.

    A word is TCP flags, or the type and code of an ICMP message; `mac=` gives another source than `MAC`.
    """
    interface, source, _, destination, protocol, *words = text.split()
    number = PROTOCOLS.get(protocol) or int(protocol)
    mac = next((word[4:] for word in words if word.startswith("mac=")), MAC)
    word = next((word for word in words if not word.startswith("mac=")), "")
    source_text, source_port = _socket(source)
    destination_text, destination_port = _socket(destination)
    kind, _, code = word.partition("/") if number in (ICMP, ICMPV6) else ("", "", "")
    return Packet(
        source=ip_address(source_text),
        destination=ip_address(destination_text),
        protocol=number,
        source_port=source_port,
        destination_port=destination_port,
        icmp_type=int(kind) if kind else None,
        icmp_code=int(code or 0) if kind else None,
        tcp_flags=FLAGS[word or "syn"] if number == TCP else None,
        interface="" if interface == "-" else interface,
        source_mac=mac,
    )


def _socket(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        address, _, port = text[1:].partition("]:")
        return address, int(port)
    if text.count(":") == 1:
        address, _, port = text.partition(":")
        return address, int(port)
    return text, None


def fib(*workloads: WorkloadPolicy) -> Fib:
    """A host with one uplink, its default route and a route to each workload."""
    uplink = frozenset({IPv4Address("172.18.203.125"), ip_address("fd00::125")})
    routes = [Route(ip_network(address), each.interface) for each in workloads for address in each.addresses]
    routes += [Route(ip_network(each.outside), one.interface) for one in workloads for each in one.floating]
    routes.append(Route(IPv4Network("0.0.0.0/0"), "eth0", IPv4Address("172.18.203.125")))
    routes.append(Route(ip_network("::/0"), "eth0", ip_address("fd00::125")))
    return Fib(routes=tuple(routes), addresses={"eth0": uplink, "lo": frozenset({IPv4Address("127.0.0.1")})})


def said(verdict: Verdict) -> str:
    """`accept policy`, `drop policy p egress 0`, `drop tier-default ops`."""
    words = [verdict.action, str(verdict.reason)]
    if verdict.rule:
        words += [verdict.rule.owner.name, str(verdict.rule.direction), str(verdict.rule.number)]
    elif verdict.tier:
        words.append(verdict.tier)
    return " ".join(words)
