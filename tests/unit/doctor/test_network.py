"""Which interfaces are workloads' and which lead outwards."""

from __future__ import annotations

import socket

from tests.unit.doctor.build import gateway_address, link, route
from tortie.doctor.network import sorted_out

LO, ETH0, CALI1, TAP0, VPN = link(1, "lo", flags=9), link(2, "eth0"), link(3, "cali1"), link(4, "tap0"), link(5, "tap9")


def test_a_workload_is_known_by_its_route_or_by_the_gateway_on_it_and_never_by_its_name() -> None:
    found = sorted_out(
        [LO, ETH0, CALI1, TAP0, VPN],
        [gateway_address(4)],
        [route("0.0.0.0/0", 2, via="10.0.0.1"), route("10.65.0.21/32", 3), route("fd00::21/128", 3)],
    )
    assert [each.name for each in found.workloads] == ["cali1", "tap0"]
    assert [each.name for each in found.uplinks] == ["eth0"]
    assert found.routed == {3: (bytes((10, 65, 0, 21)), bytes.fromhex("fd00" + 26 * "0" + "21"))}
    assert found.serves_ipv6
    assert found.has_default == {socket.AF_INET}


def test_an_uplink_is_also_where_bgp_leads() -> None:
    found = sorted_out([LO, ETH0], [], [route("10.65.1.0/26", 2, protocol=12, via="10.0.0.2")])
    assert [each.name for each in found.uplinks] == ["eth0"]
    assert found.routes == {12: 1}


def test_a_default_route_that_a_router_advertised() -> None:
    found = sorted_out([ETH0], [], [route("::/0", 2, protocol=9, via="fe80::1")])
    assert found.advertised == {2}
    assert not found.serves_ipv6
