"""Which routes travel between hosts, and where they lead: real BIRDs, real kernels."""

from __future__ import annotations

import signal
import time

from tests.netns.bgp.hosts import WORKLOAD, Fabric, Host, until
from tests.unit.calc.cluster import bgp_configuration, bgp_peer, pool

A4, B4, C4 = "172.18.203.125", "172.18.203.126", "172.18.203.129"
NO_MESH = bgp_configuration(nodeToNodeMeshEnabled=False)
REFLECTORS = bgp_peer("reflectors", nodeSelector="!has(reflector)", peerSelector="has(reflector)")


def three(fabric: Fabric) -> tuple[Host, Host, Host]:
    return fabric.host("a", f"{A4}/24"), fabric.host("b", f"{B4}/24"), fabric.host("c", f"{C4}/24")


async def test_mesh(fabric: Fabric) -> None:
    a, b, c = three(fabric)
    await fabric.start()
    for host in (a, b, c):
        await host.sessions_up(2)
    a.add_workload("10.65.0.21")
    await until(lambda: b.next_hops() == {"10.65.0.21": A4} and c.next_hops() == {"10.65.0.21": A4})
    assert b.bird_routes() == {"10.65.0.21": f"via {A4} dev eth0 metric 32"}
    assert "BGP.local_pref: 2147482623" in best_route(b, "10.65.0.21")  # Calico's for a workload that stays

    a.remove_workload("10.65.0.21")
    await until(lambda: b.bird_routes() == {} and c.bird_routes() == {})


async def test_reflector_is_not_in_the_path(fabric: Fabric) -> None:
    a, b, c = three(fabric)
    reflector = fabric.host("r", "172.18.203.200/24", labels={"reflector": "yes"}, routeReflectorClusterID="244.0.0.1")
    await fabric.start(NO_MESH, REFLECTORS)
    await reflector.sessions_up(3)
    b.add_workload("10.65.0.22")
    c.add_workload("10.65.0.23")
    await until(lambda: a.next_hops() == {"10.65.0.22": B4, "10.65.0.23": C4})
    assert c.next_hops() == {"10.65.0.22": B4}
    b.remove_workload("10.65.0.22")
    await until(lambda: a.next_hops() == {"10.65.0.23": C4})


async def test_only_workloads_in_exported_pools_are_announced(fabric: Fabric) -> None:
    a, b, _ = three(fabric)
    await fabric.start(pool("quiet-part", "10.65.200.0/24", disableBGPExport=True))
    await a.sessions_up(2)
    a.ip("route add default via 172.18.203.1")
    a.ip("link add ns-db03ab89-b4 type veth peer name dhcp && ip link set ns-db03ab89-b4 up && ip link set dhcp up")
    a.ip("addr add 10.65.0.1/16 dev ns-db03ab89-b4")  # the DHCP agent's: the pool is its connected prefix
    a.ip("route add 10.65.7.0/24 via 172.18.203.1")  # foreign, within a pool
    a.ip("route add 10.65.7.7/32 via 172.18.203.1 proto static")
    a.ip("route add 10.99.0.0/16 via 172.18.203.1")  # foreign, outside of all pools
    a.add_workload("10.65.1.0/24")  # ours, but no workload's address
    a.add_workload("10.66.0.1")  # its pool is not exported
    a.add_workload("10.65.200.1")  # nor that pool, though it lies within one that is
    a.add_workload("192.168.7.7")  # in no pool
    a.add_workload("10.65.0.24")
    await until(lambda: "10.65.0.24" in b.bird_routes())
    a.add_workload("10.65.0.25")  # comes after all of the above, so they had their chance
    await until(lambda: "10.65.0.25" in b.bird_routes())
    assert b.next_hops() == {"10.65.0.24": A4, "10.65.0.25": A4}
    known = a.namespace.run(f"birdc -s {a.socket} show route")
    assert "10.99.0.0/16" in known  # a way to next hops
    assert "10.65.7." not in known


async def test_a_pool_that_comes_later_is_announced_at_once(fabric: Fabric) -> None:
    a, b, _ = three(fabric)
    cluster = await fabric.start()
    await a.sessions_up(2)
    a.add_workload("10.67.0.1")
    a.add_workload("10.65.0.21")
    await until(lambda: b.next_hops() == {"10.65.0.21": A4})
    assert (await a.apply([*cluster, pool("late", "10.67.0.0/16")])).reloaded
    await until(lambda: b.next_hops() == {"10.65.0.21": A4, "10.67.0.1": A4})


