"""Faults of the agent."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from tests.soak.matrix.fault import fault
from tests.soak.matrix.scene import Scene, is_whole
from tortie.kernel import netns
from tortie.lab import host
from tortie.lab.process import alive

LINK = "tapsteps"
WITHDRAWN = "tortie delete workloadendpoint far-tortie-steps-eth0; tortie delete gnp steps"
DYING = Path(__file__).parent / "dying"
CYCLES, LANES = 10_000, 4
SOME_CYCLES = 1_500
ROOM = 1.05  # by which the agent may grow in the second half: caches are full and rings have gone round in the first
POOL = min(32, (os.cpu_count() or 1) + 4)  # threads of asyncio's, begun as they are needed and kept
V3 = {"apiVersion": "projectcalico.org/v3"}


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """What daemons that are started meanwhile have in their environment."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@fault("agent", "SIGTERM, and started again")
async def terminated(scene: Scene) -> AsyncIterator[None]:
    scene.end("far", "agent", signal.SIGTERM)
    yield
    await host.start_agent(scene.layout, "far")


@fault("agent", "kill -9, and started again")
async def killed(scene: Scene) -> AsyncIterator[None]:
    scene.end("far", "agent", signal.SIGKILL)
    yield
    await host.start_agent(scene.layout, "far")


@fault("agent", "kill -9 twice in 5 s", takes_s=8)
async def killed_twice(scene: Scene) -> AsyncIterator[None]:
    for _ in range(2):
        scene.end("far", "agent", signal.SIGKILL)
        await host.start_agent(scene.layout, "far")
    yield


@fault("agent", "upgrade: SIGTERM, and the modules of another place started")
async def upgraded(scene: Scene) -> AsyncIterator[None]:
    place = scene.disk / "upgrade"
    shutil.copytree(Path(host.__file__).parents[1], place / "tortie", dirs_exist_ok=True)
    scene.end("far", "agent", signal.SIGTERM)
    yield
    with environment(PYTHONPATH=str(place)):
        await host.start_agent(scene.layout, "far")


@fault("agent", "kill -9 during an apply, at every step", takes_s=900)
async def killed_at_every_step(scene: Scene) -> AsyncIterator[None]:
    """A step is a message to the kernel or a program that is started."""
    async with steps(scene):
        number = 1
        while await dies_at(scene, number):
            number += 1
    yield


@fault("agent", "kill -9 during an apply, at steps 1, 2, 4 to 32", takes_s=40)
async def killed_at_some_steps(scene: Scene) -> AsyncIterator[None]:
    async with steps(scene):
        for number in (1, 2, 4, 8, 16, 32):
            assert await dies_at(scene, number), f"an apply has fewer than {number} steps"
    yield


@asynccontextmanager
async def steps(scene: Scene) -> AsyncIterator[None]:
    """An interface for a workload more; the agent at the end is one that does not die."""
    await scene.run("far", f"ip link add {LINK} type veth peer name steps; ip link set {LINK} up; ip link set steps up")
    scene.end("far", "agent", signal.SIGKILL)
    yield
    await scene.run("near", WITHDRAWN, check=False)
    if scene.runs("far", "agent"):
        scene.end("far", "agent", signal.SIGKILL)
    await host.start_agent(scene.layout, "far")
    await scene.run("far", f"ip link del {LINK}")


async def dies_at(scene: Scene, number: int) -> bool:
    """Starts an agent that dies at that step of an apply, and has it apply; False if it came to the end."""
    trigger = scene.disk / "trigger"
    trigger.unlink(missing_ok=True)
    with environment(PYTHONPATH=str(DYING), DIES_WHEN=str(trigger), DIES_AT=str(number)):
        await host.start_agent(scene.layout, "far")
    await scene.board_when("far", is_whole)
    agent = scene.process("far", "agent")
    trigger.touch()
    await (scene.apply(*documents(number)) if number % 2 else scene.run("near", WITHDRAWN, check=False))
    revision = (await scene.board("near"))["revision"]

    async def ended_or_done() -> bool:
        with suppress(aiohttp.ClientError, OSError):
            board = await scene.board("far")
            return not alive(agent) or (is_whole(board) and board["revision"] >= revision)
        return not alive(agent)

    await scene.until(ended_or_done)
    return not alive(agent)


