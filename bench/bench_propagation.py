"""How long after one host's kernel has a workload's route has another host's kernel it too?

Both moments are RTM_NEWROUTE events, seen by one listener in both namespaces; between them are the BIRDs of the origin,
of the route reflector and of the other host, on one machine with wires that take no time. One origin has an agent that
attaches a workload, and has more to do than BIRD has. On the other nobody but BIRD runs: its agent wrote BIRD's
configuration and was ended, and the route comes by one netlink message.
"""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import socket
import time
from ipaddress import IPv4Address, ip_address
from itertools import count

import pytest

from bench.reflected import RESOURCES
from bench.turns import print_table, take_turns
from bench.witness import Witness
from tortie.cli.agent_client import post
from tortie.conventions import ROUTE_PROTOCOL
from tortie.kernel import netns
from tortie.kernel.netlink import route
from tortie.kernel.netlink.monitor import Event, RouteAdded, RouteDeleted
from tortie.kernel.netlink.route import SCOPE_LINK, Route
from tortie.kernel.netlink.socket import NetlinkSocket
from tortie.lab import topology
from tortie.lab.layout import Layout
from tortie.lab.process import Mark, running
from tortie.lab.up import up

ROUNDS = 200
TIMEOUT_S = 10.0
BASELINE = "BIRD alone"

TOPOLOGY = """\
name: propagation
subnets:
  - {name: fabric, prefixes: [192.0.2.0/24]}
hosts:
  - {name: reflector, addresses: [192.0.2.1], route_reflector: 244.0.0.1, labels: {role: reflector}}
  - {name: attaching, addresses: [192.0.2.11]}
  - {name: birdonly, addresses: [192.0.2.12]}
  - {name: remote, addresses: [192.0.2.13]}
# One for each host: when all routes are known, all sessions are up.
workloads:
  - {name: first, host: attaching, addresses: [10.65.255.1]}
  - {name: second, host: birdonly, addresses: [10.65.255.2]}
"""


def name(place: str, event: Event) -> str:
    """Where which single address got a route."""
    match event:
        case RouteAdded(row, _) if row.prefix_length == 32:
            return f"{place} {ip_address(row.destination)}"
        case RouteDeleted(row) if row.prefix_length == 32:
            return f"{place} no {ip_address(row.destination)}"
        case _:
            return ""


@pytest.fixture
def lab(lab_name: str) -> Layout:
    wanted = topology.renamed(topology.parse(TOPOLOGY + RESOURCES, "propagation"), lab_name)
    assert asyncio.run(up(wanted, print, wait_s=30)) == {}
    (agent,) = (each for each in running(lab_name) if each.mark == Mark(lab_name, "birdonly", "agent"))
    descriptor = os.pidfd_open(agent.pid)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        assert select.select([descriptor], [], [], 10)[0], "the agent does not end"
    finally:
        os.close(descriptor)
    return Layout(lab_name)


@pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed")
def test_propagation(lab: Layout) -> None:
    guest = netns.create(lab.namespace("guest"))
    agent = lab.member("attaching").agent_socket
    hosts = {host: str(lab.namespace_path(host)) for host in ("attaching", "birdonly", "remote")}
    fresh = (IPv4Address("10.65.0.0") + number for number in count(1))

    with Witness(hosts, name) as witness, NetlinkSocket.open_in(hosts["birdonly"]) as sock:
        (interface,) = (row.ifindex for row in route.dump(sock, socket.AF_INET, protocol=ROUTE_PROTOCOL))

        def follow(origin: str, address: IPv4Address, start: float) -> float:
            there = witness.wait([f"{origin} {address}"], since=start)
            return (witness.wait([f"remote {address}"], since=start) - there) * 1000

        def with_agent() -> float:
            address, start = next(fresh), time.monotonic()
            post(agent, "/v1/attach", {"name": "new", "netns": guest, "addresses": [str(address)]}, TIMEOUT_S)
            took_ms = follow("attaching", address, start)
            post(agent, "/v1/detach", {"name": "new"}, TIMEOUT_S)
            witness.wait([f"remote no {address}"], since=start)
            return took_ms

        def bird_alone() -> float:
            address, start = next(fresh), time.monotonic()
            row = Route(socket.AF_INET, address.packed, 32, interface, protocol=ROUTE_PROTOCOL, scope=SCOPE_LINK)
            assert not route.add(sock, [row])
            took_ms = follow("birdonly", address, start)
            assert not route.delete(sock, [row])
            witness.wait([f"remote no {address}"], since=start)
            return took_ms

        taken = take_turns({BASELINE: bird_alone, "attached by the agent": with_agent}, ROUNDS, BASELINE)
    print_table("from the origin's kernel to the other host's, by the reflector", taken, BASELINE)
