"""Workloads and the host itself: what the host hears of them, what it may say to them, and what is never heard."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest

from tests.contract.test_hosts import Witness, disagreements, passes, send_as_host
from tests.contract.test_life import ALL, OPEN, RECEIVER, SENDER, Host, host
from tests.unit.intent.policy_text import packet, policy, workload
from tortie.intent.policy import PolicySettings
from tortie.intent.state import PolicyState

__all__ = ["host"]

US = "172.18.203.125"
MAC = f"mac={SENDER.mac}"
OUT = policy("out", egress="Allow udp destination=53\nDeny udp destination=54")
LIMITED = workload("a", "10.65.0.1,fd00:65::1", ingress="| open", egress="default:pass=out | open", mac=SENDER.mac)
CHANGES = msgspec.structs.replace(
    ALL,
    policies={**ALL.policies, OUT.key: OUT, OPEN.key: OPEN},
    workloads={LIMITED.key: LIMITED, RECEIVER.key: RECEIVER},
)
CASES = [
    f"calia 10.65.0.1:9 > {US}:53 udp {MAC}",
    f"calia 10.65.0.1:9 > {US}:54 udp {MAC}",
    f"calia 10.65.0.1:9 > {US}:80 tcp {MAC}",
    f"calia 10.65.0.1:68 > {US}:67 udp {MAC}",
    f"calia 0.0.0.0:69 > {US}:67 udp {MAC}",
    f"calia 10.65.0.1:67 > {US}:68 udp {MAC}",
    f"calia 10.65.0.2:9 > {US}:53 udp {MAC}",
    f"calia 10.65.0.1:9 > {US}:4789 udp {MAC}",
    f"calia [fd00:65::1]:9 > [fd00:18::125]:53 udp {MAC}",
    f"calia [fd00:65::1]:9 > [fd00:18::125]:54 udp {MAC}",
    f"calia [fd00:65::1]:546 > [fd00:18::125]:547 udp {MAC}",
    f"calia [fd00:65::1]:547 > [fd00:18::125]:546 udp {MAC}",
    f"eth0 198.51.100.1:9 > {US}:80 tcp",
    f"- {US}:9 > 10.65.0.1:80 udp",
    f"- {US}:9 > 10.65.0.2:80 udp",
    "calia 10.65.0.1:9 > 10.65.0.2:81 tcp",
    "calia 10.65.0.1:9 > 10.65.0.2:80 tcp",
]


@pytest.mark.parametrize(
    "settings",
    [
        PolicySettings(),
        PolicySettings(endpoint_to_host="Accept", deny="Reject"),
        PolicySettings(endpoint_to_host="Return", vxlan_from_workloads=True, ipip_from_workloads=True),
    ],
    ids=["drop", "accept, reject", "return, tunnels"],
)
def test_the_host_hears_what_the_judge_says(host: Host, settings: PolicySettings) -> None:
    changes = msgspec.structs.replace(CHANGES, settings=settings)
    state = PolicyState()
    state.take(changes)
    host.take(changes)
    assert disagreements(host, state, CASES) == []


def test_the_host_says_nothing_to_an_interface_without_an_endpoint(host: Host) -> None:
    host.take(CHANGES)
    host.take(msgspec.structs.replace(CHANGES, workloads={RECEIVER.key: None}))
    witness = Witness(host)
    told = [passes(host, witness, packet(f"- {US}:9 > 10.65.0.{n}:80 udp"), n) for n in (1, 2)]
    assert told == [True, False]


def test_the_host_says_nothing_there_by_others_translation_either(host: Host) -> None:
    """Whose rules change the destination where the host sends, after its first route was found."""
    run = host.arena.namespace.run
    run("nft add table ip theirs && nft 'add chain ip theirs output { type nat hook output priority -100; }'")
    run("nft add rule ip theirs output ip daddr 198.51.100.1 dnat to 10.65.0.1")
    run("nft add rule ip theirs output ip daddr 198.51.100.2 dnat to 10.65.0.2")
    host.take(CHANGES)
    host.take(msgspec.structs.replace(CHANGES, workloads={RECEIVER.key: None}))
    for last in (1, 2):
        host.arena.namespace.call(partial(send_as_host, packet(f"- {US}:9 > 198.51.100.{last}:80 udp"), last))
    assert {mark: interface for mark, (interface, _) in host.arena.received(set()).items()} == {1: "calia"}
