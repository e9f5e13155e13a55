"""The demonstration's instruments, held against a network whose truth is known."""

from __future__ import annotations

import shutil
import time

import pytest

from tortie.lab import probe, topology
from tortie.lab.enter import Member
from tortie.lab.layout import FABRIC, Layout
from tortie.lab.topology import Topology
from tortie.lab.up import up

pytestmark = pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed")

TOPOLOGY = """
name: any
subnets:
  - {name: left, prefixes: [192.0.2.0/24, "2001:db8:1::/64"]}
  - {name: right, prefixes: [198.51.100.0/24, "2001:db8:2::/64"]}
router: {name: router, addresses: [192.0.2.1, "2001:db8:1::1", 198.51.100.1, "2001:db8:2::1"]}
machines:
  - {name: a, addresses: [192.0.2.10, "2001:db8:1::10"]}
  - {name: b, addresses: [198.51.100.10, "2001:db8:2::10"]}
"""


@pytest.fixture
async def network(lab_name: str) -> Topology:
    wanted = topology.renamed(topology.parse(TOPOLOGY, "test"), lab_name)
    await up(wanted, print, wait_s=0)
    return wanted


async def test_ping_tells_the_hops_left_and_a_loss(network: Topology) -> None:
    for address in ("198.51.100.10", "2001:db8:2::10"):
        echo = await probe.ping(Member(network, "a"), address)
        assert echo is not None
        assert echo.ttl == 63
        assert 0 < echo.ms < 1000
    assert await probe.ping(Member(network, "a"), "198.51.100.99") is None


async def test_the_wiretap_shows_macs_addresses_and_ttl_of_what_crosses_the_bridge(network: Topology) -> None:
    layout = Layout(network.name)
    with probe.Wiretap(layout, FABRIC, "br-left") as tap:
        assert await probe.ping(Member(network, "a"), "198.51.100.10")
        frames = [frame for frame in tap.frames() if frame.protocol == 1]
    a = probe.mac_address(layout, "a", "eth0")
    router = probe.mac_address(layout, "router", "to-left")
    assert frames == [
        probe.Frame(a, router, "192.0.2.10", "198.51.100.10", 64, 1, 98),
        probe.Frame(router, a, "198.51.100.10", "192.0.2.10", 63, 1, 98),
    ]


async def test_who_has_gives_the_answerer_or_nobody(network: Topology) -> None:
    layout = Layout(network.name)
    answer = probe.who_has(layout, "a", "eth0", "192.0.2.10", "192.0.2.1")
    assert answer is not None
    assert answer.mac == probe.mac_address(layout, "router", "to-left")
    assert 0 < answer.ms < 1000
    assert probe.who_has(layout, "a", "eth0", "192.0.2.10", "192.0.2.99", wait_s=0.2) is None


@pytest.mark.parametrize(("address", "via"), [("10.65.0.9", "192.0.2.10"), ("2001:db8:65::9", "2001:db8:1::10")])
async def test_route_watch_notes_when_a_route_comes_and_goes(network: Topology, address: str, via: str) -> None:
    before = time.monotonic()
    with probe.RouteWatch(Layout(network.name), ["router", "a"]) as watch:
        router = Member(network, "router")
        await router.run(["ip", "route", "add", address, "via", via])
        came = await watch.wait(address, there=True, timeout_s=0.5)
        await router.run(["ip", "route", "del", address])
        went = await watch.wait(address, there=False, timeout_s=0.5)
    assert list(came) == list(went) == ["router"]
    assert before < came["router"] < went["router"] < time.monotonic()
