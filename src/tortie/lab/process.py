"""The processes of a lab: started with a mark in their environment, found again by it, ended by it.

There are no pid files: what runs is asked of the kernel, so nothing can be stale. The mark is inherited, so
whatever a lab's process starts belongs to the lab too, and only such processes are ever signalled.

Invariant: whoever starts or ends processes of a lab holds `exclusive(lab)`. Its lock is an abstract socket, which
a child shares until its exec, when the mark has become visible: a lab whose lock is free has no unmarked process.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import shlex
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tortie.errors import TortieError
from tortie.kernel import netns

# Not TORTIE_...: every variable of that form is a setting of the agent.
MARK_VARIABLE = "TORTIELAB_MARK"

KILL_TIMEOUT_S = 10.0
EXEC_LOOKS = 20  # a millisecond apart; an exec takes less than one, if the processor is free
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


class LabError(TortieError):
    """A lab cannot be built, found or removed; the message says which part and why."""


class Mark(NamedTuple):
    """What a process is in its lab: `page/node1/agent`."""

    lab: str
    member: str
    program: str

    def __str__(self) -> str:
        return "/".join(self)


class Process(NamedTuple):
    pid: int
    mark: Mark


def environment(mark: Mark, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with the mark; `tortie` is found in it as it is here.

    Settings of tortie are left out: they are those of the machine, or of the host of another lab.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("TORTIE_")}
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    return {**inherited, "PATH": path, **(extra or {}), MARK_VARIABLE: str(mark)}


def inside(namespace: str, *argv: str) -> list[str]:
    """A command in a network namespace and nothing else: `ip netns exec` would hide bpffs behind a new /sys."""
    return ["nsenter", f"--net={netns.named(namespace)}", "--", *argv]


async def run(argv: Sequence[str], mark: Mark, *, text: str = "", timeout_s: float = 60) -> str:
    """Runs a command to its end and returns its output; `LabError` with its own words when it fails."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        env=environment(mark),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, complaint = await process.communicate(text.encode())
    except TimeoutError:
        raise LabError(f"{mark.member}: {shlex.join(argv)}: no end after {timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        words = complaint.decode(errors="replace").strip() or output.decode(errors="replace").strip()
        raise LabError(f"{mark.member}: {shlex.join(argv)}: {words or f'exit code {process.returncode}'}")
    return output.decode(errors="replace")


async def start(argv: Sequence[str], mark: Mark, log: Path) -> Process:
    """Starts a command that outlives us, in a session of its own, with its output appended to `log`."""
    # Its number it tells itself: of those with its mark one may be left by another that was ended before.
    launcher = await asyncio.create_subprocess_exec(
        *("setsid", "--fork", "sh", "-c", 'exec 3>&1 >>"$0" 2>&1; echo $$ >&3; exec "$@" 3>&-', str(log)),
        *argv,
        env=environment(mark),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    # To the end of its output, which the exec of the command brings: a pipe that is left unread stays open.
    number, _ = await launcher.communicate()
    if not number:
        raise LabError(f"{mark.member}: {mark.program} is not started: {log} cannot be written")
    process = Process(int(number), mark)
    if not alive(process):
        raise ended(mark, log)
    return process


async def together(work: Iterable[Awaitable[None]]) -> None:
    """Runs all of it; the first failure stops the rest and is raised as itself."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def alive(process: Process) -> bool:
    """It still runs; a zombie does not. One without an environment is in the middle of an exec, however long that takes
    on a busy machine."""
    try:
        variables = _environment_of(process.pid)
    except _GONE:
        return False
    return not variables or _mark_in(variables) == process.mark


def ended(mark: Mark, log: Path) -> LabError:
    """The error for a process that should run and does not, with the last words of its log."""
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
    return LabError(f"{mark.member}: {mark.program} ended at once; {log} ends:\n{tail}")


async def wait_until(fact: Callable[[], bool], timeout_s: float) -> bool:
    """Waits for a fact that other processes bring about, and returns whether it holds."""
    deadline = time.monotonic() + timeout_s
    while not (holds := fact()) and time.monotonic() < deadline:  # noqa: ASYNC110 - there is no event of it here
        await asyncio.sleep(0.02)
    return holds


def running(lab: str | None = None) -> list[Process]:
    """The processes of a lab, or of all labs, ordered by pid."""
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            mark = _mark_of(int(directory.name))
            if mark and lab in (None, mark.lab):
                found.append(Process(int(directory.name), mark))
    return sorted(found)


def kill(lab: str) -> int:
    """Ends every process of the lab and returns how many there were; returns when the last one is gone."""
    ended = 0
    deadline = time.monotonic() + KILL_TIMEOUT_S
    # Again until none is found: one may have started another between our look and its end.
    while processes := [process for process in running(lab) if process.pid != os.getpid()]:
        if time.monotonic() > deadline:
            names = ", ".join(f"{process.mark} (pid {process.pid})" for process in processes)
            raise LabError(f"lab {lab}: cannot end {names}")
        for process in processes:
            ended += _kill_one(process, deadline)
    return ended


def end(process: Process) -> None:
    """Ends one process and returns when it is gone; one that is gone already, or is not ours any more, is left."""
    _kill_one(process, time.monotonic() + KILL_TIMEOUT_S)


def _kill_one(process: Process, deadline: float) -> bool:
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # The mark is read again under the descriptor: the number may have passed to another process.
        while (mark := _mark_of(process.pid)) is None and alive(process) and time.monotonic() < deadline:
            pass  # in the middle of an exec
        if mark != process.mark:
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        ending = select.poll()  # not select(), which takes no descriptor beyond the first 1,024
        ending.register(descriptor, select.POLLIN)
        ending.poll(1000 * max(0.0, deadline - time.monotonic()))
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def _mark_of(pid: int) -> Mark | None:
    try:
        return _mark_in(_environment_of(pid))
    except _GONE:
        return None


def _mark_in(variables: bytes) -> Mark | None:
    prefix = f"{MARK_VARIABLE}=".encode()
    for variable in variables.split(b"\0"):
        if variable.startswith(prefix):
            parts = variable.removeprefix(prefix).decode(errors="replace").split("/")
            return Mark(*parts) if len(parts) == len(Mark._fields) else None
    return None


def _environment_of(pid: int) -> bytes:
    """Empty for a zombie and a kernel thread; a process in the middle of an exec is waited for."""
    directory = Path(f"/proc/{pid}")
    for _ in range(EXEC_LOOKS):
        if content := (directory / "environ").read_bytes():
            return content
        # An exec drops the old program first and shows the environment of the new one when all of it is laid out
        # (fs/exec.c, fs/binfmt_elf.c). Where there is no program, and never will be, there is no exe either.
        (directory / "exe").readlink()
        time.sleep(0.001)
    return b""


@contextmanager
def exclusive(lab: str) -> Iterator[None]:
    """Holds the lab against other commands that build or remove it; `LabError` when one is at work."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        try:
            lock.bind(f"\0tortie-lab/{lab}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise LabError(f"lab {lab}: another command is building or removing it") from None
        yield
