"""Tracked connections as first packets, and which changes make it worth while to look at them."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import msgspec
import pytest

from tests.unit.intent.policy_text import chain, fib, key, packet, policy, profile, workload
from tortie.dataplane.flows.closing import Closing
from tortie.dataplane.flows.departures import Departures
from tortie.dataplane.flows.judging import FlowJudge, Origin, first_packet
from tortie.intent.bulk import BulkJudge
from tortie.intent.indexed import IndexedState
from tortie.intent.packet import Route
from tortie.intent.policy import (
    Address,
    AddressSet,
    BothWays,
    FailsafePort,
    FloatingAddress,
    HostEndpointPolicy,
    NatPool,
    PolicySettings,
)
from tortie.intent.state import PolicyChanges, SetDelta
from tortie.kernel.netfilter.conntrack import Connection, Tuple
from tortie.model.resource import ResourceKey

MAC = "02:00:00:00:00:01"
WEB = workload("web", "10.65.0.1,fd00:65::1", ingress="default=web", egress="| open", mac=MAC)
DB = workload("db", "10.65.0.2", ingress="default=db", egress="default=quiet")
FLOATING = FloatingAddress(ip_address("203.0.113.7"), ip_address("10.65.0.3"))
OUT = workload("out", "10.65.0.3", ingress="default=web", egress="| open", floating=(FLOATING,))
ROUTER = workload("router", "10.65.0.4", egress="default=quiet", allowed_sources=(ip_network("192.0.2.0/24"),))
OPEN = profile("open", ingress="Allow", egress="Allow")
ALL = PolicyChanges(
    policies={
        each.key: each
        for each in (
            policy("web", ingress="Allow tcp destination=80\nAllow icmp icmp=8"),
            policy("db", ingress="Allow tcp source=10.65.0.0/24 destination=5432"),
            policy("quiet", egress="Allow udp"),
            OPEN,
        )
    },
    workloads={each.key: each for each in (WEB, DB, OUT, ROUTER)},
    pools=(NatPool(ip_network("10.65.0.0/16"), outgoing=True),),
)
FIB = fib(WEB, DB, OUT, ROUTER)


class FakeRoutes:
    """What the kernel of a host with one uplink would say."""

    def route(self, address: Address) -> Route | None:
        if address in ip_network("198.18.0.0/15"):
            return None
        return FIB.route(address)

    def held(self, interface: str) -> frozenset[Address]:
        return FIB.addresses.get(interface, frozenset())


def judge_of(*changes: PolicyChanges) -> FlowJudge:
    state = IndexedState()
    judge = BulkJudge(state)
    for each in changes:
        state.take(each)
        judge.take(each)
    return FlowJudge(state, judge, FakeRoutes())


def connection(text: str) -> Connection:
    """`SOURCE:PORT > DESTINATION:PORT PROTOCOL [as ADDRESS[:PORT]]`, the last as what the destination became."""
    sent, _, became = text.partition(" as ")
    one = packet(f"- {sent}")
    inner, inner_port = one.destination, one.destination_port
    if became:
        host, _, port = became.partition(":")
        inner, inner_port = ip_address(host), int(port) if port else inner_port
    icmp = {"icmp_id": 7, "icmp_type": one.icmp_type or 0} if one.icmp_type is not None else {}
    return Connection(
        Tuple(
            one.source.packed,
            one.destination.packed,
            one.protocol,
            one.source_port or 0,
            one.destination_port or 0,
            **icmp,
        ),
        Tuple(inner.packed, one.source.packed, one.protocol, inner_port or 0, one.source_port or 0),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.65.0.2:9 > 10.65.0.1:80 udp", "10.65.0.2:9 > 10.65.0.1:80 udp"),
        ("[fd00::9]:9 > [fd00:65::1]:80 tcp", "[fd00::9]:9 > [fd00:65::1]:80 tcp syn"),
        ("192.0.2.1:9 > 172.18.203.125:8080 tcp as 10.65.0.1:80", "192.0.2.1:9 > 172.18.203.125:8080 tcp syn"),
        ("10.65.0.2 > 10.65.0.1 icmp 8", "10.65.0.2 > 10.65.0.1 icmp 8/0"),
        ("10.65.0.2 > 10.65.0.1 gre", "10.65.0.2 > 10.65.0.1 gre"),
    ],
)
def test_the_first_packet_is_as_it_was_sent(text: str, expected: str) -> None:
    made = first_packet(connection(text), Origin("calidb", MAC))
    assert made == packet(f"calidb {expected}")


@pytest.mark.parametrize(
    ("text", "concerns"),
    [
        ("192.0.2.1:9 > 10.65.0.1:80 tcp", True),
        ("10.65.0.1:9 > 192.0.2.1:80 tcp", True),
        ("[fd00::9]:9 > [fd00:65::1]:80 tcp", True),
        ("198.51.100.1:9 > 203.0.113.7:80 tcp as 10.65.0.3", True),
        ("198.51.100.1:9 > 203.0.113.7:80 tcp", True),
        ("198.51.100.1:9 > 172.18.203.125:8080 tcp as 10.65.0.1:80", True),
        ("192.0.2.1:9 > 198.51.100.1:80 tcp", True),  # the router may have sent it
        ("198.51.100.1:9 > 172.18.203.125:22 tcp", False),
        ("10.65.0.77:9 > 198.51.100.1:80 tcp", False),
        ("127.0.0.1:9 > 127.0.0.1:80 tcp", False),
    ],
)
def test_a_connection_concerns_endpoints_by_any_of_its_addresses(text: str, concerns: bool) -> None:
    assert judge_of(ALL).concerns(connection(text)) is concerns


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("198.51.100.1:9 > 10.65.0.1:80 tcp", False),
        ("198.51.100.1:9 > 10.65.0.1:81 tcp", True),
        ("198.51.100.1 > 10.65.0.1 icmp 8", False),
        ("198.51.100.1 > 10.65.0.1 icmp 13", True),
        ("10.65.0.1:9 > 198.51.100.1:81 tcp", False),
        ("10.65.0.1:9 > 10.65.0.2:5432 tcp", False),
        ("198.51.100.1:9 > 10.65.0.2:5432 tcp", True),
        ("10.65.0.2:9 > 10.65.0.1:80 tcp", True),  # the sender's policy
        ("10.65.0.2:9 > 198.51.100.1:53 udp", False),
        ("172.18.203.125:9 > 10.65.0.2:22 tcp", False),  # the host itself
        ("10.65.0.1:9 > 172.18.203.125:22 tcp", True),  # to the host: endpoint_to_host
        ("10.65.0.1:9 > 198.18.0.1:80 tcp", True),  # leads nowhere
        ("198.18.0.1:9 > 10.65.0.1:80 tcp", False),  # from where no route leads
        # Translated: the address that policy met is the inner one.
        ("198.51.100.1:9 > 203.0.113.7:80 tcp as 10.65.0.3", False),
        ("198.51.100.1:9 > 203.0.113.7:81 tcp as 10.65.0.3", True),
        ("198.51.100.1:9 > 203.0.113.7:80 tcp", False),
        ("198.51.100.1:9 > 172.18.203.125:8080 tcp as 10.65.0.1:80", False),
        ("198.51.100.1:9 > 172.18.203.125:80 tcp as 10.65.0.1:8080", True),
        # An allowed source: from the router, or from where the answer goes.
        ("192.0.2.1:9 > 10.65.0.1:80 tcp", False),
        ("192.0.2.1:9 > 198.51.100.1:80 tcp", True),  # hardly from the uplink, and the router may not
        ("192.0.2.1:9 > 198.51.100.1:80 udp", False),
    ],
)
def test_a_connection_is_judged_as_its_first_packet(text: str, denied: bool) -> None:
    assert judge_of(ALL).denied(connection(text)) is denied


def test_a_connection_that_belongs_to_another_is_judged_by_that() -> None:
    data = connection("10.65.0.1:20 > 198.51.100.1:9 tcp")
    allowed, denied = (connection(f"198.51.100.1:9 > 10.65.0.1:{port} tcp").original for port in (80, 21))
    closed = msgspec.structs.replace(WEB, policy=BothWays(ingress=chain("default=web")))
    judge = judge_of(ALL, PolicyChanges(workloads={WEB.key: closed}))
    assert judge.denied(data)
    assert not judge.denied(data._replace(master=allowed))
    assert judge.denied(data._replace(master=denied))


def test_a_host_endpoint_by_address_is_found() -> None:
    """Else the one of all other interfaces would be asked, which denies."""
    hosts = [
        HostEndpointPolicy(key=ResourceKey("HostEndpoint", "", name), interface=name, addresses=addresses, forward=ways)
        for name, addresses, ways in (
            ("*", (), BothWays(ingress=chain("default=db"))),
            ("", (ip_address("172.18.203.125"),), BothWays(ingress=chain("default=web"))),
        )
    ]
    judge = judge_of(ALL, PolicyChanges(host_endpoints={each.key: each for each in hosts}))
    assert not judge.denied(connection("198.51.100.1:9 > 10.65.0.1:80 tcp"))


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("198.51.100.1:9 > 172.18.203.125:22 tcp", False),  # failsafe
        ("198.51.100.1:9 > 172.18.203.125:80 tcp", False),
        ("198.51.100.1:9 > 172.18.203.125:81 tcp", False),  # admitted by preDNAT policy
        ("198.51.100.1:9 > 172.18.203.125:82 tcp", True),
        ("172.18.203.125:9 > 198.51.100.1:80 tcp", True),
        ("127.0.0.1:9 > 127.0.0.1:81 tcp", False),
        # Sent to a port of the host that preDNAT policy allows, and became one of a workload.
        ("198.51.100.1:9 > 172.18.203.125:8080 tcp as 10.65.0.1:80", False),
        ("198.51.100.1:9 > 172.18.203.125:8081 tcp as 10.65.0.1:80", True),
        ("198.51.100.1:9 > 172.18.203.125:8080 tcp as 10.65.0.1:81", True),
    ],
)
def test_with_a_host_endpoint_everything_is_judged(text: str, denied: bool) -> None:
    before = policy("before", ingress="Allow tcp destination=80:81,8080\nDeny")
    eth0 = HostEndpointPolicy(
        key=ResourceKey("HostEndpoint", "", "eth0"),
        interface="eth0",
        normal=BothWays(ingress=chain("default=web"), egress=chain("default=quiet")),
        pre_dnat=chain("default:pass=before"),
    )
    settings = PolicySettings(failsafe_inbound=(FailsafePort(6, 22),))
    judge = judge_of(
        ALL,
        PolicyChanges(policies={before.key: before}, host_endpoints={eth0.key: eth0}, settings=settings),
    )
    assert judge.concerns(connection(text))
    assert judge.denied(connection(text)) is denied


@pytest.mark.parametrize(
    ("text", "leftover"),
    [
        ("10.65.0.77:9 > 198.51.100.1:80 tcp", True),  # both by the uplink
        ("198.51.100.1:9 > 10.65.0.77:80 tcp", True),
        ("10.65.0.77:9 > 198.18.0.1:80 tcp", True),  # an end leads nowhere
        ("172.18.203.125:9 > 10.65.0.77:80 tcp", False),  # the host speaks to another host's workload
        ("198.51.100.2:9 > 198.51.100.1:80 tcp", False),  # of no pool
    ],
)
def test_a_leftover_is_what_no_longer_goes_through_this_host(text: str, leftover: bool) -> None:
    assert judge_of(ALL).is_leftover(connection(text)) is leftover


class TestClosing:
    @pytest.fixture
    def closing(self) -> Closing:
        made = Closing()
        rules = (
            "Allow source=in:friends destination=named:http\nDeny source=in:foes\nPass source=in:both\nLog source=in:l"
        )
        excepted = policy("excepted", ingress="Allow source!=in:not-friends\nDeny source!=in:not-foes")
        staged = policy("staged", ingress="Deny source=in:other", staged=True)
        names = ("friends", "http", "foes", "both", "l", "not-friends", "not-foes", "other")
        policies = {each.key: each for each in (policy("p", ingress=rules), excepted, staged)}
        made.take(PolicyChanges(policies=policies, new_sets=tuple(AddressSet(id=name) for name in names)))
        return made

    @pytest.mark.parametrize(
        ("name", "growing", "shrinking"),
        [
            ("friends", False, True),
            ("http", False, True),
            ("foes", True, False),
            ("both", True, True),
            ("l", False, False),
            ("not-friends", True, False),
            ("not-foes", False, True),
            ("other", False, False),
        ],
    )
    def test_a_set_closes_by_the_rules_that_name_it(
        self, closing: Closing, name: str, growing: bool, shrinking: bool
    ) -> None:
        member = frozenset({ip_address("10.0.0.1")})
        assert closing.take(PolicyChanges(changed_sets={name: SetDelta(added=member)})) is growing
        assert closing.take(PolicyChanges(changed_sets={name: SetDelta(removed=member)})) is shrinking

    @pytest.mark.parametrize(
        ("changes", "closes"),
        [
            (PolicyChanges(workloads={WEB.key: WEB}), True),
            (PolicyChanges(settings=PolicySettings()), True),
            (PolicyChanges(policies={key("p"): policy("p", ingress="Allow")}), True),
            (PolicyChanges(policies={key("new"): policy("new", ingress="Deny")}), False),
            (PolicyChanges(policies={key("p"): None}), False),  # whoever was under it changed too
            (PolicyChanges(policies={key("staged"): policy("staged", ingress="Deny", staged=True)}), False),
            (PolicyChanges(policies={key("staged"): policy("staged", ingress="Deny")}), True),
            (PolicyChanges(new_sets=(AddressSet(id="new"),)), False),
            (PolicyChanges(new_sets=(AddressSet(id="friends"),)), True),
            (PolicyChanges(gone_sets=frozenset({"friends"})), False),
            (PolicyChanges(hosts=frozenset(), pools=()), False),
        ],
    )
    def test_a_change(self, closing: Closing, changes: PolicyChanges, closes: bool) -> None:
        assert closing.take(changes) is closes


@pytest.mark.parametrize(
    ("after", "left"),
    [
        (None, {"10.65.0.3", "203.0.113.7"}),
        (OUT, set()),
        (msgspec.structs.replace(OUT, policy=BothWays()), set()),
        (msgspec.structs.replace(OUT, floating=()), {"203.0.113.7"}),
        (msgspec.structs.replace(OUT, addresses=(ip_address("10.65.0.9"),)), {"10.65.0.3"}),
        (msgspec.structs.replace(OUT, interface="tapother"), {"10.65.0.3", "203.0.113.7"}),
    ],
)
def test_addresses_leave_with_their_workload_or_its_interface(after: object, left: set[str]) -> None:
    departures = Departures()
    assert departures.take(PolicyChanges(workloads={OUT.key: OUT})) == set()
    changes = PolicyChanges(workloads={OUT.key: after})  # type: ignore[dict-item]  # a workload or None
    assert departures.take(changes) == {ip_address(each).packed for each in left}
