"""Daemons killed, stopped and started again under traffic: no packet lost, no route withdrawn, nothing rewritten."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.netns.scenes.daemons import Pings, end, in_sync, status_when
from tests.netns.scenes.stores import needs_etcd, over_etcd
from tortie.kernel.netns import named
from tortie.lab import host, topology
from tortie.lab.command import SHIPPED
from tortie.lab.layout import Layout
from tortie.lab.process import wait_until
from tortie.lab.topology import Topology

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed"),
    pytest.mark.timeout(180),
]

PEER, RESTARTED = "node126", "node129"  # web21 is on the first, web22 on the second


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
        async with Pings(scene, "web21", "10.65.0.22") as traffic:
            for _ in range(2):
                end(scene, RESTARTED, "agent", number)
                await host.start_agent(layout, RESTARTED)
                board = await in_sync(scene, RESTARTED)
                assert board["writes"] == 0
                assert {report["state"] for report in board["endpoints"].values()} == {"up"}
        assert traffic.lost == 0
    assert at_peer.output == ""
    ours = [line for line in here.output.splitlines() if "116" in line]
    assert ours == []


@pytest.mark.parametrize("scene", STORES, indirect=True)
async def test_a_bird_killed_and_started_again_loses_nothing_and_is_adopted(scene: Topology) -> None:
    layout = Layout(scene.name)
    async with Listening(layout.namespace(PEER), "route") as at_peer:
        async with Pings(scene, "web21", "10.65.0.22") as traffic:
            end(scene, RESTARTED, "bird")
            await host.start_bird(layout, RESTARTED)
            await status_when(scene, RESTARTED, lambda board: adopted(board["bird"]))
        assert traffic.lost == 0
    deletions = [line for line in at_peer.output.splitlines() if line.startswith("Deleted")]
    assert deletions == []
