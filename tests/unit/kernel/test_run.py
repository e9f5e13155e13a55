"""External commands."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
from pathlib import Path

import pytest

from tortie.kernel.run import CommandFailed, run, run_blocking

PYTHON = sys.executable


def open_files() -> set[str]:
    """The numbers of this process's open descriptors."""
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def wait_dead(pid: int) -> None:
    """Returns when the process has ended, fails if it lives on."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([descriptor], [], [], 5)
    finally:
        os.close(descriptor)
    assert ended, f"process {pid} is still running"


async def test_returns_standard_output_alone() -> None:
    assert await run(["sh", "-c", "echo out; echo err >&2"], timeout_s=10) == "out\n"


async def test_feeds_standard_input() -> None:
    assert await run(["cat"], timeout_s=10, stdin="süß") == "süß"


async def test_a_command_that_does_not_read_is_no_failure() -> None:
    assert await run(["true"], timeout_s=10, stdin="x" * 1_000_000) == ""


async def test_a_failure_tells_status_and_words() -> None:
    with pytest.raises(CommandFailed, match=r"^sh -c .*: exit status 3: to out\nto err$") as caught:
        await run(["sh", "-c", "echo to out; echo to err >&2; exit 3"], timeout_s=10)
    assert caught.value.status == 3
    assert caught.value.output == "to out\nto err\n"


async def test_a_missing_command_is_the_same_error() -> None:
    with pytest.raises(CommandFailed, match=r"^/no/such: No such file or directory$") as caught:
        await run(["/no/such"], timeout_s=10)
    assert caught.value.status is None


async def test_death_by_signal_is_told() -> None:
    with pytest.raises(CommandFailed, match="killed by signal 15"):
        await run(["sh", "-c", "kill $$"], timeout_s=10)


async def test_late_is_killed_with_its_children(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with pytest.raises(CommandFailed, match=r"no end after 1 s"):
        async with asyncio.timeout(10):
            await run(["sh", "-c", f"sleep 100 & echo $! > {file}; wait"], timeout_s=1)
    wait_dead(int(file.read_text()))


async def test_a_daemon_that_keeps_the_pipes_does_not_keep_us(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    before = open_files()
    daemon = f"setsid sh -c 'echo $$ > {file}; exec sleep 100' & wait"
    with pytest.raises(CommandFailed, match=r"no end after 1 s"):
        async with asyncio.timeout(10):
            await run(["sh", "-c", daemon], timeout_s=1)
    assert open_files() == before, "nor does it keep our ends open"
    pid = int(file.read_text())
    os.kill(pid, signal.SIGKILL)
    wait_dead(pid)


async def test_a_cancelled_caller_leaves_nothing_running(tmp_path: Path) -> None:
    fifo = tmp_path / "pid"
    os.mkfifo(fifo)
    task = asyncio.create_task(run(["sh", "-c", f"echo $$ > {fifo}; exec sleep 100"], timeout_s=100))
    pid = int(await asyncio.to_thread(fifo.read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    wait_dead(pid)


async def test_too_much_output_is_a_failure() -> None:
    before = open_files()
    with pytest.raises(CommandFailed, match="more than 1000 bytes"):
        await run([PYTHON, "-c", "while True: print('x' * 100)"], timeout_s=10, output_bytes=1000)
    assert open_files() == before, "the pipe that nobody read is closed"
    assert len(await run([PYTHON, "-c", "print('x' * 999)"], timeout_s=10, output_bytes=1000)) == 1000


async def test_the_environment_is_ours_and_what_is_added() -> None:
    command = ["sh", "-c", 'echo "$ADDED, ${PATH:+ours}"']
    assert await run(command, timeout_s=10, environment={"ADDED": "added"}) == "added, ours\n"


def test_without_an_event_loop() -> None:
    assert run_blocking(["sh", "-c", "echo $PPID"], timeout_s=10) == f"{os.getpid()}\n"
