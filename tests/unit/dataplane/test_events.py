"""Packets that the kernel tells of as events: read, named, rationed, kept, counted."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.generate import Chance
from tests.contract.generate import packet as packet_by_chance
from tests.contract.wire import build
from tests.unit.intent.policy_text import packet, policy, profile, workload
from tortie.dataplane.events import DropCounters, Event, Kind, Ring
from tortie.dataplane.events.naming import Namer
from tortie.dataplane.events.ration import BURST, MOST_SUBJECTS, RATE_PER_S, Ration
from tortie.dataplane.events.wire import parse
from tortie.intent.bulk import BulkJudge
from tortie.intent.indexed import IndexedState
from tortie.intent.packet import TCP, UDP
from tortie.intent.report import Count
from tortie.intent.state import PolicyChanges
from tortie.intent.verdict import Reason

V6 = ip_address("fd00::1").packed + ip_address("fd00::2").packed
PORTS = struct.pack("!HH", 9, 80)


def ipv6(first: int, rest: bytes) -> bytes:
    return struct.pack("!IHBB", 6 << 28, len(rest), first, 64) + V6 + rest


class TestWire:
    @given(st.integers(0, 2**32))
    def test_what_was_sent_is_read(self, seed: int) -> None:
        one = packet_by_chance(Chance(seed))
        if one.protocol == 47:
            one = msgspec.structs.replace(one, source_port=None, destination_port=None)
        raw = build(one, "02:00:00:00:00:99", 7)[14:]
        assert parse(raw, one.interface, one.source_mac) == one

    @pytest.mark.parametrize(
        ("first", "rest", "protocol", "port"),
        [
            (0, bytes((UDP, 0)) + bytes(6) + PORTS, UDP, 80),  # hop by hop
            (60, bytes((43, 1)) + bytes(14) + bytes((TCP, 0)) + bytes(6) + PORTS, TCP, 80),  # options, routing
            (44, bytes((UDP, 0, 0, 1)) + bytes(4) + PORTS, UDP, 80),  # the first fragment
            (44, bytes((UDP, 0, 0, 9)) + bytes(4) + PORTS, UDP, None),  # a later one
            (51, bytes((TCP, 4)) + bytes(22) + PORTS, TCP, 80),  # authentication
            (0, bytes((UDP, 200)) + bytes(6) + PORTS, UDP, None),  # longer than the packet
            (0, bytes((0, 0)) * 4, 0, None),  # cut short
            (59, b"", 59, None),  # no next header
        ],
    )
    def test_headers_of_ipv6(self, first: int, rest: bytes, protocol: int, port: int | None) -> None:
        found = parse(ipv6(first, rest))
        assert found is not None
        assert (found.protocol, found.destination_port) == (protocol, port)

    def test_options_of_ipv4_and_a_later_fragment(self) -> None:
        ends = ip_address("10.0.0.1").packed + ip_address("10.0.0.2").packed
        head = struct.pack("!BBHHHBBH", 0x46, 0, 28, 0, 0, 64, UDP, 0) + ends + bytes(4)
        found = parse(head + PORTS)
        later = parse(head[:6] + b"\0\1" + head[8:] + PORTS)
        assert found is not None
        assert later is not None
        assert (found.source_port, found.destination_port) == (9, 80)
        assert (later.source_port, later.destination_port) == (None, None)

    @given(st.one_of(st.binary(max_size=80), st.binary(max_size=80).map(lambda rest: ipv6(0, rest))))
    def test_nothing_that_is_sent_breaks_it(self, data: bytes) -> None:
        found = parse(data)
        assert found is None or found.family in (4, 6)

    @given(st.integers(0, 2**32), st.integers(0, 60))
    def test_what_is_cut_short_is_read_as_far_as_it_goes(self, seed: int, length: int) -> None:
        one = packet_by_chance(Chance(seed))
        whole, found = (
            parse(build(one, "02:00:00:00:00:99", 7)[14:]),
            parse(build(one, "02:00:00:00:00:99", 7)[14:][:length]),
        )
        assert found is None or whole is None or found.destination == whole.destination


A = workload("a", "10.65.0.1", ingress="ops:pass=logged default=web", egress="| open")
B = workload("b", "10.65.0.2", ingress="default=web", egress="| silent")
STATE = PolicyChanges(
    policies={
        each.key: each
        for each in (
            policy("web", ingress="Log udp\nAllow tcp destination=80\nDeny tcp destination=81"),
            policy("logged", ingress="Log tcp destination=80", tier="ops"),
            profile("open", ingress="Allow", egress="Allow"),
            profile("silent", egress="Allow tcp destination=443"),
        )
    },
    workloads={each.key: each for each in (A, B)},
)
NAME_A, NAME_B = "WorkloadEndpoint(default/a)", "WorkloadEndpoint(default/b)"


@pytest.fixture
def namer() -> Namer:
    state = IndexedState()
    state.take(STATE)
    return Namer(state, BulkJudge(state), lambda interface: frozenset())


@pytest.mark.parametrize(
    ("reason", "text", "out", "expected"),
    [
        (
            "policy",
            "calia 10.65.0.1:9 > 10.65.0.2:81 tcp",
            "calib",
            (NAME_A, NAME_B, NAME_B, "default", "GlobalNetworkPolicy(web)", "GlobalNetworkPolicy(web) ingress rule 2"),
        ),
        (
            "tier-default",
            "calia 10.65.0.1:9 > 10.65.0.2:82 tcp",
            "calib",
            (NAME_A, NAME_B, NAME_B, "default", "", ""),
        ),
        ("no-profile-matched", "calib 10.65.0.2:9 > 192.0.2.1:80 tcp", "eth0", (NAME_B, "", NAME_B, "", "", "")),
        # Policy has changed since: the names stay, what decided is not known.
        ("policy", "calia 10.65.0.1:9 > 10.65.0.2:80 tcp", "calib", (NAME_A, NAME_B, "", "", "", "")),
        # Before policy: nobody is asked.
        ("spoofed-address", "calia 10.65.0.2:9 > 192.0.2.1:80 tcp", "", (NAME_A, "", NAME_A, "", "", "")),
        ("unknown-interface", "calix 10.65.0.1:9 > 192.0.2.1:80 tcp", "", ("", "", "", "", "", "")),
        ("mid-stream", "eth0 10.65.0.1:9 > 10.65.0.2:80 tcp ack", "calib", ("", NAME_B, NAME_B, "", "", "")),
    ],
)
def test_a_drop_is_named(namer: Namer, reason: str, text: str, out: str, expected: tuple[str, ...]) -> None:
    one = packet(text)
    event = namer.drop(1.0, reason, one, one.interface, out)
    assert (event.sender, event.receiver, event.endpoint, event.tier, event.policy, event.rule) == expected
    assert (event.kind, event.reason, event.source, event.destination_port) == (
        Kind.DROP,
        reason,
        str(one.source),
        one.destination_port,
    )


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("eth0 192.0.2.1:9 > 10.65.0.1:80 tcp", ("GlobalNetworkPolicy(logged) ingress rule 0",)),
        ("eth0 192.0.2.1:9 > 10.65.0.1:80 udp", ("GlobalNetworkPolicy(web) ingress rule 0",)),
        ("eth0 192.0.2.1:9 > 10.65.0.1:81 tcp", ()),  # changed since
    ],
)
def test_a_log_names_the_rules_that_log(namer: Namer, text: str, rules: tuple[str, ...]) -> None:
    event = namer.log(1.0, packet(text), "eth0", "calia")
    assert (event.kind, event.logged_by, event.endpoint) == (Kind.LOG, rules, NAME_A)


def test_what_cannot_be_read_still_is_an_event(namer: Namer) -> None:
    event = namer.drop(1.0, "policy", None, "calia", "")
    assert (event.sender, event.source, event.protocol) == (NAME_A, "", None)


def test_an_event_is_json_without_what_is_not_known() -> None:
    event = Event(time_s=1.5, kind=Kind.DROP, reason="invalid", interface="calia")
    assert msgspec.json.encode(event) == b'{"time_s":1.5,"kind":"drop","reason":"invalid","interface":"calia"}'


class TestRation:
    def test_who_floods_is_silenced_and_nobody_else(self) -> None:
        ration = Ration()
        assert [ration.take("a", 0.0) for _ in range(BURST)] == [0] * BURST
        assert [ration.take("a", 0.0) for _ in range(3)] == [None] * 3
        assert ration.take("b", 0.0) == 0

    def test_what_was_not_told_is_told_later_as_a_number(self) -> None:
        ration = Ration()
        for _ in range(BURST + 7):
            ration.take("a", 0.0)
        assert ration.take("a", 1.0) == 7
        assert [ration.take("a", 1.0) for _ in range(RATE_PER_S)] == [0] * (RATE_PER_S - 1) + [None]

    def test_memory_is_bounded(self) -> None:
        ration = Ration()
        for _ in range(BURST):
            ration.take("first", 0.0)
        for number in range(MOST_SUBJECTS):
            ration.take(str(number), 0.0)
        assert ration.take("first", 0.0) == 0  # forgotten


class TestRing:
    @pytest.fixture
    def ring(self) -> Ring:
        made = Ring(kept=3)
        for number in range(5):
            made.add(Event(time_s=float(number), kind=Kind.DROP, reason="invalid"))
        return made

    @pytest.mark.parametrize(
        ("since", "numbers", "missed"),
        [
            (0, [3, 4, 5], 0),  # a new reader
            (1, [3, 4, 5], 1),
            (2, [3, 4, 5], 0),
            (4, [5], 0),
            (5, [], 0),
            (99, [3, 4, 5], 0),  # of an agent before
        ],
    )
    def test_a_reader_goes_on_where_it_was(self, ring: Ring, since: int, numbers: list[int], missed: int) -> None:
        page = ring.since(since)
        assert [event.number for event in page.events] == numbers
        assert (page.missed, page.number) == (missed, 5)

    def test_a_page_is_as_long_as_is_wished(self, ring: Ring) -> None:
        page = ring.since(2, limit=2)
        assert ([event.number for event in page.events], page.number) == ([3, 4], 4)


def test_totals_only_grow() -> None:
    counters = DropCounters()
    counters.take("nftables", {Reason.POLICY: Count(3, 300)})
    counters.take("nftables", {Reason.POLICY: Count(5, 500)})
    assert counters.totals[Reason.POLICY] == Count(5, 500)
    counters.take("nftables", {Reason.POLICY: Count(1, 100)})  # the chain was written anew
    assert counters.totals[Reason.POLICY] == Count(6, 600)
    counters.take("iptables-nft", {Reason.POLICY: Count(9, 900)})  # it counts by itself
    assert counters.totals[Reason.POLICY] == Count(15, 1500)
    assert counters.totals[Reason.INVALID] == Count(0, 0)
    assert Reason.ESTABLISHED not in counters.totals
