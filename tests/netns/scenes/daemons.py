"""What a test asks of a scene's daemons and traffic: an agent's board, a daemon's end, pings and how many were lost."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tortie.lab.enter import Member
from tortie.lab.layout import Layout
from tortie.lab.process import inside, running
from tortie.lab.topology import Topology


def end(scene: Topology, member: str, program: str, number: int = signal.SIGKILL) -> None:
    """Signals the daemon and returns when its last descriptor is closed, which is later than its memory is gone."""
    found = {each.pid for each in running(scene.name) if each.mark[1:] == (member, program)}
    (daemon,) = (pid for pid in found if _parent(pid) not in found)  # the others are programs that it runs
    descriptor = os.pidfd_open(daemon)
    try:
        signal.pidfd_send_signal(descriptor, number)
        assert select.select([descriptor], [], [], 10)[0], f"{program} does not end"
    finally:
        os.close(descriptor)


def _parent(pid: int) -> int:
    """Of a process that has ended meanwhile, itself: so it is no daemon."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return pid


async def status(scene: Topology, host: str) -> dict[str, Any]:
    """The board of the host's agent."""
    code, output = await Member(scene, host).run(["tortie", "status", "-o", "json"])
    assert code in (0, 1), output
    return dict(json.loads(output))


async def status_when(scene: Topology, host: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The agent's board as soon as it says so."""
    for _ in range(300):
        if holds(board := await status(scene, host)):
            return board
        await asyncio.sleep(0.1)
    raise AssertionError(board)


async def in_sync(scene: Topology, host: str) -> dict[str, Any]:
    """The board of an agent that knows everything and hears of what is new."""
    return await status_when(scene, host, lambda board: bool(board["in_sync"] and board["connected"]))


class Pings:
    """A ping each millisecond from one workload to an address, while the block runs."""

    def __init__(self, scene: Topology, source: str, address: str) -> None:
        namespace = Layout(scene.name).namespace(source)
        self._command = inside(namespace, "ping", "-n", "-i", "0.001", address)
        self.answered = 0
        self.lost = 0

    async def __aenter__(self) -> Pings:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=pipe, limit=1 << 20)
        self._output = asyncio.create_task(self._process.communicate())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        output = (await self._output)[0].decode()
        answers: set[int] = set()
        last = 0
        for number in map(int, re.findall(r"icmp_seq=(\d+) ttl=", output)):
            last += (number - last + 0x8000) % 0x10000 - 0x8000  # it has 16 bits
            answers.add(last)
        # The last one may have been on its way when the ping ended: only gaps are losses.
        self.answered, self.lost = len(answers), max(answers, default=0) - len(answers)
        assert self.answered, output[-2000:]