def documents(number: int) -> list[dict[str, Any]]:
    """A workload and a policy with a set, which far has to write sets, chains, a route and a neighbour for."""
    spec = {
        "orchestrator": "tortie",
        "workload": "steps",
        "node": "far",
        "endpoint": "eth0",
        "interfaceName": LINK,
    }
    name = {"name": "far-tortie-steps-eth0", "namespace": "default", "labels": {"steps": "yes"}}
    profiles = {
        "ipNetworks": ["10.65.0.99/32"],
        "mac": "02:00:00:00:00:99",
        "profiles": ["projectcalico-default-allow"],
    }
    rule = {"action": "Allow", "protocol": "TCP", "source": {"selector": "has(steps)", "nets": ["10.0.0.0/8"]}}
    policy = {"selector": "all()", "types": ["Ingress"], "order": number, "ingress": [rule]}
    return [
        {**V3, "kind": "WorkloadEndpoint", "metadata": name, "spec": {**spec, **profiles}},
        {**V3, "kind": "GlobalNetworkPolicy", "metadata": {"name": "steps"}, "spec": policy},
    ]


@fault("agent", "10,000 workloads attached and detached", takes_s=900)
async def cycles(scene: Scene) -> AsyncIterator[None]:
    await attach_and_detach(scene, CYCLES)
    yield


@fault("agent", "1,500 workloads attached and detached", takes_s=120)
async def some_cycles(scene: Scene) -> AsyncIterator[None]:
    await attach_and_detach(scene, SOME_CYCLES)
    yield


async def attach_and_detach(scene: Scene, count: int) -> None:
    """What the agent, its files or the store have grown by is an error of its own; of the kernel every cell looks."""
    spaces = [scene.layout.namespace(f"cycle{lane}") for lane in range(LANES)]
    for space in spaces:
        netns.create(space)

    async def lane(number: int, count: int) -> None:
        for _ in range(count):
            address = f"10.65.1.{number + 1}"
            path = str(scene.layout.namespace_path(f"cycle{number}"))
            await scene.call("far", "attach", name=f"cycle{number}", netns=path, addresses=[address], wait=True)
            await scene.call("far", "detach", name=f"cycle{number}")

    async def go(count: int) -> None:
        await asyncio.gather(*(lane(number, count // LANES) for number in range(LANES)))

    await go(count // 2)
    before = await usage(scene)
    await go(count // 2)
    after = await usage(scene)
    for space in spaces:
        netns.delete(space)
    scene.told = ", ".join(f"{name} {before[name]} to {after[name]}" for name in before)
    room = {name: max(value + 1, int(value * ROOM)) for name, value in before.items()}
    room["threads"] = before["threads"] + POOL
    assert all(after[name] <= room[name] for name in room), f"the agent has grown: {scene.told}"


async def usage(scene: Scene) -> dict[str, int]:
    """What the agent holds, in memory and elsewhere."""
    process = Path(f"/proc/{scene.process('far', 'agent').pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    endpoints = await scene.run("far", "tortie get workloadendpoint -A -o name")
    return {
        "KiB resident": int(status["VmRSS"].split()[0]),
        "threads": int(status["Threads"]),
        "descriptors": len(list((process / "fd").iterdir())),
        "files": sum(1 for _ in scene.layout.member("far").directory.rglob("*")),
        "pins": sum(1 for _ in scene.layout.member("far").bpffs.rglob("*")),
        "endpoints": len(endpoints.splitlines()),
    }
