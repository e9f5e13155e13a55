"""What changes of a packet on its way through the host, as the judge says."""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Address, ip_address, ip_network

import msgspec
import pytest

from tests.contract.arena import Arena
from tests.contract.test_hosts import send_as_host
from tests.contract.test_life import MACS, OPEN, Host, host
from tests.unit.intent.policy_text import packet, workload
from tortie.intent.packet import Flow, Route
from tortie.intent.policy import FloatingAddress, NatPool, PolicySettings
from tortie.intent.state import PolicyChanges, PolicyState
from tortie.intent.verdict import verdict

__all__ = ["host"]


OUTSIDE = (
    FloatingAddress(ip_address("203.0.113.7"), ip_address("10.65.0.2")),
    FloatingAddress(ip_address("2001:db8:f::7"), ip_address("fd00:65::2")),
)
CHANGES = PolicyChanges(
    policies={OPEN.key: OPEN},
    workloads={
        each.key: each
        for each in (
            workload("a", "10.65.0.1,fd00:65::1", ingress="| open", egress="| open"),
            workload("b", "10.65.0.2,fd00:65::2", ingress="| open", egress="| open", floating=OUTSIDE),
        )
    },
    pools=(
        NatPool(ip_network("10.65.0.0/16"), outgoing=True),
        NatPool(ip_network("10.65.0.0/24"), outgoing=False),
        NatPool(ip_network("192.0.2.0/24"), outgoing=False),
        NatPool(ip_network("fd00:65::/64"), outgoing=True),
    ),
    hosts=frozenset({ip_address("198.51.100.126")}),
)
CASES = [
    "eth0 192.0.2.1:9 > 203.0.113.7:80 tcp",
    "calia 10.65.0.1:9 > 203.0.113.7:80 tcp",
    "calib 10.65.0.2:9 > 203.0.113.7:80 tcp",
    "eth0 [2001:db8::1]:9 > [2001:db8:f::7]:80 tcp",
    "calib 10.65.0.2:9 > 198.51.100.1:80 tcp",
    "calia 10.65.0.1:9 > 198.51.100.126:80 udp",
    "calia 10.65.0.1:9 > 192.0.2.1:80 tcp",
    "calia 10.65.0.1:9 > 10.65.0.2:80 tcp",
    "calia [fd00:65::1]:9 > [2001:db8::1]:80 tcp",
    "calia [fd00:65::1]:9 > [fd00:65::2]:80 tcp",
    "eth0 192.0.2.1:9 > 10.65.0.2:80 tcp",
]


@pytest.mark.parametrize(
    "settings",
    [
        PolicySettings(),
        PolicySettings(nat_address=IPv4Address("172.18.203.77"), nat_excludes_hosts=True),
    ],
    ids=["masquerade", "chosen"],
)
def test_addresses_leave_as_the_judge_says(host: Host, settings: PolicySettings) -> None:
    arena: Arena = host.arena
    changes = msgspec.structs.replace(CHANGES, settings=settings)
    state = PolicyState()
    host.take(changes)
    state.take(changes)
    arena.forget_flows(host.socket)
    expected = {}
    for number, text in enumerate(CASES):
        one = packet(text)
        one = msgspec.structs.replace(one, source_mac=MACS[one.interface], source_port=1000 + number)
        judged = verdict(state, one, Flow.NEW, arena.fib)
        assert judged.action == "accept", text
        expected[number] = judged.translated or (one.source, one.destination)
        arena.send(one, number)
    found = {mark: (frame.source, frame.destination) for mark, (_, frame) in arena.received(set(expected)).items()}
    assert {CASES[number]: ends for number, ends in found.items()} == {
        CASES[number]: tuple(ends) for number, ends in expected.items()
    }


OF_HOST = [
    "- 10.65.0.77:9 > 198.51.100.1:80 udp",
    "- 10.65.0.77:9 > 198.51.100.126:80 udp",
    "- 10.65.0.77:9 > 192.0.2.1:80 udp",
    "- 10.65.0.77:9 > 10.65.0.2:80 udp",
    "- 10.65.0.77:9 > 203.0.113.7:80 udp",
    "- 172.18.203.125:9 > 198.51.100.1:80 udp",
]


@pytest.mark.parametrize("settings", [PolicySettings(), PolicySettings(nat_excludes_hosts=True)], ids=["all", "hosts"])
def test_what_the_host_sends_from_a_pool_is_translated_too(host: Host, settings: PolicySettings) -> None:
    arena: Arena = host.arena
    arena.namespace.run("ip address add 10.65.0.77/32 dev lo")
    changes = msgspec.structs.replace(CHANGES, settings=settings)
    state = PolicyState()
    host.take(changes)
    state.take(changes)
    expected = {}
    for number, text in enumerate(OF_HOST):
        arena.forget_flows(host.socket)
        one = packet(text)
        judged = verdict(state, one, Flow.NEW, arena.fib)
        assert judged.action == "accept", text
        expected[text] = tuple(judged.translated or (one.source, one.destination))
        arena.namespace.call(partial(send_as_host, one, number))
    found = {
        OF_HOST[mark]: (frame.source, frame.destination) for mark, (_, frame) in arena.received(set(range(6))).items()
    }
    assert found == expected
    leaving = ip_address("172.18.203.125")
    assert [text for text, ends in expected.items() if ends[0] == leaving] == [
        OF_HOST[0],
        *([] if settings.nat_excludes_hosts else [OF_HOST[1]]),
        OF_HOST[5],
    ]


def test_the_hosts_own_interface_is_one_to_the_world(host: Host) -> None:
    """Though it begins like a workload's: what leaves the pools by it is translated."""
    arena: Arena = host.arena
    beyond = ip_network("198.51.100.200/32")
    arena.namespace.run(f"ip route add {beyond} via 10.65.0.2 dev calib onlink")
    settings = PolicySettings(nat_address=IPv4Address("172.18.203.77"))
    changes = msgspec.structs.replace(CHANGES, settings=settings)
    host.backend.exempt(frozenset({"calib"}))
    host.take(changes)
    state = PolicyState(exempt_interfaces=frozenset({"calib"}))
    state.take(changes)
    fib = msgspec.structs.replace(arena.fib, routes=(*arena.fib.routes, Route(beyond, "calib")))
    one = packet("calia 10.65.0.1:9 > 198.51.100.200:80 tcp")
    judged = verdict(state, one, Flow.NEW, fib)
    assert judged.translated is not None
    arena.send(msgspec.structs.replace(one, source_mac=MACS["calia"]), 7)
    interface, frame = arena.received({7})[7]
    assert (interface, frame.source, frame.destination) == ("calib", *judged.translated)
