"""What must happen to any packet at this node: the judge of every policy backend, and the engine of `explain`.

`verdict` follows a packet through the places where the kernel may look at it:

    arrival ──▶ untracked ──▶ before translation ──▶ translation ──▶ route ──┬─▶ through this host ──▶ source address
    (anti-spoofing)                                                         ├─▶ to this host
                                                       sent by this host ───┴─▶ from this host

Written for the reader, not for speed: it searches every list from its beginning. Nothing else may decide what a packet
deserves, and a backend that disagrees with it is wrong.

Invariants:
* An interface that is governed and has no endpoint passes nothing, in either direction, whatever the flow.
* Both ends are asked: that one end allows a packet never excuses the other.
* Only packets of our endpoints are judged; whatever else the host does is none of our business.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Network
from typing import Literal, NamedTuple

import msgspec

from tortie.intent.evaluate import Hit, decide
from tortie.intent.packet import ACK, FIN, ICMPV6, IPIP, RST, SYN, TCP, UDP, Fib, Flow, Packet
from tortie.intent.policy import (
    Action,
    Address,
    Chain,
    Direction,
    FailsafePort,
    RuleOrigin,
    WorkloadPolicy,
)
from tortie.intent.state import PolicyState
from tortie.model.resource import ResourceKey

_LINK_LOCAL = IPv6Network("fe80::/10")
_ANY_V4 = IPv4Address("0.0.0.0")
_DHCP = (68, 67)  # from, to, as a client sends
_DHCPV6 = (546, 547)
_ROUTER_ADVERTISEMENT = 134
_REDIRECTS = {4: 5, 6: 137}
# What a host must hear from its guests so that they find it: MLD, solicitations, advertisements.
_NEIGHBOUR_DISCOVERY = frozenset({130, 131, 132, 133, 135, 136, 143})
# What may come from the unspecified address: duplicate-address detection, and the listener report before it.
_UNSPECIFIED = frozenset({131, 135, 143})


class Reason(StrEnum):
    """Why a packet passes or not; the name that statistics and users know it by."""

    UNKNOWN_INTERFACE = "unknown-interface"
    SPOOFED_MAC = "spoofed-mac"
    SPOOFED_ADDRESS = "spoofed-address"
    ROUTER_ADVERTISEMENT = "router-advertisement"
    REDIRECT = "redirect"
    DHCP_SERVER = "dhcp-server"
    TUNNEL = "tunnel"
    INVALID = "invalid"
    MID_STREAM = "mid-stream"
    NO_ROUTE = "no-route"
    POLICY = "policy"  # a rule decided: the verdict names it
    TIER_DEFAULT = "tier-default"
    NO_PROFILE_MATCHED = "no-profile-matched"
    ENDPOINT_TO_HOST = "endpoint-to-host"
    ESTABLISHED = "established"
    FAILSAFE = "failsafe"
    NEIGHBOUR_DISCOVERY = "neighbour-discovery"
    DHCP_CLIENT = "dhcp-client"
    FROM_HOST = "from-host"  # the host may always speak to its own workloads
    NOT_OURS = "not-ours"


_ACCEPTING = (
    *(Reason.ESTABLISHED, Reason.FAILSAFE, Reason.NEIGHBOUR_DISCOVERY, Reason.DHCP_CLIENT),
    *(Reason.FROM_HOST, Reason.NOT_OURS),
)
# Those for which packets are dropped.
DROPPING = tuple(reason for reason in Reason if reason not in _ACCEPTING)


class Step(NamedTuple):
    """One thing that was found on the way, for people to read."""

    place: str  # "egress of WorkloadEndpoint(default/x)"
    tier: str
    rule: RuleOrigin | None
    action: str


class Translation(NamedTuple):
    """The packet's addresses as they leave this host."""

    source: Address
    destination: Address


