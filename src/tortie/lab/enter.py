"""Running commands inside a lab's members: in a namespace, or in a QEMU guest over its serial line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from tortie.lab import guest, host
from tortie.lab.layout import FABRIC, Layout
from tortie.lab.process import LabError, Mark, environment, inside
from tortie.lab.topology import Topology, is_qemu


class Member:
    """A member of a lab that is up; `LabError` names what there is when there is none of that name."""

    def __init__(self, topology: Topology, name: str) -> None:
        known = (*topology.members(), FABRIC)
        if name not in known:
            raise LabError(f"lab {topology.name} has no {name}; there are {', '.join(known)}")
        self.name = name
        self.layout = Layout(topology.name)
        self.is_guest = is_qemu(topology.workload(name))
        self.interface = _first_interface(topology, name)
        self._settings = (
            host.environment(self.layout, topology, name) if name in {one.name for one in topology.hosts} else {}
        )

    async def run(self, argv: Sequence[str], timeout_s: float = 60) -> guest.Output:
        """Runs a command to its end, whatever its exit code; standard error is part of the output."""
        if self.is_guest:
            return await guest.run_in_guest(self.layout, self.name, argv, timeout_s)
        process = await asyncio.create_subprocess_exec(
            *inside(self.layout.namespace(self.name), *argv),
            env=self._environment("run"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(timeout_s):
                output, _ = await process.communicate()
        except TimeoutError:
            raise LabError(f"{self.name}: {' '.join(argv)}: no end after {timeout_s:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return guest.Output(process.returncode, output.decode(errors="replace"))

    def become(self, argv: Sequence[str]) -> None:
        """Replaces this process by the command inside a namespace, with this terminal; returns never."""
        if self.is_guest:
            raise LabError(f"{self.name} is a QEMU guest: it has no namespace to enter")
        command = inside(self.layout.namespace(self.name), *argv)
        os.execvpe(command[0], command, self._environment("exec"))

    def _environment(self, program: str) -> dict[str, str]:
        return environment(Mark(self.layout.lab, self.name, program), self._settings)


def _first_interface(topology: Topology, member: str) -> str:
    if member == FABRIC:
        return f"br-{topology.subnets[0].name}"
    if topology.router and member == topology.router.name:
        subnet = topology.subnet_of(topology.router.addresses[0])
        assert subnet is not None
        return f"to-{subnet.name}"
    return "eth0"
