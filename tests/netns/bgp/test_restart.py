"""BIRD ends and comes back, and nobody loses a route."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.netns.bgp.hosts import Fabric, Host, RouteMonitor, until
from tests.unit.calc.cluster import bgp_configuration, bgp_peer, node
from tortie.bgp import Control

A4, B4 = "172.18.203.125", "172.18.203.126"
# What they hold through every restart here.
AT_A, AT_B = {"10.65.0.22": B4}, {"10.65.0.21": A4}


@contextmanager
def no_route_deleted(*hosts: Host) -> Iterator[None]:
    monitors = [RouteMonitor(host) for host in hosts]
    try:
        yield
        deleted = [event for monitor in monitors for event in monitor.stop() if event.startswith("Deleted")]
    finally:
        for monitor in monitors:
            monitor.close()
    assert deleted == []


async def workloads_known(a: Host, b: Host) -> None:
    """A workload on either host, known to the other."""
    a.add_workload("10.65.0.21")
    b.add_workload("10.65.0.22")
    await until(lambda: (a.next_hops(), b.next_hops()) == (AT_A, AT_B))


async def exchanging_again(a: Host, b: Host) -> None:
    """New routes pass in both directions, which they do only when the restart is over; the old ones are as ever."""
    a.add_workload("10.65.0.31")
    b.add_workload("10.65.0.32")
    await until(lambda: "10.65.0.32" in a.next_hops() and "10.65.0.31" in b.next_hops())
    assert a.next_hops() == AT_A | {"10.65.0.32": B4}
    assert b.next_hops() == AT_B | {"10.65.0.31": A4}


async def mesh(fabric: Fabric) -> tuple[Host, Host]:
    a, b = fabric.host("a", f"{A4}/24"), fabric.host("b", f"{B4}/24")
    await fabric.start()
    await a.sessions_up(1)
    await workloads_known(a, b)
    return a, b


async def test_killed(fabric: Fabric) -> None:
    a, b = await mesh(fabric)
    with no_route_deleted(a, b):
        a.end_bird()
        assert (a.next_hops(), b.next_hops()) == (AT_A, AT_B)
        a.start_bird()
        await exchanging_again(a, b)


async def test_killed_twice_in_a_row(fabric: Fabric) -> None:
    a, b = await mesh(fabric)
    with no_route_deleted(a, b):
        a.end_bird()
        a.start_bird()
        await until(lambda: a.socket.exists())
        a.end_bird()
        a.start_bird()
        await exchanging_again(a, b)


async def test_stopped_as_its_service_stops_it(fabric: Fabric) -> None:
    a, b = await mesh(fabric)
    with no_route_deleted(a, b):
        await Control(a.socket).graceful_restart()
        await until(a.bird_has_ended)
        assert (a.next_hops(), b.next_hops()) == (AT_A, AT_B)
        a.start_bird()
        await exchanging_again(a, b)


async def test_reflector_killed(fabric: Fabric) -> None:
    a, b = fabric.host("a", f"{A4}/24"), fabric.host("b", f"{B4}/24")
    reflector = fabric.host("r", "172.18.203.200/24", labels={"reflector": "yes"}, routeReflectorClusterID="244.0.0.1")
    peering = bgp_peer("reflectors", nodeSelector="!has(reflector)", peerSelector="has(reflector)")
    await fabric.start(bgp_configuration(nodeToNodeMeshEnabled=False), peering)
    await reflector.sessions_up(2)
    await workloads_known(a, b)
    with no_route_deleted(a, b):
        reflector.end_bird()
        reflector.start_bird()
        await exchanging_again(a, b)


async def test_a_dead_peer_holds_up_the_others_for_a_while_only(fabric: Fabric) -> None:
    """BIRD's own patience is 240 s, longer than the peers keep our routes."""
    a, b = fabric.host("a", f"{A4}/24"), fabric.host("b", f"{B4}/24")
    await fabric.start(node("dead", "172.18.203.99/24"), recover=False)
    await workloads_known(a, b)
    with no_route_deleted(a, b):
        a.end_bird()
        a.start_bird()
        await exchanging_again(a, b)


async def test_without_recovery_routes_are_lost(fabric: Fabric) -> None:
    """What -R is for; and the proof that the tests above would see a loss."""
    a, b = await mesh(fabric)
    monitor = RouteMonitor(b)
    a.end_bird()
    a.start_bird(recover=False)
    await exchanging_again(a, b)
    assert [event for event in monitor.stop() if event.startswith("Deleted 10.65.0.21")] != []
