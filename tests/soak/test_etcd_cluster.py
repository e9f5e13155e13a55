"""Three hosts, a reflector and an etcd of three members, which die, fall silent, lose their majority and are set back.

Workloads ping each other all the while, and nothing of that costs a packet.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.netns.lab.conftest import traces
from tests.netns.scenes.daemons import Pings, end, in_sync, status, status_when
from tests.netns.scenes.stores import needs_etcd, over_etcd
from tests.netns.scenes.test_restarts import classic
from tortie.lab import etcd, host, topology
from tortie.lab.down import down
from tortie.lab.enter import Member
from tortie.lab.layout import FABRIC, Layout
from tortie.lab.process import running
from tortie.lab.topology import Topology
from tortie.lab.up import up

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed"),
    needs_etcd,
    pytest.mark.timeout(300),
]

STORES = ("store1", "store2", "store3")
HOSTS = ("node125", "node126", "node129")
PROFILE = "apiVersion: projectcalico.org/v3\nkind: Profile\nmetadata: {name: %s}\nspec: {}\n"


@pytest.fixture
async def scene() -> AsyncIterator[Topology]:
    wanted = topology.renamed(over_etcd(classic(), members=3), f"tt{os.urandom(4).hex()}")
    try:
        assert await up(wanted, print, wait_s=60) == {}
        yield wanted
    finally:
        down(wanted.name)
    assert traces(wanted.name) == []


async def apply(scene: Topology, name: str, timeout_s: float = 20) -> None:
    """Writes a resource from a host, as often as it takes."""
    file = Layout(scene.name).directory / "profile.yaml"
    file.write_text(PROFILE % name)
    async with asyncio.timeout(timeout_s):
        while (await Member(scene, "node126").run(["tortie", "apply", "-f", str(file)])).code:
            pass  # each try takes its own time


async def all_in_sync(scene: Topology) -> None:
    for name in HOSTS:
        await in_sync(scene, name)


async def restart(scene: Topology, name: str) -> None:
    await etcd.start(scene, Layout(scene.name), name)


async def ctl(scene: Topology, *words: str) -> str:
    """What etcdctl says on the first member, which listens at its address alone."""
    address = scene.etcd[0].addresses[0]
    command = ["etcdctl", "--endpoints", f"{address}:{etcd.CLIENT_PORT}", *words]
    code, text = await Member(scene, STORES[0]).run(command)
    assert code == 0, text
    return text


async def test_one_member_after_the_other_dies_and_comes_back(scene: Topology) -> None:
    async with Pings(scene, "web21", "10.65.0.22") as traffic:
        for number, name in enumerate(STORES):
            end(scene, name, "etcd")
            await apply(scene, f"without-{number}")
            await all_in_sync(scene)
            await restart(scene, name)
        for host_name in HOSTS:
            board = await status(scene, host_name)
            assert {report["state"] for report in board["endpoints"].values()} == {"up"}
    assert traffic.lost == 0


async def test_without_a_majority_everything_goes_on(scene: Topology) -> None:
    async with Pings(scene, "web21", "10.65.0.22") as traffic:
        end(scene, "store1", "etcd")
        end(scene, "store2", "etcd")
        board = await status_when(scene, "node129", lambda board: not board["connected"])
        assert "etcd://" in board["datastore_problem"]
        # An agent that starts now has its snapshot, and finds everything in the kernel as it should be.
        end(scene, "node129", "agent", signal.SIGTERM)
        await host.start_agent(Layout(scene.name), "node129")
        board = await status_when(
            scene, "node129", lambda board: {each["state"] for each in board["endpoints"].values()} == {"up"}
        )
        assert board["writes"] == 0
        await asyncio.gather(restart(scene, "store1"), restart(scene, "store2"))
        await all_in_sync(scene)
        await apply(scene, "afterwards")
    assert traffic.lost == 0


async def test_a_member_that_falls_silent_is_left_within_ten_seconds(scene: Topology) -> None:
    fabric = Member(scene, FABRIC)
    async with Pings(scene, "web21", "10.65.0.22") as traffic:
        for name in STORES:
            # No packet comes or goes, and no connection is told.
            await fabric.run(["ip", "link", "set", f"p-{name}", "down"])
            await apply(scene, f"without-{name}", timeout_s=30)
            await all_in_sync(scene)
            await fabric.run(["ip", "link", "set", f"p-{name}", "up"])
            await apply(scene, f"with-{name}")
    assert traffic.lost == 0


async def test_compacted_and_frozen_members_lose_no_change(scene: Topology) -> None:
    frozen = [process.pid for process in running(scene.name) if process.mark.program == "etcd"]
    async with Pings(scene, "web21", "10.65.0.22") as traffic:
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        await status_when(scene, "node126", lambda board: not board["connected"])
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        for number in range(20):
            await apply(scene, f"change-{number}")
        text = await ctl(scene, "get", "/nothing", "-w", "fields")
        (revision,) = (line.split(":")[1].strip() for line in text.splitlines() if line.startswith('"Revision"'))
        await ctl(scene, "compact", revision)
        await all_in_sync(scene)
        for name in HOSTS:
            await status_when(scene, name, lambda board: board["revision"] >= int(revision))
    assert traffic.lost == 0


async def test_set_back_to_a_backup_the_agents_follow_what_it_says(scene: Topology, tmp_path: Path) -> None:
    layout = Layout(scene.name)
    addresses = {machine.name: machine.addresses[0] for machine in scene.etcd}
    backup = tmp_path / "backup"
    await ctl(scene, "snapshot", "save", str(backup))
    await apply(scene, "after-the-backup")
    async with Pings(scene, "web21", "10.65.0.22") as traffic:
        for name in STORES:
            end(scene, name, "etcd")
        for name in STORES:
            directory = layout.member(name).directory / "etcd"
            shutil.rmtree(directory)
            code, text = await Member(scene, name).run(etcd.restore_command(name, directory, addresses, backup))
            assert code == 0, text
        await asyncio.gather(*(restart(scene, name) for name in STORES))
        await all_in_sync(scene)
        code, text = await Member(scene, "node126").run(["tortie", "get", "profile", "after-the-backup"])
        assert (code, "does not exist" in text) == (1, True), text
        for name in HOSTS:
            board = await status(scene, name)
            assert {report["state"] for report in board["endpoints"].values()} == {"up"}
    assert traffic.lost == 0
