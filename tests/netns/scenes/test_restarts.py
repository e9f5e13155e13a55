"""Daemons killed, stopped and started again under traffic: no packet lost, no route withdrawn, nothing rewritten."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.netns.scenes.stores import needs_etcd, over_etcd
from tortie.kernel.netns import named
from tortie.lab import host, topology
from tortie.lab.command import SHIPPED
from tortie.lab.enter import Member
from tortie.lab.layout import Layout
from tortie.lab.process import running, wait_until
from tortie.lab.topology import Topology

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed"),
    pytest.mark.timeout(180),
]

PEER, RESTARTED = "node126", "node129"  # web21 is on the first, web22 on the second
PINGS = 6000  # one a millisecond


def classic() -> Topology:
    return topology.parse((SHIPPED / "classic.yaml").read_text(), "classic")


STORES = [
    pytest.param(classic, id="SQLite"),
    pytest.param(lambda: over_etcd(classic()), id="etcd", marks=needs_etcd),
]


class Listening:
    """What `ip monitor` prints in a namespace while the block runs."""

    def __init__(self, namespace: str, *objects: str) -> None:
        self._command = ["nsenter", f"--net={named(namespace)}", "ip", "monitor", *objects]
        self.output = ""

    async def __aenter__(self) -> Listening:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=pipe)
        assert await wait_until(self._listens, 5)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.terminate()
        self.output = (await self._process.communicate())[0].decode()

    def _listens(self) -> bool:
        try:
            files = [each.readlink().name for each in Path(f"/proc/{self._process.pid}/fd").iterdir()]
        except OSError:
            return False
        return any(name.startswith("socket:") for name in files)


def end(scene: Topology, program: str, number: int) -> None:
    """Signals the daemon and returns when its last descriptor is closed, which is later than its memory is gone."""
    (found,) = (each for each in running(scene.name) if each.mark[1:] == (RESTARTED, program))
    descriptor = os.pidfd_open(found.pid)
    try:
        signal.pidfd_send_signal(descriptor, number)
        assert select.select([descriptor], [], [], 10)[0], f"{program} does not end"
    finally:
        os.close(descriptor)


async def status(scene: Topology) -> dict[str, Any]:
    code, output = await Member(scene, RESTARTED).run(["tortie", "status", "-o", "json"])
    assert code in (0, 1), output
    return dict(json.loads(output))


async def pinged(scene: Topology) -> int:
    """How many of the pings from web21 to web22 got no answer."""
    command = ["ping", "-q", "-i", "0.001", "-c", str(PINGS), "-W", "2", "10.65.0.22"]
    _, output = await Member(scene, "web21").run(command, timeout_s=60)
    found = re.search(r"(\d+) packets transmitted, (\d+) received", output)
    assert found is not None, output
    return int(found[1]) - int(found[2])


async def ready(scene: Topology) -> dict[str, Any]:
    return await status_when(scene, lambda board: bool(board["in_sync"]))


async def status_when(scene: Topology, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The agent's board as soon as it says so."""
    for _ in range(300):
        if holds(board := await status(scene)):
            return board
        await asyncio.sleep(0.1)
    raise AssertionError(board)


def adopted(bird: dict[str, Any]) -> bool:
    return bool(bird["configured"]) and {each["state"] for each in bird["sessions"]} == {"Established"}


@pytest.mark.parametrize("scene", STORES, indirect=True)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_an_agent_restarted_twice_loses_nothing(scene: Topology, number: int) -> None:
    layout = Layout(scene.name)
    async with (
        Listening(layout.namespace(PEER), "route") as at_peer,
        Listening(layout.namespace(RESTARTED), "route", "address", "neigh") as here,
    ):
        traffic = asyncio.create_task(pinged(scene))
        for _ in range(2):
            end(scene, "agent", number)
            await host.start_agent(layout, RESTARTED)
            board = await ready(scene)
            assert board["writes"] == 0
            assert {report["state"] for report in board["endpoints"].values()} == {"up"}
        assert not traffic.done(), "the restarts must fall into the traffic"
        assert await traffic == 0
    assert at_peer.output == ""
    ours = [line for line in here.output.splitlines() if "116" in line]
    assert ours == []


@pytest.mark.parametrize("scene", STORES, indirect=True)
async def test_a_bird_killed_and_started_again_loses_nothing_and_is_adopted(scene: Topology) -> None:
    layout = Layout(scene.name)
    async with Listening(layout.namespace(PEER), "route") as at_peer:
        traffic = asyncio.create_task(pinged(scene))
        end(scene, "bird", signal.SIGKILL)
        await host.start_bird(layout, RESTARTED)
        assert await traffic == 0
        await status_when(scene, lambda board: adopted(board["bird"]))
    deletions = [line for line in at_peer.output.splitlines() if line.startswith("Deleted")]
    assert deletions == []