async def test_hosts_in_two_subnets(fabric: Fabric) -> None:
    """Next hops behind a router are found by the default route, and by a route to the other subnet alone."""
    fabric.router("172.18.203.1/24", "172.18.204.1/24")
    a, b = fabric.host("a", f"{A4}/24"), fabric.host("b", "172.18.204.10/24")
    a.ip("route add default via 172.18.203.1")
    b.ip("route add 172.18.203.0/24 via 172.18.204.1")
    await fabric.start()
    await a.sessions_up(1)
    a.add_workload("10.65.0.21")
    b.add_workload("10.65.0.22")
    await until(lambda: a.next_hops() == {"10.65.0.22": "172.18.203.1"})
    await until(lambda: b.next_hops() == {"10.65.0.21": "172.18.204.1"})


async def test_hosts_in_two_subnets_with_a_router_known_by_its_link_local_address(fabric: Fabric) -> None:
    """As IPv6 hosts learn it from router advertisements."""
    router = fabric.router("fd00:203::1/64", "fd00:204::1/64")
    a, b = fabric.host("a", "fd00:203::125/64"), fabric.host("b", "fd00:204::10/64")
    for number, host in enumerate((a, b)):
        router.run(f"ip addr add fe80::1/64 dev eth{number}")
        host.ip("-6 route add default via fe80::1 dev eth0 proto ra")
    await fabric.start()
    await a.sessions_up(1)
    a.add_workload("fd65::21")
    b.add_workload("fd65::22")
    await until(lambda: a.next_hops() == {"fd65::22": "fe80::1"} and b.next_hops() == {"fd65::21": "fe80::1"})


async def test_dual_stack(fabric: Fabric) -> None:
    a = fabric.host("a", f"{A4}/24", "fd00:203::125/64")
    b = fabric.host("b", f"{B4}/24", "fd00:203::126/64")
    await fabric.start()
    await a.sessions_up(2)
    a.add_workload("10.65.0.21")
    a.add_workload("fd65::21")
    await until(lambda: b.next_hops() == {"10.65.0.21": A4, "fd65::21": "fd00:203::125"})
    assert "metric 32 " in b.bird_routes()["fd65::21"]
    a.remove_workload("fd65::21")
    await until(lambda: b.next_hops() == {"10.65.0.21": A4})


async def test_ipv6_only(fabric: Fabric) -> None:
    a, b = fabric.host("a", "fd00:203::125/64"), fabric.host("b", "fd00:203::126/64")
    await fabric.start()
    await a.sessions_up(1)
    a.add_workload("fd65::21")
    await until(lambda: b.next_hops() == {"fd65::21": "fd00:203::125"})


async def test_a_burst_does_not_wait_for_the_next_scan(fabric: Fabric) -> None:
    """What BIRD cannot read at once waits in its netlink buffer; if that overflows, all waits for the scan (10 s)."""
    a, b, _ = three(fabric)
    await fabric.start()
    await a.sessions_up(2)
    routes = [f"route add 10.65.{i >> 8}.{i & 255} dev {WORKLOAD} scope link proto 116" for i in range(5000)]
    batch = a.config.with_name("batch")
    batch.write_text("\n".join(routes))
    a.signal_bird(signal.SIGSTOP)  # busy with something else
    a.ip(f"-batch {batch}")
    a.signal_bird(signal.SIGCONT)
    began = time.monotonic()
    await until(lambda: len(b.bird_routes()) == len(routes))
    assert time.monotonic() - began < 5
    assert "resync on next scan" not in a.log()


class TestMove:
    """The same address on two hosts, as while a workload moves."""

    async def test_the_host_with_the_elevated_route_wins_everywhere(self, fabric: Fabric) -> None:
        a, b, c = three(fabric)
        await fabric.start()
        await c.sessions_up(2)
        a.add_workload("10.65.0.21")
        await until(lambda: c.next_hops() == {"10.65.0.21": A4})
        b.add_workload("10.65.0.21", protocol=118)
        await until(lambda: c.next_hops() == {"10.65.0.21": B4})
        # The old host yields: BIRD's route waits below its own, which still wins in the kernel.
        await until(lambda: a.next_hops() == {"10.65.0.21": B4})
        assert WORKLOAD in a.ip("route get 10.65.0.21")
        a.remove_workload("10.65.0.21")
        assert B4 in a.ip("route get 10.65.0.21")
        assert b.bird_routes() == {}

    async def test_a_normal_route_does_not_yield_to_another_normal_one(self, fabric: Fabric) -> None:
        """Else a host would stop announcing its workload while somebody dead is still believed to have it."""
        a, b, c = three(fabric)
        await fabric.start()
        await c.sessions_up(2)
        a.add_workload("10.65.0.21")
        await until(lambda: c.next_hops() == {"10.65.0.21": A4})
        b.add_workload("10.65.0.21")
        await until(lambda: b.bird_routes() == {})
        a.remove_workload("10.65.0.21")
        await until(lambda: c.next_hops() == {"10.65.0.21": B4})


