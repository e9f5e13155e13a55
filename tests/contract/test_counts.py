"""What every rule decided, and what was dropped for each reason, counted by the kernel and told by every backend."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from tests.contract.test_life import ALL, MACS, OPEN, RECEIVER, SENDER, WEB, Host, host
from tests.unit.intent.policy_text import chain, packet, policy
from tortie.dataplane.contract import load
from tortie.intent.policy import Policy
from tortie.intent.report import Count
from tortie.intent.state import PolicyChanges
from tortie.intent.verdict import Reason

__all__ = ["host"]

# Frames are Ethernet; of IPv4 and TCP with what `wire` puts in.
OCTETS = 20 + 20 + 12

FOLDED = policy("web", ingress="\n".join(f"Allow tcp destination={port}" for port in range(80, 90)) + "\nDeny udp")
MIXED = policy(
    "web", ingress="Log tcp destination=79\nAllow tcp destination=80\nAllow v6 tcp\nDeny udp destination=1:9"
)


def send(host: Host, *texts: str) -> None:
    """Each the first packet of a conversation; waits for one that passes and is sent last, so it has to be there."""
    host.arena.forget_flows(host.socket)
    for number, text in enumerate(texts):
        one = packet(text)
        host.arena.send(msgspec.structs.replace(one, source_mac=MACS[one.interface]), number)


def tcp(port: int, source: int = 9) -> str:
    return f"calia 10.65.0.1:{source} > 10.65.0.2:{port} tcp"


def udp(port: int) -> str:
    return f"calia 10.65.0.1:9 > 10.65.0.2:{port} udp"


def counts(host: Host, *policies: Policy) -> Mapping[str, int]:
    """By `direction number`; those that count nothing are left out."""
    reader = host.backend.counts([each.key for each in policies])
    found = host.arena.namespace.call(reader)
    return {f"{origin.direction} {origin.number}": one.packets for origin, one in found.items() if one.packets}


def test_a_rule_counts_the_packets_that_it_decided(host: Host) -> None:
    host.take(msgspec.structs.replace(ALL, policies={OPEN.key: OPEN, MIXED.key: MIXED}))
    send(host, tcp(80, 1), tcp(80, 2), tcp(80, 3), tcp(79), udp(1), "calia [fd00:65::1]:9 > [fd00:65::2]:5 tcp")
    assert counts(host, MIXED) == {"ingress 0": 1, "ingress 1": 3, "ingress 2": 1, "ingress 3": 1}
    # What decided for the sender counts too, of packets that the receiver denied as well.
    assert counts(host, OPEN) == {"egress 0": 6}
    found = host.arena.namespace.call(host.backend.counts([MIXED.key]))
    (allow,) = (one for origin, one in found.items() if origin.number == 1)
    assert allow == Count(3, 3 * OCTETS)


def test_packets_of_a_conversation_are_counted_once(host: Host) -> None:
    host.take(ALL)
    send(host, tcp(80), "calib 10.65.0.2:80 > 10.65.0.1:9 tcp synack", f"{tcp(80)} ack", f"{tcp(80)} ack")
    assert counts(host, WEB) == {"ingress 0": 1}


def test_a_rule_among_many_counts_by_itself(host: Host) -> None:
    host.take(msgspec.structs.replace(ALL, policies={OPEN.key: OPEN, FOLDED.key: FOLDED}))
    send(host, tcp(80), tcp(85, 1), tcp(85, 2), tcp(91), udp(7))
    assert counts(host, FOLDED) == {"ingress 0": 1, "ingress 5": 2, "ingress 10": 1}


def test_a_rule_of_a_policy_that_passes_counts_as_well(host: Host) -> None:
    passing = policy("passing", ingress="Pass tcp destination=80\nAllow tcp destination=81\nPass tcp destination=82")
    receiver = msgspec.structs.replace(
        RECEIVER, policy=msgspec.structs.replace(RECEIVER.policy, ingress=chain("first=passing default=web"))
    )
    policies = {each.key: each for each in (OPEN, WEB, passing)}
    host.take(PolicyChanges(policies=policies, workloads={SENDER.key: SENDER, receiver.key: receiver}))
    send(host, tcp(80, 1), tcp(80, 2), tcp(81), tcp(82), tcp(83))
    assert counts(host, passing) == {"ingress 0": 2, "ingress 1": 1, "ingress 2": 1}
    assert counts(host, WEB) == {"ingress 0": 2}


def test_a_rule_of_a_policy_that_passes_counts_once_wherever_it_is_asked(host: Host) -> None:
    """Two endpoints go through the policy in tiers that differ in what else they have."""
    rules = "\n".join(f"Pass tcp destination={port}" for port in range(80, 90))
    passing, other = policy("passing", ingress=rules), policy("other", ingress="Allow udp")
    policies = {each.key: each for each in (OPEN, WEB, passing, other)}
    ways = {SENDER: "first=passing,other default=web", RECEIVER: "first=passing default=web"}
    workloads = [
        msgspec.structs.replace(each, policy=msgspec.structs.replace(each.policy, ingress=chain(way)))
        for each, way in ways.items()
    ]
    host.take(PolicyChanges(policies=policies, workloads={each.key: each for each in workloads}))
    send(host, tcp(80, 1), tcp(80, 2), tcp(81))
    assert counts(host, passing) == {"ingress 0": 2, "ingress 1": 1}


@pytest.mark.parametrize("before", [MIXED, FOLDED])
def test_a_rule_that_stays_keeps_its_count(host: Host, before: Policy) -> None:
    """Whatever becomes of the others, and whoever its agent is."""
    host.take(msgspec.structs.replace(ALL, policies={OPEN.key: OPEN, before.key: before}))
    send(host, tcp(80, 1), tcp(80, 2), udp(1))
    (allowed, denied) = [key for key, n in sorted(counts(host, before).items()) if n]
    kept = counts(host, before)
    first, second = int(allowed.split()[1]), int(denied.split()[1])
    # One more before all others, and one that is another now.
    moved = [
        msgspec.structs.replace(rule, origin=rule.origin._replace(number=n + 1))
        for n, rule in enumerate(before.ingress)
    ]
    head = policy("web", ingress="Deny tcp destination=22").ingress
    changed = msgspec.structs.replace(before, ingress=(*head, *moved))
    host.take(PolicyChanges(policies={changed.key: changed}))
    assert counts(host, changed) == {f"ingress {first + 1}": kept[allowed], f"ingress {second + 1}": kept[denied]}
    send(host, tcp(80))
    host.stop()
    host.start()
    host.take(msgspec.structs.replace(ALL, policies={OPEN.key: OPEN, changed.key: changed}))
    assert host.backend.writes == 0
    assert counts(host, changed)[f"ingress {first + 1}"] == kept[allowed] + 1
    # What says something else now begins anew.
    other = policy("web", ingress="Deny tcp destination=80")
    host.take(PolicyChanges(policies={other.key: other}))
    assert counts(host, other) == {}


def test_what_nobody_asks_is_absent(host: Host) -> None:
    unused = policy("unused", ingress="Allow tcp")
    host.take(msgspec.structs.replace(ALL, policies={**ALL.policies, unused.key: unused}))
    reader = host.backend.counts([unused.key])
    found = host.arena.namespace.call(reader)
    assert all(count == Count(0, 0) for count in found.values())
    host.take(PolicyChanges(workloads={SENDER.key: None, RECEIVER.key: None}))
    assert counts(host, WEB) == {}


def test_drops_are_counted_by_their_reason(host: Host) -> None:
    host.take(ALL)

    def dropped() -> dict[Reason, int]:
        found = host.arena.namespace.call(load(host.name).drops)
        return {reason: one.packets for reason, one in found.items()}

    before = dropped()
    send(host, tcp(81, 1), tcp(81, 2), "calia 10.65.0.7:9 > 10.65.0.2:80 tcp", f"{tcp(80)} ack", tcp(80))
    after = dropped()
    assert {reason: n - before[reason] for reason, n in after.items() if n != before[reason]} == {
        Reason.TIER_DEFAULT: 2,
        Reason.SPOOFED_ADDRESS: 1,
        Reason.MID_STREAM: 1,
    }
