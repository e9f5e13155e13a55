"""An explanation as people read it: the answer first, then node by node what the packet met."""

from __future__ import annotations

from collections.abc import Iterator

from tortie.explain.cluster import Cluster
from tortie.explain.journey import Explanation, Leg, Met
from tortie.explain.observed import Count, Observed
from tortie.intent.packet import Packet
from tortie.intent.policy import SET_ABOVE_LIMIT, Direction, RuleOrigin
from tortie.intent.verdict import Reason, Verdict
from tortie.model.rule import Entity
from tortie.model.rule import Rule as WrittenRule
from tortie.model.scalars import Port, Protocol

REASONS = {
    Reason.UNKNOWN_INTERFACE: "the interface has no endpoint that may use it",
    Reason.SPOOFED_MAC: "the sender's MAC is not the endpoint's",
    Reason.SPOOFED_ADDRESS: "the sender's address is not the endpoint's",
    Reason.ROUTER_ADVERTISEMENT: "workloads may not send router advertisements",
    Reason.REDIRECT: "workloads may not send redirects",
    Reason.DHCP_SERVER: "workloads may not answer as a DHCP server",
    Reason.TUNNEL: "workloads may not send tunnelled packets",
    Reason.INVALID: "connection tracking knows nothing that it belongs to",
    Reason.MID_STREAM: "it would open a connection in its middle",
    Reason.NO_ROUTE: "there is no route to its destination",
    Reason.POLICY: "a rule decided",
    Reason.TIER_DEFAULT: "policies of the tier apply, and none of them decided",
    Reason.NO_PROFILE_MATCHED: "no policy and no profile allows it",
    Reason.ENDPOINT_TO_HOST: "workloads may not speak to their host (FelixConfiguration: defaultEndpointToHostAction)",
    Reason.ESTABLISHED: "it belongs to a connection",
    Reason.FAILSAFE: "the port is a failsafe one",
    Reason.NEIGHBOUR_DISCOVERY: "neighbour discovery always passes",
    Reason.DHCP_CLIENT: "a DHCP client may ask",
    Reason.FROM_HOST: "a host may always speak to its workloads",
    Reason.NOT_OURS: "no endpoint of ours has a say",
}


def in_words(cluster: Cluster, explanation: Explanation, observed: Observed | None = None) -> Iterator[str]:
    """Line by line; without colour."""
    source, destination = explanation.source.text, explanation.destination.text
    answer = "allowed" if explanation.allowed else "DENIED"
    yield f"{source} -> {destination} {explanation.kind}: {answer}: {decision(explanation.legs[-1].verdict)}"
    for leg in explanation.legs:
        yield ""
        yield from _leg(cluster, leg, observed if observed is not None and observed.node == leg.node else None)


def decision(found: Verdict) -> str:
    """Who decided, and why."""
    reason = REASONS[found.reason]
    if found.rule is not None:
        reason = f"{found.rule}" + (f" (tier {found.rule.tier})" if found.rule.tier else "")
    elif found.reason is Reason.POLICY:
        reason = "everybody who has a say allows it"
    elif found.reason is Reason.TIER_DEFAULT:
        reason = f"the end of tier {found.tier}, whose policies apply and did not decide"
    return f"{reason}, for {found.endpoint}" if found.endpoint is not None else reason


def _leg(cluster: Cluster, leg: Leg, observed: Observed | None) -> Iterator[str]:
    come = f"by {leg.arrives_by}" if leg.arrives_by else "sent by the node itself"
    go = f"to {leg.leaves_by}" if leg.leaves_by else "to the node itself"
    yield f"at node {leg.node}, {come}, {go}: {leg.verdict.action}"
    yield f"  packet       {_packet(leg.packet)}"
    for met in leg.met:
        yield f"  {met.place}"
        count = observed.count_of(met.rule) if observed is not None else None
        yield f"    {_met(met)}{_counted(count)}"
        if (written := _written(cluster, met.rule)) is not None:
            yield f"      {rule_in_words(written)}"
        if met.rule is not None and met.rule.number == SET_ABOVE_LIMIT:
            yield f"      {cluster.state(leg.node).oversize[met.rule.owner]}"
        for each in met.matched:
            of = f", of {each.of}" if each.of else ""
            yield f"      {each.end} is {each.member}{of}"
    translated = leg.verdict.translated
    if translated is not None:
        yield f"  translated   {translated.source} -> {translated.destination}"
    yield f"  {leg.verdict.action:12} {decision(leg.verdict)}"
    yield from (f"  {line}" for line in (observed.lines if observed is not None else ()))


def _met(met: Met) -> str:
    tier = f"tier {met.tier}, " if met.tier else ""
    return f"{tier}{met.rule}: {met.action}" if met.rule is not None else f"{tier}its end: {met.action}"


def _counted(count: Count | None) -> str:
    """So often that rule decided here, of whichever endpoint."""
    if count is None:
        return ""
    return f" ({count.packets} packet{'' if count.packets == 1 else 's'}, {count.octets} bytes so far)"


def _packet(packet: Packet) -> str:
    def end(address: object, port: int | None) -> str:
        return str(address) if port is None else f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"

    message = "" if packet.icmp_type is None else f" type {packet.icmp_type} code {packet.icmp_code}"
    name = next((name for name, each in Protocol.NAMES.items() if each == packet.protocol), str(packet.protocol))
    source, destination = end(packet.source, packet.source_port), end(packet.destination, packet.destination_port)
    return f"{name}{message} {source} -> {destination}"


# --- Rules as they were written


def _written(cluster: Cluster, origin: RuleOrigin | None) -> WrittenRule | None:
    owner = None if origin is None else cluster.get(origin.owner)
    if owner is None or origin is None or origin.number < 0:
        return None
    rules = owner.spec.ingress if origin.direction is Direction.INGRESS else owner.spec.egress
    found: WrittenRule = rules[origin.number]
    return found


def rule_in_words(rule: WrittenRule) -> str:
    """`Allow TCP from app == 'web' to ports 80,443`."""
    parts: list[str] = [rule.action]
    if rule.ip_version is not None:
        parts.append(f"IPv{rule.ip_version}")
    if rule.protocol is not None:
        parts.append(str(Protocol.to_json(rule.protocol)))
    if rule.not_protocol is not None:
        parts.append(f"not {Protocol.to_json(rule.not_protocol)}")
    for word, icmp in (("", rule.icmp), ("not ", rule.not_icmp)):
        if icmp is not None:
            code = "" if icmp.code is None else f" code {icmp.code}"
            parts.append(f"{word}ICMP type {icmp.type}{code}")
    for word, entity in (("from", rule.source), ("to", rule.destination)):
        if said := ", ".join(_entity(entity)):
            parts.append(f"{word} {said}")
    return " ".join(parts)


def _entity(entity: Entity) -> Iterator[str]:
    if entity.nets:
        yield " ".join(map(str, entity.nets))
    if entity.not_nets:
        yield f"not {' '.join(map(str, entity.not_nets))}"
    if entity.selector is not None:
        yield entity.selector.source
    if entity.not_selector is not None:
        yield f"not ({entity.not_selector.source})"
    if entity.namespace_selector is not None:
        yield f"of namespaces {entity.namespace_selector.source}"
    if entity.service_accounts is not None:
        yield "of service accounts " + " ".join(entity.service_accounts.names)
    if entity.ports:
        yield f"ports {','.join(str(Port.to_json(each)) for each in entity.ports)}"
    if entity.not_ports:
        yield f"not ports {','.join(str(Port.to_json(each)) for each in entity.not_ports)}"
