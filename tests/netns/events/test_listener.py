"""Real packets, dropped and logged by the real backend, as events with names; and counted, whether told or not."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from ipaddress import ip_address

import msgspec
import pytest

from tests.contract.arena import WORLD, A, Arena, B
from tests.contract.driver import interfaces
from tests.netns.conftest import NetnsFactory
from tests.unit.intent.policy_text import chain, packet, policy, profile, workload
from tortie.dataplane import nftables
from tortie.dataplane.events import DropCounters, Event, Kind, Listener
from tortie.dataplane.events.ration import BURST
from tortie.intent.bulk import BulkJudge
from tortie.intent.indexed import IndexedState
from tortie.intent.policy import BothWays, HostEndpointPolicy, PolicySettings
from tortie.intent.state import PolicyChanges
from tortie.intent.verdict import Reason
from tortie.kernel.netfilter.nflog import LogSocket
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.model.resource import ResourceKey

MACS = {port.interface: port.mac for port in (A, B, WORLD)}
NAMES = {"a": "WorkloadEndpoint(default/a)", "b": "WorkloadEndpoint(default/b)"}

OPEN = profile("open", ingress="Allow", egress="Allow")
WEB = policy(
    "web", ingress="Log tcp destination=22\nAllow tcp destination=80\nAllow tcp destination=22\nDeny tcp destination=81"
)
SENDER = workload("a", "10.65.0.1,fd00:65::1", egress="| open", mac=A.mac)
RECEIVER = workload("b", "10.65.0.2,fd00:65::2", ingress="default=web", egress="| open", mac=B.mac)
ALL = PolicyChanges(
    policies={each.key: each for each in (OPEN, WEB)},
    workloads={each.key: each for each in (SENDER, RECEIVER)},
    settings=PolicySettings(),
)


class Host:
    """The arena with a backend and a listener."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self._socket = arena.namespace.call(NetfilterSocket)
        self._netlink = arena.namespace.netlink()
        self.backend = nftables.make(self._socket, ("cali", "tap"))
        self.backend.observe(interfaces(arena.namespace, {}))
        self.state = IndexedState()
        self.judge = BulkJudge(self.state)
        self.listener = Listener(
            self.state,
            self.judge,
            self._netlink,
            lambda group, snap_bytes: arena.namespace.call(lambda: LogSocket(group, snap_bytes)),
        )
        self.counters = DropCounters()
        self._told = 0
        self._counted: dict[Reason, int] = {}

    def close(self) -> None:
        self.listener.close()
        self._socket.close()
        self._netlink.close()

    def take(self, changes: PolicyChanges) -> None:
        for part in (self.backend, self.state, self.judge):
            part.take(changes)
        for _ in self.backend.resync():
            pass
        while self.backend.apply(time.monotonic()):
            pass
        assert list(self.backend.pending) == []
        # What the host said by itself while an interface was closed and its endpoint not there yet.
        while select.select(self.listener.filenos(), [], [], 0)[0]:
            self.listener.read(0.0)
        self._told = self.listener.ring.number
        self.counters.take("nftables", nftables.dropped(self._socket))
        self._counted = {reason: figures.packets for reason, figures in self.counters.totals.items()}

    def counted(self) -> dict[str, int]:
        """Packets dropped since the last `take`, by reason."""
        self.counters.take("nftables", nftables.dropped(self._socket))
        now = {reason: figures.packets for reason, figures in self.counters.totals.items()}
        return {reason: n - self._counted[reason] for reason, n in now.items() if n > self._counted[reason]}

    def send(self, text: str, mark: int = 0) -> None:
        one = packet(text)
        mac = one.source_mac if "mac=" in text else MACS[one.interface]
        self.arena.send(msgspec.structs.replace(one, source_mac=mac), mark)

    def told(self, events: int = 1, now: float = 0.0) -> list[Event]:
        """The next events, when there are so many."""
        page = self.listener.ring.since(self._told)
        while len(page.events) < events:
            readable, _, _ = select.select(self.listener.filenos(), [], [], 5)
            assert readable, page.events
            self.listener.read(now)
            page = self.listener.ring.since(self._told)
        self._told = page.number
        return list(page.events)


@pytest.fixture
def host(netns: NetnsFactory) -> Iterator[Host]:
    arena = Arena(netns("host"))
    made = Host(arena)
    yield made
    made.close()
    arena.close()


