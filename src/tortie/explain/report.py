"""An explanation for programs: the form of `tortie explain -o json`, in which fields are only ever added."""

from __future__ import annotations

from typing import Any

from tortie.explain.journey import Explanation, Leg, Met
from tortie.explain.observed import Observed
from tortie.explain.party import Party
from tortie.explain.words import decision


def as_json(explanation: Explanation, observed: Observed | None = None) -> dict[str, Any]:
    """JSON values alone. What only a node's agent knows is null for the other node, and without an agent."""
    last = explanation.legs[-1].verdict
    return {
        "source": _party(explanation.source),
        "destination": _party(explanation.destination),
        "flow": str(explanation.kind),
        "allowed": explanation.allowed,
        "action": last.action,
        "reason": str(last.reason),
        "explanation": decision(last),
        "nodes": [
            _leg(leg, observed if observed is not None and observed.node == leg.node else None)
            for leg in explanation.legs
        ],
    }


def _party(party: Party) -> dict[str, Any]:
    return {
        "name": party.text,
        "addresses": [str(each) for each in party.addresses],
        "endpoint": None if party.endpoint is None else party.endpoint.full_name,
        "node": party.node or None,
    }


def _leg(leg: Leg, observed: Observed | None) -> dict[str, Any]:
    packet, found = leg.packet, leg.verdict
    return {
        "node": leg.node,
        "arrivesBy": leg.arrives_by or None,
        "leavesBy": leg.leaves_by or None,
        "packet": {
            "protocol": packet.protocol,
            "source": str(packet.source),
            "sourcePort": packet.source_port,
            "destination": str(packet.destination),
            "destinationPort": packet.destination_port,
            "icmpType": packet.icmp_type,
            "icmpCode": packet.icmp_code,
        },
        "action": found.action,
        "reason": str(found.reason),
        "decidedFor": None if found.endpoint is None else str(found.endpoint),
        "tier": found.tier or None,
        "rule": None if found.rule is None else str(found.rule),
        "translated": (
            {"source": str(found.translated.source), "destination": str(found.translated.destination)}
            if found.translated is not None
            else None
        ),
        "steps": [_met(each, observed) for each in leg.met],
        "kernel": None if observed is None else observed.facts,
    }


def _met(met: Met, observed: Observed | None) -> dict[str, Any]:
    count = observed.count_of(met.rule) if observed is not None else None
    return {
        "place": met.place,
        "tier": met.tier or None,
        "policy": None if met.rule is None else str(met.rule.owner),
        "rule": None if met.rule is None else str(met.rule),
        "action": met.action,
        "packets": None if count is None else count.packets,
        "bytes": None if count is None else count.octets,
        "matched": [{"end": each.end, "member": each.member, "of": each.of or None} for each in met.matched],
    }
