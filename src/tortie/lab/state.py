"""What a running lab looks like now: read from the kernel, the BIRDs and the topology it was brought up with."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from tortie.lab import host, routes, topology
from tortie.lab.layout import Layout
from tortie.lab.process import LabError, running
from tortie.lab.topology import Topology, Workload, is_qemu


class MemberState(NamedTuple):
    """A host or the router. `problems` is empty when its processes run, its sessions are up and no route is missing."""

    name: str
    addresses: tuple[str, ...]
    processes: dict[str, int]  # program -> pid, of those that run
    sessions: dict[str, str]  # BGP session -> BIRD's word for its state
    problems: list[str]


class WorkloadState(NamedTuple):
    name: str
    host: str
    addresses: tuple[str, ...]
    kind: str
    problems: list[str]


class LabState(NamedTuple):
    topology: Topology
    members: list[MemberState]
    workloads: list[WorkloadState]

    @property
    def well(self) -> bool:
        return not any(part.problems for part in self.members) and not any(part.problems for part in self.workloads)


def load(lab: str) -> Topology:
    """The topology of a lab that is up; `LabError` where there is none."""
    file = Layout(lab).topology
    try:
        return topology.parse(file.read_text(), str(file))
    except FileNotFoundError:
        raise LabError(f"lab {lab} is not up") from None


async def read_state(lab: str) -> LabState:
    layout = Layout(lab)
    wanted = load(lab)
    pids: dict[str, dict[str, int]] = {}
    for process in running(lab):
        pids.setdefault(process.mark.member, {})[process.mark.program] = process.pid
    lacking = routes.missing(layout, wanted)
    programs: dict[str, tuple[str, ...]] = {one.name: ("agent", "bird") for one in wanted.hosts}
    addresses = {one.name: one.addresses for one in wanted.hosts}
    if wanted.router:
        programs[wanted.router.name] = ("bird",) if wanted.router.bgp else ()
        addresses[wanted.router.name] = wanted.router.addresses

    async def member(name: str) -> MemberState:
        here = pids.get(name, {})
        problems = [f"{program} does not run" for program in programs[name] if program not in here]
        sessions = await host.bird_sessions(layout, name) if "bird" in here else {}
        problems += [f"session {session}: {state}" for session, state in sessions.items() if state != "Established"]
        if absent := lacking.get(name):
            problems.append(f"no route to {', '.join(absent)}")
        return MemberState(name, addresses[name], here, sessions, problems)

    members = await asyncio.gather(*(member(name) for name in programs))
    workloads = [_workload(workload, pids.get(workload.name, {})) for workload in wanted.workloads]
    return LabState(wanted, members, workloads)


def _workload(workload: Workload, processes: dict[str, int]) -> WorkloadState:
    if workload.tap is None:
        return WorkloadState(workload.name, workload.host, workload.addresses, "veth", [])
    program = "qemu" if is_qemu(workload) else "pump"
    problems = [] if program in processes else [f"{program} does not run"]
    kind = f"TAP {workload.tap.interface}{', QEMU guest' if is_qemu(workload) else ''}"
    return WorkloadState(workload.name, workload.host, workload.addresses, kind, problems)