class TestRouterOfAnotherAs:
    """A gateway as sites have it: plain BIRD, which knows nothing of us."""

    async def test_on_the_link_it_is_told_the_hosts_themselves(self, fabric: Fabric) -> None:
        """Also by the reflector, which must not become a hop on the way."""
        a, b, _ = three(fabric)
        fabric.host("r", "172.18.203.200/24", labels={"reflector": "yes"}, routeReflectorClusterID="244.0.0.1")
        gateway = fabric.host("gw", "172.18.203.1/24", asNumber=64601, labels={"gateway": "yes"})
        to_gateway = bgp_peer("gateway", nodeSelector="has(reflector)", peerSelector="has(gateway)")
        clients = bgp_peer("reflectors", nodeSelector="!has(reflector) && !has(gateway)", peerSelector="has(reflector)")
        await fabric.start(NO_MESH, clients, to_gateway)
        await gateway.sessions_up(1)
        a.add_workload("10.65.0.21")
        b.add_workload("10.65.0.22")
        await until(lambda: gateway.next_hops() == {"10.65.0.21": A4, "10.65.0.22": B4})

    async def test_as_the_router_between_the_hosts(self, fabric: Fabric) -> None:
        """The reflector's way to the far host is the router itself, which must be told the host, not itself."""
        gateway = fabric.host("gw", "172.18.203.1/24", asNumber=64601, labels={"gateway": "yes"})
        fabric.plug(gateway.namespace, "eth1", "172.18.204.1/24")
        near, far = fabric.host("near", f"{A4}/24"), fabric.host("far", "172.18.204.10/24")
        reflector = fabric.host(
            "r", "172.18.203.200/24", labels={"reflector": "yes"}, routeReflectorClusterID="244.0.0.1"
        )
        for host, router in ((near, "172.18.203.1"), (reflector, "172.18.203.1"), (far, "172.18.204.1")):
            host.ip(f"route add default via {router}")
        to_gateway = bgp_peer("gateway", nodeSelector="has(reflector)", peerSelector="has(gateway)")
        clients = bgp_peer("reflectors", nodeSelector="!has(reflector) && !has(gateway)", peerSelector="has(reflector)")
        await fabric.start(NO_MESH, clients, to_gateway)
        await reflector.sessions_up(3)
        near.add_workload("10.65.0.21")
        far.add_workload("10.65.0.22")
        await until(lambda: gateway.next_hops() == {"10.65.0.21": A4, "10.65.0.22": "172.18.204.10"})
        await until(lambda: near.next_hops() == {"10.65.0.22": "172.18.203.1"})

    async def test_behind_a_router_the_origin_is_preferred_to_those_who_pass_it_on(self, fabric: Fabric) -> None:
        fabric.router("172.18.203.1/24", "172.18.204.1/24")
        hosts = three(fabric)
        gateway = fabric.host("gw", "172.18.204.10/24", asNumber=64601, labels={"gateway": "yes"})
        for host in hosts:
            host.ip("route add default via 172.18.203.1")
        gateway.ip("route add default via 172.18.204.1")
        await fabric.start(bgp_peer("gateway", nodeSelector="!has(gateway)", peerSelector="has(gateway)"))
        await gateway.sessions_up(3)
        for number, host in enumerate(hosts):
            host.add_workload(f"10.65.0.{number}")
        await until(lambda: len(gateway.next_hops()) == 3)
        origins = {f"10.65.0.{number}": address for number, address in enumerate((A4, B4, C4))}
        await until(lambda: {prefix: best_next_hop(gateway, prefix) for prefix in origins} == origins)


def best_next_hop(host: Host, prefix: str) -> str:
    """The next hop that BIRD was told, where the kernel knows only the router on the way."""
    return best_route(host, prefix).partition("BGP.next_hop:")[2].split()[0]


def best_route(host: Host, prefix: str) -> str:
    return host.namespace.run(f"birdc -s {host.socket} show route primary all {prefix}/32")
