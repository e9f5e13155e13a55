"""Who and why: a packet that the kernel told of, with the names of endpoints, tiers, policies and rules.

The reason is the kernel's. What decided is the judge's word on the same packet, and left out where the judge would
have decided otherwise: then policy has changed between the packet and the question.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

import msgspec

from tortie.dataplane.events.event import Event, Kind
from tortie.intent.bulk import BulkJudge
from tortie.intent.indexed import IndexedState
from tortie.intent.packet import Fib, Flow, Packet, Route
from tortie.intent.policy import Action, Address
from tortie.intent.verdict import Reason, Verdict

_BY_POLICY = frozenset({Reason.POLICY, Reason.TIER_DEFAULT, Reason.NO_PROFILE_MATCHED})


class Namer:
    """Names by the state as it is. `held` is the host's addresses on an interface: a host endpoint may go by them."""

    def __init__(self, state: IndexedState, judge: BulkJudge, held: Callable[[str], frozenset[Address]]) -> None:
        self._state = state
        self._judge = judge
        self._held = held

    def subject(self, packet: Packet | None, interface: str, out_interface: str) -> str:
        """Whose packet it is, for rationing: its endpoint, else its interface."""
        return self._of_interface(interface) or self._receiver(packet, out_interface) or interface

    def drop(self, time_s: float, reason: str, packet: Packet | None, interface: str, out_interface: str) -> Event:
        event = self._event(time_s, Kind.DROP, reason, packet, interface, out_interface)
        if packet is None or reason not in _BY_POLICY:
            return msgspec.structs.replace(event, endpoint=event.sender or event.receiver)
        verdict = self._verdict(packet, out_interface)
        if verdict.action == "accept" or verdict.reason != reason:
            return event
        rule = verdict.rule
        return msgspec.structs.replace(
            event,
            endpoint=str(verdict.endpoint or ""),
            tier=verdict.tier,
            policy=str(rule.owner) if rule else "",
            rule=str(rule) if rule else "",
        )

    def log(self, time_s: float, packet: Packet | None, interface: str, out_interface: str) -> Event:
        event = self._event(time_s, Kind.LOG, "log", packet, interface, out_interface)
        if packet is None:
            return event
        trace = self._verdict(packet, out_interface).trace
        rules = [str(step.rule) for step in trace if step.rule and step.action.startswith(Action.LOG)]
        return msgspec.structs.replace(event, logged_by=tuple(rules), endpoint=event.sender or event.receiver)

    def _verdict(self, packet: Packet, out_interface: str) -> Verdict:
        """Told at a hook behind the routing: where it leads is known, and without an interface it is this host."""
        route = Route(ip_network(packet.destination), out_interface)
        held = {}
        if self._state.host_endpoints:
            held = {name: self._held(name) for name in (packet.interface, out_interface) if name}
        return self._judge.verdict(packet, Flow.NEW, Fib(routes=(route,), addresses=held))

    def _event(
        self, time_s: float, kind: Kind, reason: str, packet: Packet | None, interface: str, out_interface: str
    ) -> Event:
        event = Event(
            time_s=time_s,
            kind=kind,
            reason=reason,
            interface=interface,
            out_interface=out_interface,
            # By the interface alone: anybody may write another's address into a packet.
            sender=self._of_interface(interface),
            receiver=self._receiver(packet, out_interface),
        )
        if packet is None:
            return event
        return msgspec.structs.replace(
            event,
            source=str(packet.source),
            source_port=packet.source_port,
            destination=str(packet.destination),
            destination_port=packet.destination_port,
            protocol=packet.protocol,
            icmp_type=packet.icmp_type,
            icmp_code=packet.icmp_code,
            tcp_flags=packet.tcp_flags,
            source_mac=packet.source_mac,
        )

    def _receiver(self, packet: Packet | None, out_interface: str) -> str:
        owner = self._state.owner(packet.destination.packed) if packet else None
        return self._of_interface(out_interface) or (str(owner.key) if owner else "")

    def _of_interface(self, interface: str) -> str:
        workload = self._state.workload(interface)
        return str(workload.key) if workload else ""