class Destination(NamedTuple):
    """What the destination of a packet became, when somebody else translated it."""

    address: Address
    port: int | None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a packet, and why. `rule` is the one that decided, if one did."""

    action: Literal["accept", "drop", "reject"]
    reason: Reason
    endpoint: ResourceKey | None = None  # at which it was decided
    rule: RuleOrigin | None = None
    tier: str = ""
    trace: tuple[Step, ...] = ()
    translated: Translation | None = None  # None: nothing is translated


def verdict(state: PolicyState, packet: Packet, flow: Flow, fib: Fib, became: Destination | None = None) -> Verdict:
    """What must happen to the packet at this node. Pure, and O(everything in the state).

    `became` is what rules of others, or a connection that stands, make of its destination; None: what floating
    addresses do.
    """
    return Journey(state, packet, flow, fib, became).end()


class Judge(NamedTuple):
    """A chain that a packet is held against."""

    endpoint: ResourceKey
    sort: str
    chain: Chain
    direction: Direction
    closes: bool = False  # what it does not decide is denied


class Journey:
    """One packet on its way; what it meets is noted in `trace`. What chains decide may be found quicker: `hits`."""

    def __init__(
        self, state: PolicyState, packet: Packet, flow: Flow, fib: Fib, became: Destination | None = None
    ) -> None:
        self.state = state
        self.original = packet
        self.packet = packet  # as it is now
        self.flow = flow
        self.fib = fib
        self.became = became
        self.trace: list[Step] = []
        self.trusted = False  # allowed before connection tracking: no later place of the host's own asks again
        self.admitted = False  # allowed before translation: the host endpoint it came by does not ask again

    def end(self) -> Verdict:
        return self._arrive() or self._untracked() or self._before_translation() or self._onward()

    # --- Arrival

    def _arrive(self) -> Verdict | None:
        """A packet of a workload must be what a workload may send, whatever its flow."""
        interface = self.packet.interface
        if not self.state.governs(interface):
            return None
        workload = self.state.workload(interface)
        if workload is None:
            return self._drop(Reason.UNKNOWN_INTERFACE)
        if fault := self._spoofed(workload) or self._forbidden():
            return self._drop(fault, workload.key)
        return None

    def _spoofed(self, workload: WorkloadPolicy) -> Reason | None:
        packet = self.packet
        if workload.mac and packet.source_mac != workload.mac:
            return Reason.SPOOFED_MAC
        if packet.source in workload.addresses or any(packet.source in each for each in workload.allowed_sources):
            return None
        if packet.source == _ANY_V4 and self._is_udp(_DHCP):
            return None
        if packet.family == 6 and packet.source in _LINK_LOCAL:
            return None  # goes no farther than this host
        if packet.family == 6 and packet.source.is_unspecified and packet.icmp_type in _UNSPECIFIED:
            return None if packet.protocol == ICMPV6 else Reason.SPOOFED_ADDRESS
        return Reason.SPOOFED_ADDRESS

    def _forbidden(self) -> Reason | None:
        """What would deceive other workloads or the host, or hide what is inside."""
        packet, settings = self.packet, self.state.settings
        if packet.protocol == ICMPV6 and packet.icmp_type == _ROUTER_ADVERTISEMENT:
            return Reason.ROUTER_ADVERTISEMENT
        if packet.icmp_type is not None and packet.icmp_type == _REDIRECTS[packet.family]:
            return Reason.REDIRECT
        if self._is_udp(_DHCP[::-1]) or self._is_udp(_DHCPV6[::-1]):
            return Reason.DHCP_SERVER
        if packet.protocol == IPIP and not settings.ipip_from_workloads:
            return Reason.TUNNEL
        is_vxlan = packet.protocol == UDP and packet.destination_port == settings.vxlan_port
        if is_vxlan and not settings.vxlan_from_workloads:
            return Reason.TUNNEL
        return None

    def _is_udp(self, ports: tuple[int, ...]) -> bool:
        return self.packet.protocol == UDP and (self.packet.source_port, self.packet.destination_port) == ports

    # --- Before connection tracking, and before the destination is translated

    def _untracked(self) -> Verdict | None:
        """doNotTrack policies of the host endpoint; what they do not decide goes on as if they were not there."""
        if self.packet.interface:
            interface, direction = self.packet.interface, Direction.INGRESS
        else:
            interface, direction = self._out_interface(), Direction.EGRESS
        endpoint = self.state.host_endpoint(interface, self.fib)
        if endpoint is None or endpoint.interface == "*":
            return None
        if not endpoint.untracked.chain(direction).tiers:
            return None
        if self._failsafe(direction) or self._failsafe_answer(direction):
            return None
        decision = self._decide(Judge(endpoint.key, "untracked ", endpoint.untracked.chain(direction), direction))
        if decision is not None and decision.action == "accept":
            self.trusted = True
            self.flow = Flow.UNTRACKED  # whatever tracking would have said
            return None
        return decision

    def _before_translation(self) -> Verdict | None:
        """preDNAT policies of the host endpoint that the packet arrived by."""
        endpoint = self.state.host_endpoint(self.packet.interface, self.fib)
        if endpoint is None or self.trusted or self._is_reply() or not endpoint.pre_dnat.tiers:
            return None
        if self._failsafe(Direction.INGRESS):
            return None
        decision = self._decide(Judge(endpoint.key, "preDNAT ", endpoint.pre_dnat, Direction.INGRESS))
        if decision is not None and decision.action == "accept":
            self.admitted = True
            return None
        return decision

    # --- Where the packet goes

    def _onward(self) -> Verdict:
        self._translate_destination()
        if not self.packet.interface:
            return self._from_host()
        route = self.fib.route(self.packet.destination)
        if route is None:
            return self._drop(Reason.NO_ROUTE)
        return self._through_host(route.interface) if route.interface else self._to_host()

    def _translate_destination(self) -> None:
        """Floating addresses lead to the address inside, but for what is not tracked: the kernel translates flows."""
        if self.became is not None:
            address, port = self.became
            self.packet = msgspec.structs.replace(self.packet, destination=address, destination_port=port)
            return
        if self.trusted:
            return
        inside = self.state.inside(self.packet.destination)
        if inside is not None:
            self.packet = msgspec.structs.replace(self.packet, destination=inside)

    def _through_host(self, out: str) -> Verdict:
        state = self.state
        if state.governs(out) and state.workload(out) is None:
            return self._drop(Reason.UNKNOWN_INTERFACE)
        sender, receiver = state.workload(self.packet.interface), state.workload(out)
        judges = list(self._judges(sender, receiver, out))
        if judges:
            if self.flow is Flow.INVALID:
                return self._drop(Reason.INVALID)
            if self._is_reply():
                return self._accept(Reason.ESTABLISHED)
        if (sender or receiver) and self._is_mid_stream():
            return self._drop(Reason.MID_STREAM)
        for judge in judges:
            decision = self._decide(judge)
            if decision is not None and decision.action != "accept":
                return decision
            if decision is None and judge.closes:
                return self._deny(Reason.NO_PROFILE_MATCHED, judge.endpoint)
        self._translate_source(out)
        return self._accept(Reason.POLICY if judges else Reason.NOT_OURS)

    def _judges(self, sender: WorkloadPolicy | None, receiver: WorkloadPolicy | None, out: str) -> Iterator[Judge]:
        """Whose word a packet needs that is forwarded, in the order in which they are asked."""
        came = self.state.host_endpoint(self.packet.interface, self.fib)
        goes = self.state.host_endpoint(out, self.fib)
        if came and came.forward.ingress.tiers and not (self.trusted or self.admitted):
            yield Judge(came.key, "forward ", came.forward.ingress, Direction.INGRESS)
        if sender:
            yield Judge(sender.key, "", sender.policy.egress, Direction.EGRESS, closes=True)
        if receiver:
            yield Judge(receiver.key, "", receiver.policy.ingress, Direction.INGRESS, closes=True)
        if goes and goes.forward.egress.tiers and not self.trusted:
            yield Judge(goes.key, "forward ", goes.forward.egress, Direction.EGRESS)

    def _to_host(self) -> Verdict:
        workload = self.state.workload(self.packet.interface)
        if workload is None:
            return self._of_host(Direction.INGRESS, self.packet.interface)
        if self.packet.protocol == ICMPV6 and self.packet.icmp_type in _NEIGHBOUR_DISCOVERY:
            return self._accept(Reason.NEIGHBOUR_DISCOVERY, workload.key)
        if self._is_udp(_DHCP) or self._is_udp(_DHCPV6):
            return self._accept(Reason.DHCP_CLIENT, workload.key)
        if self.flow is Flow.INVALID:
            return self._drop(Reason.INVALID, workload.key)
        if self._is_reply():
            return self._accept(Reason.ESTABLISHED, workload.key)
        if self._is_mid_stream():
            return self._drop(Reason.MID_STREAM, workload.key)
        decision = self._decide(Judge(workload.key, "", workload.policy.egress, Direction.EGRESS))
        if decision is None:
            return self._deny(Reason.NO_PROFILE_MATCHED, workload.key)
        if decision.action == "accept" and self.state.settings.endpoint_to_host == "Drop":
            return self._drop(Reason.ENDPOINT_TO_HOST, workload.key)
        return decision

    def _from_host(self) -> Verdict:
        """What the host sends, policy is asked about as it was sent, and a pool's address is translated after that."""
        out = self._out_interface()
        if self.state.governs(out):
            if self.state.workload(out) is None:
                return self._drop(Reason.UNKNOWN_INTERFACE)
            return self._accept(Reason.FROM_HOST)
        found = self._of_host(Direction.EGRESS, out)
        if found.action != "accept" or self.flow is not Flow.NEW:
            return found
        self._translate_source(out)
        return msgspec.structs.replace(found, translated=self._translation())

    def _of_host(self, direction: Direction, interface: str) -> Verdict:
        """The normal policies of the host endpoint of an interface."""
        endpoint = self.state.host_endpoint(interface, self.fib)
        if endpoint is None:
            return self._accept(Reason.NOT_OURS)
        if self.trusted or (self.admitted and direction is Direction.INGRESS):
            return self._accept(Reason.POLICY, endpoint.key)
        if self._is_reply():
            return self._accept(Reason.ESTABLISHED, endpoint.key)
        if self.flow is Flow.INVALID:
            return self._drop(Reason.INVALID, endpoint.key)
        if self._failsafe(direction):
            return self._accept(Reason.FAILSAFE, endpoint.key)
        decision = self._decide(Judge(endpoint.key, "", endpoint.normal.chain(direction), direction))
        return decision or self._deny(Reason.NO_PROFILE_MATCHED, endpoint.key)

    def _translate_source(self, out: str) -> None:
        """A workload that asks itself by its outside address, and what leaves the pools for the world."""
        if self.trusted:
            return
        packet = self.packet
        outside = self.state.outside(packet.source) if packet.source == packet.destination else None
        if outside is not None:
            self.packet = msgspec.structs.replace(packet, source=outside)
            return
        within = [pool for pool in self.state.pools if packet.source in pool.network]
        if not any(pool.outgoing for pool in within) or self.state.governs(out):
            return
        if any(packet.destination in pool.network for pool in self.state.pools):
            return
        settings = self.state.settings
        if settings.nat_excludes_hosts and packet.destination in self.state.hosts:
            return
        route = self.fib.route(packet.destination)
        leaving = route.source if route else None
        source = settings.nat_address if packet.family == 4 and settings.nat_address else leaving
        if source is not None:
            self.packet = msgspec.structs.replace(packet, source=source)

    # --- Questions

    def _out_interface(self) -> str:
        route = self.fib.route(self.packet.destination)
        return route.interface if route else ""

    def _is_reply(self) -> bool:
        return self.flow in (Flow.ESTABLISHED, Flow.RELATED)

    def _is_mid_stream(self) -> bool:
        """A TCP packet that would open tracking in the middle of a conversation: perhaps one that was cut."""
        if self.packet.protocol != TCP or self.flow is not Flow.NEW or self.state.settings.lenient:
            return False
        return (self.packet.tcp_flags or 0) & (FIN | SYN | RST | ACK) != SYN

    def _failsafe(self, direction: Direction) -> bool:
        settings, packet = self.state.settings, self.packet
        if direction is Direction.INGRESS:
            return _is_failsafe(settings.failsafe_inbound, packet, packet.source, packet.destination_port)
        return _is_failsafe(settings.failsafe_outbound, packet, packet.destination, packet.destination_port)

    def _failsafe_answer(self, direction: Direction) -> bool:
        """The other half of a conversation on a failsafe port: were it untracked, the first half would be tracked."""
        settings, packet = self.state.settings, self.packet
        if direction is Direction.INGRESS:
            return _is_failsafe(settings.failsafe_outbound, packet, packet.source, packet.source_port)
        return _is_failsafe(settings.failsafe_inbound, packet, packet.destination, packet.source_port)

    # --- Answers

    def hits(self, judge: Judge) -> Iterator[Hit]:
        """What the packet hits in a chain, as `decide` says."""
        return decide(judge.chain, judge.direction, self.packet, self.state.tables)

    def _decide(self, judge: Judge) -> Verdict | None:
        """What a chain decides, if it decides anything."""
        endpoint = judge.endpoint
        last: Hit | None = None
        for last in self.hits(judge):
            origin = last.rule.origin if last.rule else None
            action = f"{last.action} (staged)" if last.staged else str(last.action)
            self.trace.append(Step(f"{judge.sort}{judge.direction} of {endpoint}", last.tier, origin, action))
        if last is None or last.staged or last.action not in (Action.ALLOW, Action.DENY):
            return None
        reason = Reason.POLICY if last.rule else Reason.TIER_DEFAULT
        answer = self._accept if last.action is Action.ALLOW else self._deny
        return answer(reason, endpoint, last)

    def _accept(self, reason: Reason, endpoint: ResourceKey | None = None, hit: Hit | None = None) -> Verdict:
        return self._verdict("accept", reason, endpoint, hit)

    def _deny(self, reason: Reason, endpoint: ResourceKey, hit: Hit | None = None) -> Verdict:
        """A denial of policy, which may be told to the sender."""
        action: Literal["drop", "reject"] = "reject" if self.state.settings.deny == "Reject" else "drop"
        return self._verdict(action, reason, endpoint, hit)

    def _drop(self, reason: Reason, endpoint: ResourceKey | None = None) -> Verdict:
        return self._verdict("drop", reason, endpoint, None)

    def _verdict(
        self,
        action: Literal["accept", "drop", "reject"],
        reason: Reason,
        endpoint: ResourceKey | None,
        hit: Hit | None,
    ) -> Verdict:
        return Verdict(
            action=action,
            reason=reason,
            endpoint=endpoint,
            rule=hit.rule.origin if hit and hit.rule else None,
            tier=hit.tier if hit else "",
            trace=tuple(self.trace),
            translated=self._translation() if action == "accept" else None,
        )

    def _translation(self) -> Translation | None:
        now, before = self.packet, self.original
        changed = (now.source, now.destination) != (before.source, before.destination)
        return Translation(now.source, now.destination) if changed else None


def _is_failsafe(ports: tuple[FailsafePort, ...], packet: Packet, peer: Address, port: int | None) -> bool:
    return any(
        (packet.protocol, port) == (each.protocol, each.port) and (each.network is None or peer in each.network)
        for each in ports
    )