@pytest.mark.parametrize(
    ("text", "reason", "sender", "receiver"),
    [
        ("calia 10.65.0.1:9 > 10.65.0.2:80 tcp syn mac=02:00:00:00:00:55", "spoofed-mac", "a", "b"),
        ("calia 10.65.0.7:9 > 10.65.0.2:80 tcp", "spoofed-address", "a", "b"),
        ("calia [fd00:65::7]:9 > [fd00:65::2]:80 tcp", "spoofed-address", "a", "b"),
        ("calia fe80::1 > fd00:65::2 icmpv6 134", "router-advertisement", "a", "b"),
        ("calia 10.65.0.1 > 10.65.0.2 icmp 5", "redirect", "a", "b"),
        ("calia 10.65.0.1:67 > 10.65.0.2:68 udp", "dhcp-server", "a", "b"),
        ("calia 10.65.0.1:9 > 10.65.0.2:4789 udp", "tunnel", "a", "b"),
        ("eth0 192.0.2.1:9 > 10.65.0.2:80 tcp ack", "mid-stream", "", "b"),
        ("calia 10.65.0.1:9 > 172.18.203.125:22 tcp", "endpoint-to-host", "a", ""),
        ("eth0 192.0.2.1:9 > 10.65.0.2:81 tcp", "policy", "", "b"),
        ("calia [fd00:65::1]:9 > [fd00:65::2]:81 tcp", "policy", "a", "b"),
        ("calia 10.65.0.1:9 > 10.65.0.2:82 tcp", "tier-default", "a", "b"),
        ("calib 10.65.0.2:9 > 10.65.0.1:80 udp", "no-profile-matched", "b", "a"),
    ],
)
def test_every_drop_is_told_with_its_reason(host: Host, text: str, reason: str, sender: str, receiver: str) -> None:
    host.take(ALL)
    host.send(text)
    (event,) = host.told()
    sent = packet(text)
    assert (event.kind, event.reason) == (Kind.DROP, reason)
    assert (event.sender, event.receiver) == (NAMES.get(sender, ""), NAMES.get(receiver, ""))
    assert (event.source, event.source_port) == (str(sent.source), sent.source_port)
    assert (event.destination, event.destination_port) == (str(sent.destination), sent.destination_port)
    assert (event.protocol, event.tcp_flags, event.icmp_type) == (sent.protocol, sent.tcp_flags, sent.icmp_type)
    assert event.interface == sent.interface
    assert abs(event.time_s - time.time()) < 60
    assert host.counted() == {reason: 1}


def test_the_rule_that_denied_is_named(host: Host) -> None:
    host.take(ALL)
    host.send("calia 10.65.0.1:9 > 10.65.0.2:81 tcp")
    (event,) = host.told()
    assert (event.endpoint, event.tier, event.policy) == (NAMES["b"], "default", "GlobalNetworkPolicy(web)")
    assert event.rule == "GlobalNetworkPolicy(web) ingress rule 3"
    assert (event.out_interface, event.source_mac) == ("calib", A.mac)


def test_an_interface_without_an_endpoint(host: Host) -> None:
    host.take(msgspec.structs.replace(ALL, workloads={SENDER.key: SENDER}))
    host.send("calib 10.65.0.2:9 > 10.65.0.1:80 tcp")
    # What the host itself says there, to discover its neighbours, is dropped and told too.
    while not (sent := [event for event in host.told() if event.source == "10.65.0.2"]):
        pass
    (event,) = sent
    assert (event.reason, event.interface, event.sender) == ("unknown-interface", "calib", "")


def test_a_log_action_names_its_rule(host: Host) -> None:
    host.take(ALL)
    host.send("calia 10.65.0.1:9 > 10.65.0.2:22 tcp", 22)
    (event,) = host.told()
    assert (event.kind, event.reason) == (Kind.LOG, "log")
    assert event.logged_by == ("GlobalNetworkPolicy(web) ingress rule 0",)
    assert 22 in host.arena.received({22})


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("eth0 192.0.2.1:9 > 172.18.203.125:81 tcp", "GlobalNetworkPolicy(web) ingress rule 3"),  # to the host
        ("calia 10.65.0.1:9 > 192.0.2.1:83 tcp", "GlobalNetworkPolicy(through) egress rule 0"),  # through it
        ("eth0 192.0.2.1:9 > 172.18.203.125:84 tcp", "GlobalNetworkPolicy(before) ingress rule 0"),
    ],
)
def test_a_host_endpoint_that_goes_by_its_address(host: Host, text: str, rule: str) -> None:
    through, before = (
        policy("through", egress="Deny tcp destination=83"),
        policy("before", ingress="Deny destination=84"),
    )
    endpoint = HostEndpointPolicy(
        key=ResourceKey("HostEndpoint", "", "uplink"),
        interface="",
        addresses=(ip_address("172.18.203.125"),),
        normal=BothWays(ingress=chain("default=web")),
        forward=BothWays(egress=chain("default=through")),
        pre_dnat=chain("default:pass=before"),
    )
    policies = {**ALL.policies, through.key: through, before.key: before}
    held = {"eth0": frozenset({ip_address("172.18.203.125"), ip_address("fd00:18::125")})}
    host.backend.observe(interfaces(host.arena.namespace, held))
    host.take(msgspec.structs.replace(ALL, policies=policies, host_endpoints={endpoint.key: endpoint}))
    host.send(text)
    found: list[Event] = []
    while not found:
        # What the host says by itself, such as to its neighbours, may be dropped too.
        found = [event for event in host.told() if event.source_port == 9]
    (event,) = found
    assert (event.reason, event.endpoint, event.rule) == ("policy", "HostEndpoint(uplink)", rule)


@pytest.mark.parametrize("deny", ["Drop", "Reject"])
def test_a_flood_is_counted_but_not_told_beyond_a_ration(host: Host, deny: str) -> None:
    host.take(msgspec.structs.replace(ALL, settings=PolicySettings(deny=deny)))  # type: ignore[arg-type]  # one of both
    sent = 300
    for number in range(sent):
        host.send(f"calia 10.65.0.1:{1000 + number} > 10.65.0.2:81 tcp")
    told = host.told(BURST)
    host.send("eth0 192.0.2.1:9 > 10.65.0.2:80 tcp ack")
    (last,) = [each for each in host.told() if each.reason == Reason.MID_STREAM]
    assert len(told) == BURST
    assert last.endpoint == NAMES["b"]
    assert host.listener.untold > 0
    assert host.counted()[Reason.POLICY] == sent
