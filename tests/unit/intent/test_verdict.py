"""A packet's whole way through a host: each place that may stop it, and who is asked in which order."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

import msgspec
import pytest

from tests.unit.intent.policy_text import MAC, chain, fib, key, packet, policy, profile, said, workload
from tortie.intent.packet import Flow
from tortie.intent.policy import (
    BothWays,
    FailsafePort,
    FloatingAddress,
    HostEndpointPolicy,
    NatPool,
    PolicySettings,
)
from tortie.intent.state import PolicyState
from tortie.intent.verdict import Destination, Translation, verdict
from tortie.model.resource import ResourceKey

WEB = workload("web", "10.65.0.1,fd00:65::1", ingress="default=web", egress="| open", mac=MAC)
DB = workload("db", "10.65.0.2,fd00:65::2", ingress="default=db", egress="default=quiet")
OUT = workload("out", "10.65.0.3", floating=(FloatingAddress(ip_address("203.0.113.7"), ip_address("10.65.0.3")),))
OPEN = workload("open", "10.65.0.4", ingress="| open", egress="| open", allowed_sources=(ip_network("192.0.2.0/24"),))
MOVED = msgspec.structs.replace(
    OUT, policy=BothWays(ingress=chain("default=web"), egress=chain("| open"))
)  # with its outside address

POLICIES = [
    policy("web", ingress="Allow tcp destination=80\nAllow icmp icmp=8\nAllow icmpv6 icmp=128"),
    policy("db", ingress="Deny source=10.65.0.9/32\nAllow tcp source=10.65.0.0/24 destination=5432\nAllow udp"),
    policy("quiet", egress="Allow udp"),
    policy("host", ingress="Allow tcp destination=443", egress="Allow tcp destination=443"),
    policy("through", ingress="Deny udp\nAllow", egress="Deny tcp destination=81\nAllow"),
    policy("before", ingress="Deny source=198.51.100.66/32\nAllow tcp destination=8443"),
    policy(
        "raw",
        ingress="Deny source=198.51.100.99/32\nAllow udp destination=53\nAllow tcp destination=5432",
        egress="Allow udp source=53",
    ),
    profile("open", ingress="Allow", egress="Allow"),
]
ETH0 = HostEndpointPolicy(
    key=ResourceKey("HostEndpoint", "", "eth0"),
    interface="eth0",
    normal=BothWays(ingress=chain("default=host"), egress=chain("default=host")),
    forward=BothWays(ingress=chain("default=through"), egress=chain("default=through")),
    untracked=BothWays(ingress=chain("default:pass=raw"), egress=chain("default:pass=raw")),
    pre_dnat=chain("default:pass=before"),
)
SETTINGS = PolicySettings(
    failsafe_inbound=(FailsafePort(6, 22), FailsafePort(6, 179, ip_network("172.18.203.0/24"))),
    failsafe_outbound=(FailsafePort(6, 2379),),
)
STATE = PolicyState(
    workloads={each.key: each for each in (WEB, DB, MOVED, OPEN)},
    policies={each.key: each for each in POLICIES},
    settings=SETTINGS,
    pools=(NatPool(ip_network("10.65.0.0/16"), outgoing=True), NatPool(ip_network("10.70.0.0/16"), outgoing=False)),
)
GUARDED = msgspec.structs.replace(STATE, host_endpoints={ETH0.key: ETH0})
FIB = fib(WEB, DB, MOVED, OPEN)


def judged(state: PolicyState, text: str, flow: str = "new") -> str:
    return said(verdict(state, packet(text), Flow(flow), FIB))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Who one is.
        ("caliweb 10.65.0.1:9 > 10.65.0.4:9 tcp", "accept policy"),
        ("caliweb 10.65.0.1:9 > 10.65.0.4:9 tcp syn mac=02:00:00:00:00:99", "drop spoofed-mac"),
        ("caliweb 10.65.0.2:9 > 10.65.0.4:9 tcp", "drop spoofed-address"),
        ("caliweb [fd00:65::9]:9 > [fd00::125]:9 tcp", "drop spoofed-address"),
        ("caliopen 10.65.0.4:9 > 10.65.0.1:80 tcp syn mac=02:00:00:00:00:99", "accept policy"),  # no MAC is known
        ("caliopen 192.0.2.77:9 > 10.65.0.1:80 tcp", "accept policy"),  # an allowed source
        ("caliopen 192.0.3.77:9 > 10.65.0.1:80 tcp", "drop spoofed-address"),
        ("caliunknown 10.65.0.8:9 > 10.65.0.1:80 tcp", "drop unknown-interface"),
        ("tapunknown 0.0.0.0:68 > 255.255.255.255:67 udp", "drop unknown-interface"),
        ("caliweb 0.0.0.0:68 > 172.18.203.125:67 udp", "accept dhcp-client"),
        ("caliweb 0.0.0.0:69 > 172.18.203.125:67 udp", "drop spoofed-address"),
        ("caliweb 10.65.0.1:68 > 172.18.203.125:67 udp", "accept dhcp-client"),
        ("caliweb [fe80::1]:546 > [fd00::125]:547 udp", "accept dhcp-client"),
        ("caliweb fe80::1 > fd00::125 icmpv6 135/0", "accept neighbour-discovery"),
        ("caliweb :: > fd00::125 icmpv6 135/0", "accept neighbour-discovery"),
        ("caliweb :: > fd00::125 icmpv6 128/0", "drop spoofed-address"),
        ("caliweb [::]:9 > [fd00::125]:9 udp", "drop spoofed-address"),
        # What nobody may send.
        ("caliweb fe80::1 > fd00::125 icmpv6 134/0", "drop router-advertisement"),
        ("caliopen fd00:65::1 > fd00::125 icmpv6 137/0", "drop spoofed-address"),
        ("caliweb fd00:65::1 > fd00::125 icmpv6 137/0", "drop redirect"),
        ("caliopen 10.65.0.4 > 10.65.0.1 icmp 5/1", "drop redirect"),
        ("caliopen 10.65.0.4:67 > 10.65.0.1:68 udp", "drop dhcp-server"),
        ("caliweb [fd00:65::1]:547 > [fd00:65::2]:546 udp", "drop dhcp-server"),
        ("caliopen 10.65.0.4 > 10.65.0.1 ipip", "drop tunnel"),
        ("caliopen 10.65.0.4:9 > 10.65.0.1:4789 udp", "drop tunnel"),
        ("caliopen 10.65.0.4 > 10.65.0.1 gre", "drop tier-default default"),  # a protocol like any other
    ],
)
def test_what_a_workload_sends(text: str, expected: str) -> None:
    assert judged(STATE, text) == expected


@pytest.mark.parametrize(
    ("text", "flow", "expected"),
    [
        ("caliopen 10.65.0.4:9 > 10.65.0.1:80 tcp", "new", "accept policy"),
        ("caliopen 10.65.0.4:9 > 10.65.0.1:81 tcp", "new", "drop tier-default default"),
        ("caliopen 10.65.0.4:9 > 10.65.0.2:5432 tcp", "new", "accept policy"),
        ("caliweb 10.65.0.1:9 > 10.65.0.2:1 udp", "new", "accept policy"),
        # The sender's own policy closes, though the receiver would allow it; and the other way round.
        ("calidb 10.65.0.2:9 > 10.65.0.1:80 tcp", "new", "drop tier-default default"),
        ("calidb 10.65.0.2:9 > 10.65.0.1:80 udp", "new", "drop tier-default default"),
        # From and to other hosts.
        ("eth0 10.65.0.9:9 > 10.65.0.2:5432 tcp", "new", "drop policy db ingress 0"),
        ("eth0 10.65.0.8:9 > 10.65.0.2:5432 tcp", "new", "accept policy"),
        ("caliopen 10.65.0.4:9 > 10.66.0.1:1 tcp", "new", "accept policy"),
        ("eth0 10.1.0.1:9 > 10.65.7.7:1 tcp", "new", "accept not-ours"),
        # Flows.
        ("eth0 10.65.0.9:9 > 10.65.0.2:5432 tcp ack", "established", "accept established"),
        ("eth0 10.1.0.1 > 10.65.0.2 icmp 3/4", "related", "accept established"),
        ("eth0 10.65.0.8:9 > 10.65.0.2:5432 tcp ack", "invalid", "drop invalid"),
        ("eth0 10.65.0.8:9 > 10.65.0.2:5432 tcp ack", "new", "drop mid-stream"),
        ("eth0 10.65.0.8:9 > 10.65.0.2:5432 tcp synack", "new", "drop mid-stream"),
        ("eth0 10.65.0.8:9 > 10.65.0.2:5432 tcp ecn", "new", "accept policy"),
        ("eth0 10.65.0.8:9 > 10.65.0.2:5432 tcp ack", "untracked", "accept policy"),
        ("eth0 10.65.0.9:9 > 10.65.0.2:5432 tcp ack", "untracked", "drop policy db ingress 0"),
        ("eth0 10.1.0.1:9 > 10.65.7.7:1 tcp ack", "new", "accept not-ours"),
        ("eth0 10.1.0.1:9 > 10.65.7.7:1 tcp ack", "invalid", "accept not-ours"),
        # A reply is not excused from being who one is.
        ("caliweb 10.65.0.7:80 > 10.65.0.4:9 tcp ack", "established", "drop spoofed-address"),
        # To the host: the workload's own policy, and then the setting.
        ("caliweb 10.65.0.1:9 > 172.18.203.125:22 tcp", "new", "drop endpoint-to-host"),
        ("calidb 10.65.0.2:9 > 172.18.203.125:22 tcp", "new", "drop tier-default default"),
        ("caliweb 10.65.0.1:80 > 172.18.203.125:9 tcp ack", "established", "accept established"),
        ("caliweb 10.65.0.1:80 > 172.18.203.125:9 tcp ack", "new", "drop mid-stream"),
        ("calidb fd00:65::2 > fd00::125 icmpv6 136/0", "new", "accept neighbour-discovery"),
        # From the host.
        ("- 172.18.203.125:9 > 10.65.0.2:1 tcp", "new", "accept from-host"),
        ("- 172.18.203.125:9 > 198.51.100.1:1 tcp", "new", "accept not-ours"),
    ],
)
def test_between_workloads_and_the_world(text: str, flow: str, expected: str) -> None:
    assert judged(STATE, text, flow) == expected


@pytest.mark.parametrize("setting", ["Accept", "Return"])
def test_what_the_host_takes_from_workloads(setting: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, endpoint_to_host=setting)
    state = msgspec.structs.replace(STATE, settings=settings)
    assert judged(state, "caliweb 10.65.0.1:9 > 172.18.203.125:22 tcp") == "accept policy open egress 0"
    assert judged(state, "calidb 10.65.0.2:9 > 172.18.203.125:22 tcp") == "drop tier-default default"


def test_a_denial_of_policy_may_be_told_and_a_disguise_never() -> None:
    state = msgspec.structs.replace(STATE, settings=msgspec.structs.replace(SETTINGS, deny="Reject"))
    assert judged(state, "eth0 10.65.0.9:9 > 10.65.0.2:5432 tcp") == "reject policy db ingress 0"
    assert judged(state, "eth0 10.65.0.9:9 > 10.65.0.1:1 tcp") == "reject tier-default default"
    assert judged(state, "caliweb 10.65.0.2:9 > 10.65.0.4:9 tcp") == "drop spoofed-address"


def test_while_flows_may_be_older_than_tracking_policy_judges_them() -> None:
    state = msgspec.structs.replace(STATE, settings=msgspec.structs.replace(SETTINGS, lenient=True))
    assert judged(state, "eth0 10.65.0.8:9 > 10.65.0.2:5432 tcp ack") == "accept policy"
    assert judged(state, "eth0 10.65.0.9:9 > 10.65.0.2:5432 tcp ack") == "drop policy db ingress 0"


@pytest.mark.parametrize(
    ("text", "flow", "expected"),
    [
        # To the host and from it.
        ("eth0 198.51.100.1:9 > 172.18.203.125:443 tcp", "new", "accept policy host ingress 0"),
        ("eth0 198.51.100.1:9 > 172.18.203.125:80 tcp", "new", "drop tier-default default"),
        ("eth0 198.51.100.1:9 > 172.18.203.125:80 tcp ack", "established", "accept established"),
        ("eth0 198.51.100.1:9 > 172.18.203.125:443 tcp", "invalid", "drop invalid"),
        ("- 172.18.203.125:9 > 198.51.100.1:443 tcp", "new", "accept policy host egress 0"),
        ("- 172.18.203.125:9 > 198.51.100.1:80 tcp", "new", "drop tier-default default"),
        ("- 172.18.203.125:9 > 10.65.0.2:80 tcp", "new", "accept from-host"),
        # Failsafe ports, with and without a network.
        ("eth0 198.51.100.1:9 > 172.18.203.125:22 tcp", "new", "accept failsafe"),
        ("eth0 172.18.203.126:9 > 172.18.203.125:179 tcp", "new", "accept failsafe"),
        ("eth0 198.51.100.1:9 > 172.18.203.125:179 tcp", "new", "drop tier-default default"),
        ("- 172.18.203.125:9 > 198.51.100.1:2379 tcp", "new", "accept failsafe"),
        ("- 172.18.203.125:9 > 198.51.100.1:22 tcp", "new", "drop tier-default default"),
        # Through the host: the host endpoint's word besides the workload's; failsafe ports mean the host alone.
        ("eth0 10.65.0.8:9 > 10.65.0.2:5432 tcp", "new", "accept policy"),
        ("eth0 10.65.0.8:9 > 10.65.0.2:5 udp", "new", "drop policy through ingress 0"),
        ("eth0 10.65.0.8:9 > 10.65.0.1:22 tcp", "new", "drop tier-default default"),
        ("caliopen 10.65.0.4:9 > 198.51.100.1:81 tcp", "new", "drop policy through egress 0"),
        ("caliopen 10.65.0.4:9 > 198.51.100.1:82 tcp", "new", "accept policy"),
        ("caliopen 10.65.0.4:9 > 10.65.0.1:80 tcp", "new", "accept policy"),  # not by eth0
        ("eth0 10.1.0.1:9 > 10.65.7.7:1 udp", "new", "drop policy through ingress 0"),
        ("eth0 10.1.0.1:9 > 10.65.7.7:1 tcp ack", "new", "accept policy"),  # no workload's conversation
        # Before translation: a denial holds for workloads too; an admission only excuses from the host endpoint.
        ("eth0 198.51.100.66:9 > 10.65.0.1:80 tcp", "new", "drop policy before ingress 0"),
        ("eth0 198.51.100.66:9 > 172.18.203.125:22 tcp", "new", "accept failsafe"),
        ("eth0 198.51.100.66:9 > 10.65.0.1:80 tcp ack", "established", "accept established"),
        ("eth0 198.51.100.1:9 > 172.18.203.125:8443 tcp", "new", "accept policy"),
        ("eth0 198.51.100.1:9 > 10.65.0.1:8443 tcp", "new", "drop tier-default default"),
        # Untracked.
        ("eth0 198.51.100.99:9 > 172.18.203.125:443 tcp", "new", "drop policy raw ingress 0"),
        ("eth0 198.51.100.99:9 > 172.18.203.125:22 tcp", "new", "accept failsafe"),
        ("eth0 198.51.100.1:9 > 172.18.203.125:53 udp", "untracked", "accept policy"),
        ("eth0 198.51.100.1:9 > 10.65.0.1:53 udp", "untracked", "drop tier-default default"),
        ("- 172.18.203.125:53 > 198.51.100.1:9 udp", "untracked", "accept policy"),
        # A policy that spares a packet tracking does so before tracking could say what it is.
        ("eth0 10.65.0.8:9 > 10.65.0.2:5432 tcp ack", "new", "accept policy"),
        ("eth0 10.65.0.8:9 > 10.65.0.2:5432 tcp ack", "invalid", "accept policy"),
        ("eth0 10.65.0.9:9 > 10.65.0.2:5432 tcp ack", "established", "drop policy db ingress 0"),
        # The answer to our own conversation on a failsafe port: tracked, since the other half is.
        ("eth0 198.51.100.99:2379 > 172.18.203.125:9 tcp ack", "established", "accept established"),
    ],
)
def test_a_host_endpoint(text: str, flow: str, expected: str) -> None:
    assert judged(GUARDED, text, flow) == expected


def host_endpoint(name: str, interface: str = "", address: str = "", **chains: BothWays) -> HostEndpointPolicy:
    return HostEndpointPolicy(
        key=ResourceKey("HostEndpoint", "", name),
        interface=interface,
        addresses=(IPv4Address(address),) if address else (),
        **chains,  # type: ignore[arg-type]  # all that tests give are BothWays
    )


@pytest.mark.parametrize(
    ("endpoints", "interface", "expected"),
    [
        ([host_endpoint("a", "eth0")], "eth0", "a"),
        ([host_endpoint("b", "eth0"), host_endpoint("a", "eth0")], "eth0", "a"),
        ([host_endpoint("a", "*"), host_endpoint("b", "eth0")], "eth0", "b"),
        ([host_endpoint("a", address="172.18.203.125"), host_endpoint("b", "eth0")], "eth0", "b"),
        ([host_endpoint("b", address="172.18.203.125"), host_endpoint("a", "*")], "eth0", "b"),
        ([host_endpoint("a", "eth1", "172.18.203.125")], "eth0", ""),  # one with a name is not found by address
        ([host_endpoint("a", "*")], "eth7", "a"),
        ([host_endpoint("a", "*")], "caliweb", ""),
        ([host_endpoint("a", "*")], "lo", ""),
        ([], "eth0", ""),
    ],
)
def test_which_host_endpoint_an_interface_has(
    endpoints: list[HostEndpointPolicy], interface: str, expected: str
) -> None:
    state = msgspec.structs.replace(STATE, host_endpoints={each.key: each for each in endpoints})
    found = state.host_endpoint(interface, FIB)
    assert (found.key.name if found else "") == expected


def test_the_rest_of_the_host_has_no_untracked_policies() -> None:
    rest = host_endpoint("rest", "*", untracked=BothWays(ingress=chain("default=raw")))
    state = msgspec.structs.replace(STATE, host_endpoints={rest.key: rest})
    assert judged(state, "eth0 198.51.100.99:9 > 10.65.0.1:80 tcp") == "accept policy"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # By the outside address, from the world and from a neighbour; and to oneself.
        ("eth0 198.51.100.1:9 > 203.0.113.7:80 tcp", ("198.51.100.1", "10.65.0.3")),
        ("caliopen 10.65.0.4:9 > 203.0.113.7:80 tcp", ("10.65.0.4", "10.65.0.3")),
        ("caliout 10.65.0.3:9 > 203.0.113.7:80 tcp", ("203.0.113.7", "10.65.0.3")),
        # Out of the pools: by the address of the interface that it leaves by.
        ("caliopen 10.65.0.4:9 > 198.51.100.1:80 tcp", ("172.18.203.125", "198.51.100.1")),
        # Within pools, whether or not they are translated themselves; and what is of no pool.
        ("caliopen 10.65.0.4:9 > 10.65.9.9:80 tcp", None),
        ("caliopen 10.65.0.4:9 > 10.70.0.1:80 tcp", None),
        ("caliopen 192.0.2.1:9 > 198.51.100.1:80 tcp", None),
        ("eth0 198.51.100.1:9 > 10.65.0.1:80 tcp", None),
        # The host's own packets like any: by where they come from.
        ("- 10.65.0.77:9 > 198.51.100.1:80 tcp", ("172.18.203.125", "198.51.100.1")),
        ("- 10.65.0.77:9 > 10.70.0.1:80 tcp", None),
        ("- 172.18.203.125:9 > 198.51.100.1:80 tcp", None),
    ],
)
def test_translation(text: str, expected: tuple[str, str] | None) -> None:
    found = verdict(STATE, packet(text), Flow.NEW, FIB)
    assert found.action == "accept"
    assert found.translated == (Translation(*map(ip_address, expected)) if expected else None)


def test_what_the_host_may_not_send_or_answers_is_not_translated() -> None:
    closed = host_endpoint("closed", "eth0")
    state = msgspec.structs.replace(STATE, host_endpoints={closed.key: closed})
    sent = packet("- 10.65.0.77:9 > 198.51.100.1:80 tcp")
    assert [verdict(state, sent, flow, FIB).translated for flow in (Flow.NEW, Flow.ESTABLISHED)] == [None, None]


def test_a_chosen_source_and_hosts_that_are_spared() -> None:
    settings = msgspec.structs.replace(SETTINGS, nat_address=IPv4Address("192.0.2.53"), nat_excludes_hosts=True)
    state = msgspec.structs.replace(STATE, settings=settings, hosts=frozenset({ip_address("172.18.203.126")}))
    out = verdict(state, packet("caliopen 10.65.0.4:9 > 198.51.100.1:80 tcp"), Flow.NEW, FIB)
    assert out.translated == Translation(ip_address("192.0.2.53"), ip_address("198.51.100.1"))
    host = verdict(state, packet("caliopen 10.65.0.4:9 > 172.18.203.126:80 tcp"), Flow.NEW, FIB)
    assert (host.action, host.translated) == ("accept", None)


def test_no_packet_passes_an_interface_whose_endpoint_is_gone() -> None:
    gone = msgspec.structs.replace(STATE, workloads={DB.key: DB})
    for flow in Flow:
        assert judged(gone, "eth0 10.65.0.8:9 > 10.65.0.1:80 tcp", flow) == "drop unknown-interface"
        assert judged(gone, "caliweb 10.65.0.1:80 > 10.65.0.8:9 tcp", flow) == "drop unknown-interface"
        assert judged(gone, "- 172.18.203.125:9 > 10.65.0.1:80 tcp", flow) == "drop unknown-interface"


def test_an_interface_that_only_begins_like_a_workloads_is_left_alone() -> None:
    state = msgspec.structs.replace(STATE, exempt_interfaces=frozenset({"tapvpn"}))
    assert judged(state, "tapvpn 10.99.0.1:9 > 10.1.0.1:80 tcp") == "accept not-ours"


def test_the_hosts_own_interface_is_left_alone_also_if_an_endpoint_names_it() -> None:
    state = msgspec.structs.replace(STATE, exempt_interfaces=frozenset({"caliopen"}))
    assert judged(state, "caliopen 10.99.0.1:9 > 10.1.0.1:80 tcp") == "accept not-ours"


def test_the_trace_names_every_rule_on_the_way() -> None:
    found = verdict(STATE, packet("caliopen 10.65.0.4:9 > 10.65.0.2:5432 tcp"), Flow.NEW, FIB)
    assert [(step.place, step.tier, step.rule and step.rule.number, step.action) for step in found.trace] == [
        ("egress of WorkloadEndpoint(default/open)", "", 0, "Allow"),
        ("ingress of WorkloadEndpoint(default/db)", "default", 1, "Allow"),
    ]
    denied = verdict(STATE, packet("caliopen 10.65.0.4:9 > 10.65.0.1:9 tcp"), Flow.NEW, FIB)
    assert denied.endpoint == WEB.key
    assert str(found.trace[1].rule) == f"{key('db')} ingress rule 1"


@pytest.mark.parametrize(
    ("text", "became", "expected"),
    [
        # Before the translation the packet is judged as it was sent, behind it as what it became.
        ("eth0 198.51.100.1:9 > 172.18.203.125:8443 tcp", ("10.65.0.1", 80), "accept policy"),
        ("eth0 198.51.100.1:9 > 172.18.203.125:443 tcp", ("10.65.0.1", 81), "drop tier-default default"),
        ("eth0 198.51.100.66:9 > 172.18.203.125:8080 tcp", ("10.65.0.1", 80), "drop policy before ingress 0"),
    ],
)
def test_what_others_translate(text: str, became: tuple[str, int], expected: str) -> None:
    to = Destination(ip_address(became[0]), became[1])
    assert said(verdict(GUARDED, packet(text), Flow.NEW, FIB, to)) == expected
