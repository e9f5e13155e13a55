"""Settings of the kernel, and what each means for a host with one uplink and one workload."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tests.unit.doctor.build import link, route
from tortie.doctor import sysctls
from tortie.doctor.finding import Finding
from tortie.doctor.network import Network, sorted_out
from tortie.kernel.netlink.address import FLAG_PERMANENT, Address

DEFAULT = route("0.0.0.0/0", 2, via="10.0.0.1")
ONE = sorted_out([link(2, "eth0"), link(3, "cali1")], [], [DEFAULT, route("10.65.0.21/32", 3)])
SIX = sorted_out([link(2, "eth0"), link(3, "cali1")], [], [DEFAULT, route("fd00::21/128", 3)])
EMPTY = sorted_out([link(2, "eth0")], [], [DEFAULT])
TWO = sorted_out(
    [link(2, "eth0"), link(4, "eth1")], [], [DEFAULT, route("10.65.1.0/26", 4, protocol=12, via="10.1.0.1")]
)

RIGHT = {
    "ipv4/ip_forward": 1,
    "ipv6/conf/all/forwarding": 1,
    **{f"{family}/conf/{name}/forwarding": 1 for family in ("ipv4", "ipv6") for name in ("eth0", "cali1")},
    **{f"ipv4/conf/{name}/{key}": 0 for name in ("all", "eth0", "cali1") for key in ("rp_filter", "proxy_arp")},
    **{f"ipv4/conf/{name}/send_redirects": 0 for name in ("all", "cali1")},
    "ipv4/conf/eth0/send_redirects": 1,  # of no harm to workloads
    "ipv6/conf/eth0/accept_ra": 1,
    "bridge/bridge-nf-call-iptables": 1,  # there is no bridge
}


def judge(changed: dict[str, int], network: Network = ONE) -> list[tuple[str, str]]:
    """Severity and place of each finding."""
    values = {**RIGHT, **changed}
    found: list[Finding] = []
    for ask in (
        sysctls.forwarding,
        sysctls.reverse_path,
        sysctls.redirects,
        sysctls.router_advertisements,
        sysctls.proxy_arp,
        sysctls.bridged,
    ):
        found += ask(values, network)
    return [(str(each.severity), each.where) for each in found]


def test_all_is_right() -> None:
    assert judge({}) == []


@pytest.mark.parametrize(
    ("changed", "network", "expected"),
    [
        ({"ipv4/ip_forward": 0}, ONE, ("error", "net.ipv4.ip_forward = 0")),
        ({"ipv6/conf/all/forwarding": 0}, ONE, ("warning", "net.ipv6.conf.all.forwarding = 0")),
        ({"ipv6/conf/all/forwarding": 0}, SIX, ("error", "net.ipv6.conf.all.forwarding = 0")),
        ({"ipv4/conf/eth0/forwarding": 0}, ONE, ("error", "net.ipv4.conf.eth0.forwarding = 0")),
        ({"ipv4/conf/all/rp_filter": 1}, ONE, ("warning", "net.ipv4.conf.all.rp_filter = 1")),
        ({"ipv4/conf/all/rp_filter": 1}, EMPTY, ("warning", "net.ipv4.conf.all.rp_filter = 1")),
        ({"ipv4/conf/all/rp_filter": 2}, ONE, ("note", "net.ipv4.conf.all.rp_filter = 2")),
        ({"ipv4/conf/cali1/rp_filter": 1}, ONE, ("warning", "net.ipv4.conf.cali1.rp_filter = 1")),
        ({"ipv4/conf/eth1/rp_filter": 1}, TWO, ("warning", "net.ipv4.conf.eth1.rp_filter")),
        ({"ipv4/conf/all/send_redirects": 1}, ONE, ("warning", "net.ipv4.conf.all.send_redirects = 1")),
        ({"ipv4/conf/cali1/send_redirects": 1}, ONE, ("warning", "net.ipv4.conf.cali1.send_redirects = 1")),
        ({"ipv4/conf/eth0/proxy_arp": 1}, ONE, ("warning", "net.ipv4.conf.eth0.proxy_arp = 1")),
    ],
)
def test_each_setting(changed: dict[str, int], network: Network, expected: tuple[str, str]) -> None:
    assert judge(changed, network) == [expected]


def test_the_maximum_counts_for_reverse_path_filtering() -> None:
    # Loose on the interface is stricter than nothing, and makes strict of `all` loose.
    assert judge({"ipv4/conf/all/rp_filter": 1, "ipv4/conf/cali1/rp_filter": 2}) == [
        ("note", "net.ipv4.conf.cali1.rp_filter = 2")
    ]


def test_one_uplink_may_be_strict() -> None:
    assert judge({"ipv4/conf/eth0/rp_filter": 1}) == []


@pytest.mark.parametrize(("accepts", "wrong"), [(0, False), (1, True), (2, False)])
def test_a_default_route_by_router_advertisement(accepts: int, wrong: bool) -> None:
    network = sorted_out([link(2, "eth0")], [], [route("::/0", 2, protocol=9, via="fe80::1")])
    found = judge({"ipv6/conf/eth0/accept_ra": accepts}, network)
    assert found == ([("error", "net.ipv6.conf.eth0.accept_ra = 1")] if wrong else [])


def test_an_uplink_that_does_not_forward_takes_router_advertisements() -> None:
    network = sorted_out([link(2, "eth0")], [], [route("::/0", 2, protocol=9, via="fe80::1")])
    assert judge({"ipv6/conf/eth0/forwarding": 0}, network) == []


@pytest.mark.parametrize(("flags", "wrong"), [(0, True), (FLAG_PERMANENT, False)])
def test_a_default_route_that_forwarding_took_away(flags: int, wrong: bool) -> None:
    learnt = Address(2, ip_address("2001:db8::5").packed, 64, flags=flags)
    found = judge({}, sorted_out([link(2, "eth0")], [learnt], [DEFAULT]))
    assert found == ([("warning", "net.ipv6.conf.eth0.accept_ra = 1")] if wrong else [])


def test_bridges_whose_frames_are_filtered() -> None:
    network = sorted_out([link(2, "eth0"), link(7, "br0", kind="bridge")], [], [DEFAULT])
    (found,) = judge({}, network)
    assert found == ("note", "net.bridge.bridge-nf-call-iptables = 1 (module br_netfilter), bridges br0")
