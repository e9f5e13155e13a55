"""Processes of a lab: marked, found, ended, and nobody else's."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tortie.lab.process import (
    LabError,
    Mark,
    Process,
    alive,
    end,
    ended,
    environment,
    exclusive,
    kill,
    run,
    running,
    start,
    wait_until,
)


@pytest.fixture
def lab() -> Iterator[str]:
    """The name of a lab that nobody else uses."""
    name = f"t{secrets.token_hex(4)}"
    yield name
    kill(name)


def programs(lab: str) -> list[str]:
    return [process.mark.program for process in running(lab)]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def command_of(pid: int) -> str:
    return " ".join(Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1])


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process of somebody else."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


async def test_what_was_started_outlives_its_starter_and_is_found_by_its_mark(lab: str, tmp_path: Path) -> None:
    await start(["sleep", "60"], Mark(lab, "a", "agent"), tmp_path / "log")
    await start(["sleep", "60"], Mark(lab, "a", "bird"), tmp_path / "log")
    assert await wait_until(lambda: sorted(programs(lab)) == ["agent", "bird"], 5)
    for process in running(lab):
        assert parent_of(process.pid) != os.getpid()


async def test_what_was_started_is_not_taken_for_what_one_before_it_left(lab: str, tmp_path: Path) -> None:
    mark, log = Mark(lab, "a", "agent"), tmp_path / "log"
    first = await start(["sh", "-c", "sleep 60 & exec sleep 60"], mark, log)
    assert await wait_until(lambda: len(running(lab)) == 2, 5)
    end(first)
    second = await start(["sleep", "61"], mark, log)
    assert len(running(lab)) == 2
    assert await wait_until(lambda: command_of(second.pid) == "sleep 61", 5)


async def test_kill_ends_children_too_and_only_the_lab_s_own(
    lab: str, tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    await start(["sh", "-c", "sleep 60 & sleep 60"], Mark(lab, "a", "agent"), tmp_path / "log")
    assert await wait_until(lambda: len(programs(lab)) == 3, 5)
    assert kill(lab) == 3
    assert running(lab) == []
    assert stranger.poll() is None


async def test_kill_outruns_a_process_that_keeps_starting_others(lab: str, tmp_path: Path) -> None:
    await start(["sh", "-c", "while true; do sleep 60 & sleep 0.005; done"], Mark(lab, "a", "x"), tmp_path / "log")
    assert await wait_until(lambda: len(programs(lab)) > 5, 5)
    kill(lab)
    assert running(lab) == []


def test_a_start_leaves_nothing_open(lab: str, tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    before = set(descriptors.iterdir())
    for _ in range(20):  # each in an event loop that ends at once
        asyncio.run(start(["sleep", "60"], Mark(lab, "a", "agent"), tmp_path / "log"))
        gc.collect()  # what was not closed warns when it is found, and a warning fails the test
    assert set(descriptors.iterdir()) == before


async def test_without_a_log_nothing_is_started(lab: str, tmp_path: Path) -> None:
    log = tmp_path / "nowhere" / "log"
    with pytest.raises(LabError, match=f"^a: agent is not started: {log} cannot be written$"):
        await start(["sleep", "60"], Mark(lab, "a", "agent"), log)
    assert running(lab) == []


async def test_output_goes_to_the_log(lab: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    await start(["sh", "-c", "echo out; echo err >&2; sleep 60"], Mark(lab, "a", "agent"), log)
    assert await wait_until(lambda: log.read_text() == "out\nerr\n", 5)


async def test_the_error_for_a_process_that_ended_shows_its_last_words(lab: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = await start(["sh", "-c", "echo no such luck; sleep 0.1"], Mark(lab, "a", "agent"), log)
    assert await wait_until(lambda: not alive(process), 5)
    assert str(ended(process.mark, log)) == f"a: agent ended at once; {log} ends:\nno such luck"


async def test_a_process_is_found_also_in_the_middle_of_an_exec(lab: str, tmp_path: Path) -> None:
    script = tmp_path / "again"
    script.write_text('#!/bin/sh\nexec "$0"\n')  # does nothing but replace itself
    script.chmod(0o755)
    process = await start([str(script)], Mark(lab, "a", "agent"), tmp_path / "log")
    assert all(alive(process) for _ in range(2000))


def test_a_process_lives_however_long_its_exec_takes(lab: str) -> None:
    """Until its end an exec shows no environment, as a program that was given none."""
    with subprocess.Popen(["env", "-i", "sleep", "60"]) as process:
        try:
            environment = Path(f"/proc/{process.pid}/environ")
            assert asyncio.run(wait_until(lambda: not environment.read_bytes(), 5))
            assert alive(Process(process.pid, Mark(lab, "host", "sleep")))
        finally:
            process.kill()
    assert not alive(Process(process.pid, Mark(lab, "host", "sleep")))


async def test_a_failing_command_is_an_error_with_its_own_words(lab: str) -> None:
    with pytest.raises(LabError, match=r"^a: sh -c .*: no such luck$"):
        await run(["sh", "-c", "echo no such luck >&2; exit 3"], Mark(lab, "a", "sh"))


async def test_a_silent_failure_names_the_exit_code(lab: str) -> None:
    with pytest.raises(LabError, match=r"^a: false: exit code 1$"):
        await run(["false"], Mark(lab, "a", "false"))


async def test_a_command_without_end_is_ended(lab: str) -> None:
    with pytest.raises(LabError, match=r"^a: sleep 60: no end after 0\.1 s$"):
        await run(["sleep", "60"], Mark(lab, "a", "sleep"), timeout_s=0.1)
    assert running(lab) == []


async def test_input_reaches_the_command(lab: str) -> None:
    assert await run(["cat"], Mark(lab, "a", "cat"), text="one\ntwo\n") == "one\ntwo\n"


def test_a_lab_is_held_by_one_command_at_a_time(lab: str) -> None:
    with exclusive(lab):
        with pytest.raises(LabError, match="another command"), exclusive(lab):
            pass
        with exclusive(lab + "2"):
            pass
    with exclusive(lab):
        pass


def test_a_killed_holder_leaves_no_lock(lab: str) -> None:
    code = f"from tortie.lab.process import exclusive\nwith exclusive({lab!r}): print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LabError), exclusive(lab):
            pass
        holder.kill()
    deadline = time.monotonic() + 5
    while True:  # the socket is closed by the kernel some moments after the process was waited for
        try:
            with exclusive(lab):
                return
        except LabError:
            assert time.monotonic() < deadline


def test_the_environment_finds_tortie_and_carries_the_mark_but_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORTIE_DATASTORE", "sqlite:///var/lib/somebody/else.db")
    variables = environment(Mark("lab", "a", "x"), {"TORTIE_NODE": "a"})
    assert variables["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert variables["TORTIELAB_MARK"] == "lab/a/x"
    assert variables["TORTIE_NODE"] == "a"
    assert "TORTIE_DATASTORE" not in variables
