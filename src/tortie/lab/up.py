"""Building a lab: resources, network, daemons, workloads, and the wait until every kernel knows every workload.

What does not depend on each other goes side by side. A failure, or Ctrl-C, removes what was built; after a
SIGKILL `down` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiohttp

from tortie.kernel import libc
from tortie.kernel.failure import mapped
from tortie.lab import cluster, etcd, fabric, guest, host, pump, router, routes
from tortie.lab.down import remove
from tortie.lab.layout import Layout
from tortie.lab.process import LabError, Mark, exclusive, start, together, wait_until
from tortie.lab.topology import Topology, Workload, is_qemu
from tortie.lab.topology import render as render_topology
from tortie.model.resource import Resource

Progress = Callable[[str], None]

ATTACH_TIMEOUT_S = 60.0


async def up(topology: Topology, progress: Progress, wait_s: float) -> dict[str, list[str]]:
    """Builds the lab and returns the routes that were still missing after `wait_s`, by member: none when all is well.

    Raises `LabError` when a lab of this name is there, or a part cannot be built.
    """
    layout = Layout(topology.name)
    resources = cluster.resources(topology)
    if any(is_qemu(workload) for workload in topology.workloads) and (what := guest.missing()):
        raise LabError(what)
    if topology.etcd and (what := etcd.missing()):
        raise LabError(what)
    with exclusive(topology.name):
        try:
            layout.directory.mkdir(parents=True)
        except FileExistsError:
            raise LabError(
                f"lab {topology.name} exists, or a crash left parts of it: tortie lab down {topology.name}"
            ) from None
        try:
            await _build(topology, layout, resources, progress)
            await wait_until(lambda: not routes.missing(layout, topology), wait_s)
            return routes.missing(layout, topology)
        except BaseException:
            remove(layout)
            raise


async def _build(topology: Topology, layout: Layout, resources: list[Resource[Any]], progress: Progress) -> None:
    layout.topology.write_text(render_topology(topology))
    for member in topology.members():
        layout.member(member).directory.mkdir()
    for one in topology.hosts:
        host.write_files(layout, topology, one.name)
    progress(f"network: {len(topology.members())} namespaces, {len(topology.subnets)} subnets")
    await fabric.apply(fabric.render(topology, layout), layout)
    if topology.etcd:
        progress(f"datastore: etcd on {', '.join(machine.name for machine in topology.etcd)}")
        await together(etcd.start(topology, layout, machine.name) for machine in topology.etcd)
    await cluster.write(topology, layout, resources)
    progress(f"daemons: BIRD and an agent on {', '.join(one.name for one in topology.hosts) or 'no host'}")
    await together([*(_start_host(layout, one.name) for one in topology.hosts), _start_router(topology, layout)])
    progress(f"workloads: {', '.join(workload.name for workload in topology.workloads) or 'none'}")
    await together(_start_workload(layout, workload) for workload in topology.workloads)


async def _start_host(layout: Layout, name: str) -> None:
    bpffs = layout.member(name).bpffs
    with mapped(f"mount a bpf filesystem on {bpffs}"):
        libc.mount("bpf", str(bpffs), "bpf")
    await host.start_bird(layout, name)
    await host.start_agent(layout, name)


async def _start_router(topology: Topology, layout: Layout) -> None:
    if topology.router is None:
        return
    name = topology.router.name
    fabric.forward(layout, name)
    if topology.router.bgp:
        files = layout.member(name)
        files.run_dir.mkdir()
        files.bird_config.write_text(router.render(topology, topology.router))
        await host.start_bird(layout, name)


async def _start_workload(layout: Layout, workload: Workload) -> None:
    if is_qemu(workload):
        # The agent routes to the guest as soon as its TAP has a carrier; booting goes on meanwhile.
        await together([guest.boot(layout, workload), attach(layout, workload)])
        return
    if workload.tap:
        await start_pump(layout, workload)
    await attach(layout, workload)


async def start_pump(layout: Layout, workload: Workload) -> None:
    """Starts the process that stands in for the virtual machine behind the workload's TAP."""
    assert workload.tap is not None
    near, far = layout.namespace(workload.host), layout.namespace(workload.name)
    await start(
        pump.command(near, workload.tap.interface, far, "eth0"),
        Mark(layout.lab, workload.name, "pump"),
        layout.member(workload.name).log("pump"),
    )


async def attach(layout: Layout, workload: Workload) -> None:
    """Asks the agent of the workload's host to attach it; returns when the agent has verified the route."""
    request: dict[str, Any] = {
        "name": workload.name,
        "addresses": list(workload.addresses),
        "labels": dict(workload.labels),
        "wait": True,
        "timeout_s": ATTACH_TIMEOUT_S,
    }
    if workload.tap:
        request |= {"tap": workload.tap.interface, "mac": workload.mac}
    else:
        request |= {"netns": str(layout.namespace_path(workload.name))}
    connector = aiohttp.UnixConnector(str(layout.member(workload.host).agent_socket))
    timeout = aiohttp.ClientTimeout(total=ATTACH_TIMEOUT_S + 10)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.post("http://agent/v1/attach", json=request) as response,
        ):
            reason = "" if response.status == 200 else str((await response.json())["error"])
    except (aiohttp.ClientError, TimeoutError) as error:
        reason = f"its agent does not answer: {error!r}, see {layout.member(workload.host).log('agent')}"
    if reason:
        raise LabError(f"{workload.name}: {workload.host} does not attach it: {reason}")
