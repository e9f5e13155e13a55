"""Faults of BIRD, here and at the reflectors."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from functools import partial

from tests.soak.matrix.fault import fault
from tests.soak.matrix.scene import Scene
from tortie.lab import host

REFLECTORS = ("reflector1", "reflector2")


@fault("BIRD", "kill -9, and started again", lasts_s=1, takes_s=8)
async def killed(scene: Scene) -> AsyncIterator[None]:
    scene.end("far", "bird", signal.SIGKILL)
    yield
    await host.start_bird(scene.layout, "far")


TWICE = "a peer deletes what is stale when its session ends again before it heard everything (RFC 4724, 4.2)"


@fault("BIRD", "kill -9 again while it recovers", takes_s=12, loses=TWICE, late=TWICE, late_bound_s=5)
async def killed_again(scene: Scene) -> AsyncIterator[None]:
    for _ in range(2):
        scene.end("far", "bird", signal.SIGKILL)
        await host.start_bird(scene.layout, "far")
        await scene.until(partial(session, scene))
    yield


async def session(scene: Scene) -> bool:
    return "Established" in (await host.bird_sessions(scene.layout, "far")).values()


@fault("BIRD", "restarted as the unit does it", lasts_s=1, takes_s=8)
async def restarted(scene: Scene) -> AsyncIterator[None]:
    before = scene.process("far", "bird")
    control = scene.layout.member("far").bird_socket
    await scene.run("far", f"birdc -s {control} graceful restart; while kill -0 {before.pid} 2>&-; do sleep 0.02; done")
    yield
    await host.start_bird(scene.layout, "far")


@fault("BIRD", "frozen for 10 s", lasts_s=10, takes_s=15)
async def frozen(scene: Scene) -> AsyncIterator[None]:
    pid = scene.process("far", "bird").pid
    os.kill(pid, signal.SIGSTOP)
    yield
    os.kill(pid, signal.SIGCONT)


@fault("BIRD", "one reflector's ends for 5 s", lasts_s=5, takes_s=12)
async def one_reflector(scene: Scene) -> AsyncIterator[None]:
    scene.end("reflector1", "bird", signal.SIGKILL)
    yield
    await host.start_bird(scene.layout, "reflector1")


@fault("BIRD", "both reflectors' end for 5 s", lasts_s=5, takes_s=12)
async def both_reflectors(scene: Scene) -> AsyncIterator[None]:
    for each in REFLECTORS:
        scene.end(each, "bird", signal.SIGKILL)
    yield
    await asyncio.gather(*(host.start_bird(scene.layout, each) for each in REFLECTORS))


@fault("BIRD", "both reflectors silent for 5 s", lasts_s=5, takes_s=12)
async def silent_reflectors(scene: Scene) -> AsyncIterator[None]:
    for each in REFLECTORS:
        await scene.run("fabric", f"ip link set p-{each} down")
    yield
    for each in REFLECTORS:
        await scene.run("fabric", f"ip link set p-{each} up")
