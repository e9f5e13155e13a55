"""Links and addresses of the host, and its other resources."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.soak.matrix.agent import environment
from tests.soak.matrix.bird import REFLECTORS
from tests.soak.matrix.fault import fault
from tests.soak.matrix.probe import FAR
from tests.soak.matrix.scene import Scene
from tortie.lab import etcd
from tortie.lab.host import start_agent, start_bird
from tortie.lab.process import running


@fault("host", "uplink down for 1 s", cuts="the host's only link is down", lasts_s=1, takes_s=10)
async def uplink_down(scene: Scene) -> AsyncIterator[None]:
    await scene.run("far", "ip link set eth0 down")
    yield
    await scene.run("far", "ip link set eth0 up")


@fault("host", "uplink's carrier lost for 1 s", cuts="the host's only link is down", lasts_s=1, takes_s=10)
async def carrier_lost(scene: Scene) -> AsyncIterator[None]:
    await scene.run("fabric", "ip link set p-far down")
    yield
    await scene.run("fabric", "ip link set p-far up")


@fault("host", "workload's host end down for 1 s", cuts="the workload's only link is down", lasts_s=1, takes_s=8)
async def host_end_down(scene: Scene) -> AsyncIterator[None]:
    name = await scene.host_end()
    await scene.run("far", f"ip link set {name} down")
    yield
    await scene.run("far", f"ip link set {name} up")


@fault("host", "workload's inner end down for 1 s", cuts="the workload's only link is down", lasts_s=1, takes_s=8)
async def inner_end_down(scene: Scene) -> AsyncIterator[None]:
    await scene.run("wfar", "ip link set eth0 down")
    yield
    await scene.run("wfar", "ip link set eth0 up")


@fault("host", "uplink's address changed for 5 s", cuts="the peers' next hop is gone", lasts_s=5, takes_s=15)
async def address_changed(scene: Scene) -> AsyncIterator[None]:
    """The others forget the MAC that they know for it, which would hide the change for half a minute."""
    await scene.run("far", "ip addr del 192.0.2.12/24 dev eth0; ip addr add 192.0.2.112/24 dev eth0")
    for each in ("near", *REFLECTORS):
        await scene.run(each, "ip neigh flush dev eth0")
    yield
    assert "192.0.2.12/" not in await scene.run("far", "ip addr show dev eth0")
    await scene.run("far", "ip addr del 192.0.2.112/24 dev eth0; ip addr add 192.0.2.12/24 dev eth0")


@fault(
    "host",
    "workload's interface renamed for 1 s",
    lasts_s=1,
    cuts="an endpoint names its interface, and has none of that name",
    leaks="iptables knows names alone: until the agent hears of a new one, what bears it passes for the host's own",
)
async def renamed(scene: Scene) -> AsyncIterator[None]:
    name = await scene.host_end()
    await scene.run("far", rename(name, "other0"))
    yield
    await scene.run("far", rename("other0", name))


def rename(name: str, other: str) -> str:
    return f"ip link set {name} down; ip link set {name} name {other}; ip link set {other} up"


@fault("host", "workload's interface made anew within 1 ms", cuts="the workload's link is another one", takes_s=8)
async def recreated(scene: Scene) -> AsyncIterator[None]:
    name = await scene.host_end()
    routes = await scene.run("wfar", "ip route show")
    link = await scene.run("wfar", "ip -o link show eth0")
    mac = link.split("link/ether ")[1].split()[0]
    inside = scene.layout.namespace("wfar")
    lines = [f"link del {name}", f"link add {name} type veth peer name eth0 netns {inside}", f"link set {name} up"]
    batch = scene.disk / "batch"
    batch.write_text("\n".join(lines))
    await scene.run("far", f"ip -batch {batch}")
    ordered = sorted(routes.splitlines(), key=lambda line: line.startswith("default"))
    commands = [f"ip link set eth0 address {mac} up", f"ip addr add {FAR}/32 dev eth0"]
    await scene.run("wfar", "; ".join([*commands, *(f"ip route add {line}" for line in ordered)]))
    yield


@fault("host", "clock of the daemons an hour ahead, then two behind", lasts_s=2, takes_s=15)
async def clock_jumps(scene: Scene) -> AsyncIterator[None]:
    """Of the machine's clock it cannot be: that one is everybody's. A library between them and libc jumps."""
    library, offset = scene.disk / "clock.so", scene.disk / "offset"
    await scene.run("far", f"cc -shared -fPIC -O2 -o {library} {Path(__file__).with_name('clock.c')}")
    offset.write_bytes(bytes(8))
    with environment(LD_PRELOAD=str(library), CLOCK_OFFSET=str(offset)):
        await restart_daemons(scene)
    await scene.whole()
    for seconds in (3600, -7200):
        with offset.open("r+b") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))
        await asyncio.sleep(1)
    yield
    with offset.open("r+b") as file:
        file.write(bytes(8))
    await scene.whole()
    await restart_daemons(scene)


async def restart_daemons(scene: Scene) -> None:
    for program, start in (("agent", start_agent), ("bird", start_bird)):
        scene.end("far", program, signal.SIGKILL)
        await start(scene.layout, "far")


@fault("host", "100 % load beside it for 10 s", lasts_s=10, takes_s=15)
async def load(scene: Scene) -> AsyncIterator[None]:
    count = 2 * (os.cpu_count() or 1)
    busy = [await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass") for _ in range(count)]
    yield
    for process in busy:
        process.kill()
        await process.wait()


@fault("host", "agent out of file descriptors for 5 s", lasts_s=5, takes_s=10)
async def descriptors(scene: Scene) -> AsyncIterator[None]:
    pid = scene.process("far", "agent").pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))
    yield
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@fault("host", "full /run, full disk of the store and of the state for 5 s", lasts_s=5, takes_s=12)
async def full_disk(scene: Scene) -> AsyncIterator[None]:
    ballast = scene.disk / "ballast"
    await scene.run("far", f"dd if=/dev/zero of={ballast} bs=1M 2>&-", check=False)
    yield
    ballast.unlink()
    for machine in scene.lab.etcd:  # etcd itself ends when it cannot write
        if not any(
            each.mark.member == machine.name and each.mark.program == "etcd" for each in running(scene.lab.name)
        ):
            await etcd.start(scene.lab, scene.layout, machine.name)
