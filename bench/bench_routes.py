"""How long until the kernel has acknowledged many routes, and until an agent that starts knows that they are right?

`tortie.kernel.netlink.route.add` is handed `Route` values, in an empty namespace; "from intent" is the whole way of an
endpoint's addresses: rendered to rows, wanted, compared, packed, acknowledged. `ip -batch` reads the same rows from a
file that is written already, and `routes.c`, which packs them in C, is the limit; both start as processes.

Promises, in the median: packed at least 3 times as fast as `ip -batch` and at most 2 times as slow as in C; from intent
1.3 times as fast as `ip -batch`; 100,000 right routes read and compared in 1.5 s, without a write.
"""

from __future__ import annotations

import gc
import socket
import subprocess
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bench.turns import Turn, percentile, print_table, take_turns
from tests.netns.conftest import NetnsFactory
from tests.netns.kernel.oracle import veth
from tortie.dataplane.l3.render import render_endpoint
from tortie.dataplane.l3.rows import RouteKey, RouteTarget
from tortie.dataplane.l3.table import RouteTable
from tortie.intent.l3 import LocalEndpoint
from tortie.kernel.netlink import link, route
from tortie.kernel.netlink.link import Link
from tortie.kernel.netlink.route import SCOPE_LINK, Route
from tortie.kernel.netlink.socket import NetlinkSocket
from tortie.model.resource import ResourceKey
from tortie.reconcile import Reconciler

FIRST = IPv4Address("10.64.0.0")
PROTOCOL = 116
BASELINE = "ip -batch"
C, PACKED, FROM_INTENT = "packed in C", "packed in Python", "from intent"
TO_IP, TO_C, INTENT_TO_IP, START_MS = 3.0, 2.0, 1.3, 1500.0
MANY = 100_000


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("number", "rounds"), [(10_000, 15), (MANY, 5)])
def test_routes(netns: NetnsFactory, tmp_path: Path, number: int, rounds: int) -> None:
    host = netns("host")
    file = tmp_path / "routes"
    program = compiled(tmp_path)
    with host.netlink() as sock:
        there = veth(sock)
        rows = [
            Route(socket.AF_INET, (FIRST + offset).packed, 32, there.ifindex, protocol=PROTOCOL, scope=SCOPE_LINK)
            for offset in range(number)
        ]
        file.write_text(
            "".join(f"route add {FIRST + offset} dev host0 scope link proto {PROTOCOL}\n" for offset in range(number))
        )
        endpoint = endpoint_of(number)
        gc.freeze()  # as the agent does
        stages: dict[str, list[float]] = {name: [] for name in ("rendered", "wanted", "packed and acknowledged")}

        def packed() -> None:
            assert not route.add(sock, rows)

        def in_c() -> None:
            command = ["ip", "netns", "exec", host.name, str(program), str(there.ifindex), str(number)]
            subprocess.run(command, check=True)

        def ip_batch() -> None:
            subprocess.run(["ip", "-n", host.name, "-batch", str(file)], check=True)

        def from_intent() -> None:
            begun = time.perf_counter()
            wanted = rendered(endpoint, there)
            made = time.perf_counter()
            routes: Reconciler[RouteKey, RouteTarget] = Reconciler("route", RouteTable(sock, ipv6=False))
            routes.resync()
            for key, target in wanted.items():
                routes.want(key, target)
            asked = time.perf_counter()
            routes.apply_puts(0.0)
            assert routes.in_sync
            for name, took_s in zip(stages, (made - begun, asked - made, time.perf_counter() - asked), strict=True):
                stages[name].append(took_s * 1000)

        def timed(add: Callable[[], None]) -> Turn:
            def turn() -> float:
                start = time.perf_counter()
                add()
                took_ms = (time.perf_counter() - start) * 1000
                assert len(route.dump(sock, socket.AF_INET, protocol=PROTOCOL)) == number
                # The kernel drops all IPv4 routes of a link that is set down, faster than one by one.
                link.change(sock, there.ifindex, up=False)
                link.change(sock, there.ifindex, up=True)
                return took_ms

            return turn

        ways = {BASELINE: ip_batch, C: in_c, PACKED: packed, FROM_INTENT: from_intent}
        taken = take_turns({name: timed(way) for name, way in ways.items()}, rounds, BASELINE)
    print_table(f"{number} routes added", taken, BASELINE)
    print_table("of these, from intent", stages)
    by_ip, by_c, by_us, whole = (percentile(taken[name], 50) for name in ways)
    assert by_us * TO_IP <= by_ip
    assert by_us <= TO_C * by_c
    assert whole * INTENT_TO_IP <= by_ip


@pytest.mark.timeout(300)
def test_a_start_finds_them_right(netns: NetnsFactory) -> None:
    with netns("host").netlink() as sock:
        there = veth(sock)
        wanted = rendered(endpoint_of(MANY), there)
        first: Reconciler[RouteKey, RouteTarget] = started(sock, wanted)
        first.apply_puts(0.0)

        def start() -> float:
            begun = time.perf_counter()
            routes = started(sock, wanted)
            assert routes.in_sync
            assert not routes.writes
            return (time.perf_counter() - begun) * 1000

        taken = take_turns({"read and compared": start}, 5)
    print_table(f"{MANY} right routes at a start", taken)
    assert percentile(taken["read and compared"], 50) <= START_MS


def started(sock: NetlinkSocket, wanted: dict[RouteKey, RouteTarget]) -> Reconciler[RouteKey, RouteTarget]:
    routes: Reconciler[RouteKey, RouteTarget] = Reconciler("route", RouteTable(sock, ipv6=False))
    for key, target in wanted.items():
        routes.want(key, target)
    routes.resync()
    return routes


def endpoint_of(number: int) -> LocalEndpoint:
    """One workload with all the addresses: then nothing but routes grows with their number."""
    return LocalEndpoint(
        key=ResourceKey("WorkloadEndpoint", "default", "host-tortie-a-eth0"),
        interface="host0",
        mac="",
        addresses=tuple(FIRST + offset for offset in range(number)),
    )


def rendered(endpoint: LocalEndpoint, there: Link) -> dict[RouteKey, RouteTarget]:
    rows = render_endpoint(endpoint, there._replace(flags=link.FLAG_UP | link.FLAG_RUNNING), ipv6=False, responder=0)
    return {
        row.key: value
        for row, value in rows.items()
        if isinstance(row.key, RouteKey) and isinstance(value, RouteTarget)
    }


def compiled(folder: Path) -> Path:
    program = folder / "routes-in-c"
    subprocess.run(["cc", "-O2", "-o", program, Path(__file__).with_name("routes.c")], check=True)
    return program
