"""What does an agent take that has nothing to do, and does it grow with what it did?

A thousand workloads, and 30,000 routes of somebody else in another table; then 10,000 changes of policy, each in force
before the next hundred.

Promise: under 1 % of a processor, and no more memory after the second half of the changes than after the first, but for
a twentieth.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import time
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bench.bench_attach import DESCRIPTORS, host
from tests.netns.agent.running import RunningAgent
from tests.netns.agent.test_life import PREFIX, put
from tests.netns.conftest import NetnsFactory
from tests.netns.kernel.oracle import veth
from tortie.kernel.netlink import route
from tortie.kernel.netlink.route import Route

WORKLOADS, ROUTES, TABLE = 1000, 30_000, 100
WATCHED_S = 30.0
CHANGES, AT_ONCE = 10_000, 100
SHARE, GROWTH = 0.01, 1.05
FIRST = IPv4Address("172.20.0.0")


@pytest.mark.timeout(900)
def test_idle(netns: NetnsFactory, tmp_path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    with host(netns, tmp_path, WORKLOADS) as agent:
        with agent.namespace.netlink() as sock:
            ifindex = veth(sock).ifindex
            rows = [
                Route(socket.AF_INET, (FIRST + n).packed, 32, ifindex, protocol=3, table=TABLE) for n in range(ROUTES)
            ]
            assert not route.add(sock, rows)
        agent.wait(lambda board: board["in_sync"])
        share = processor_share(agent)
        before = resident_mb(agent)
        change(agent, CHANGES // 2)
        half = resident_mb(agent)
        change(agent, CHANGES // 2)
        whole = resident_mb(agent)
    print(f"\n{WORKLOADS} workloads, {ROUTES} foreign routes: {share:.2%} of a processor")
    print(f"resident: {before:.1f} MB, {half:.1f} after {CHANGES // 2} changes, {whole:.1f} after {CHANGES}")
    assert share <= SHARE
    assert whole <= GROWTH * half


def processor_share(agent: RunningAgent) -> float:
    before = processor_s(agent)
    time.sleep(WATCHED_S)
    return (processor_s(agent) - before) / WATCHED_S


def processor_s(agent: RunningAgent) -> float:
    user, system = Path(f"/proc/{agent.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def resident_mb(agent: RunningAgent) -> float:
    return int(Path(f"/proc/{agent.process.pid}/statm").read_text().split()[1]) * 4096 / 1e6


def change(agent: RunningAgent, times: int) -> None:
    """Of one policy that all workloads have, every time another port."""
    for number in range(times):
        rule = {"action": "Allow", "protocol": "TCP", "destination": {"ports": [1 + number % 60_000]}}
        spec = {"order": 1, "selector": "all()", "types": ["Ingress"], "ingress": [rule]}
        name = "default.changing"
        document = {
            "kind": "GlobalNetworkPolicy",
            "apiVersion": "projectcalico.org/v3",
            "metadata": {"name": name},
            "spec": spec,
        }
        revision = put(agent.store, f"{PREFIX}/globalnetworkpolicies/{name}", json.dumps(document).encode())
        if number % AT_ONCE == AT_ONCE - 1:
            agent.wait(lambda board, revision=revision: board["enforced_revision"] >= revision)  # type: ignore[misc]
