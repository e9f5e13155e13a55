"""How long does the agent take to attach a workload: from the request on its socket to the answer?

A network namespace is given; the veth, the guest's side, the endpoint in the datastore and the verified route are the
agent's work. One host has 10 workloads already, the other 200, each with its own agent and its own datastore; the new
one is detached again after each turn, off the clock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bench.turns import Turn, print_table, take_turns
from tests.netns.agent.running import RunningAgent
from tests.netns.conftest import NetnsFactory
from tortie.kernel import libc
from tortie.kernel.bpf import pin
from tortie.kernel.netlink import link
from tortie.kernel.tap import open_tap

ROUNDS = 100
FIRST = IPv4Address("10.65.1.0")
NEW = "10.65.0.1"
BASELINE = "10 workloads"


@contextmanager
def host(netns: NetnsFactory, directory: Path, workloads: int) -> Iterator[RunningAgent]:
    """An agent, its datastore, and so many workloads behind TAPs that are held open as by their hypervisors."""
    namespace = netns(f"host{workloads}")
    mount = directory / f"bpf{workloads}"
    pin.mount(str(mount))
    place = directory / f"host{workloads}"
    agent = RunningAgent(namespace, place, mount, place / "store.db", f"host{workloads}")
    taps: list[int] = []
    try:
        agent.start_and_wait()
        with namespace.netlink() as sock:
            for number in range(workloads):
                tap = f"tap{number}"
                taps.append(namespace.call(partial(open_tap, tap)))
                link.change(sock, link.get(sock, tap).ifindex, up=True)
                mac = f"02:00:00:00:00:{number:02x}"
                agent.attach(f"vm{number}", tap=tap, mac=mac, addresses=[str(FIRST + number)], wait=True)
        yield agent
    finally:
        agent.close()
        for descriptor in taps:
            os.close(descriptor)
        libc.umount(str(mount), libc.MNT_DETACH)


@pytest.mark.timeout(180)
def test_attach(netns: NetnsFactory, tmp_path: Path) -> None:
    def attaching(agent: RunningAgent, guest: str) -> Turn:
        def turn() -> float:
            start = time.perf_counter()
            agent.attach("new", netns=guest, addresses=[NEW])
            took_ms = (time.perf_counter() - start) * 1000
            agent.detach("new")
            return took_ms

        return turn

    with host(netns, tmp_path, 10) as few, host(netns, tmp_path, 200) as many:
        variants = {
            BASELINE: attaching(few, netns("guest10").path),
            "200 workloads": attaching(many, netns("guest200").path),
        }
        taken = take_turns(variants, ROUNDS, BASELINE)
    print_table("from the request to attach to the answer, on a host with", taken, BASELINE)
