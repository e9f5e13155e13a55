"""A lab's life without tortie's own daemons: up, use, down, and down after every kind of accident."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.netns.lab.conftest import traces
from tortie.kernel import libc, netns
from tortie.lab import fabric, topology
from tortie.lab.down import down, labs
from tortie.lab.enter import Member
from tortie.lab.layout import Layout, existing_labs
from tortie.lab.process import LabError, Mark, exclusive, inside, running, start, wait_until
from tortie.lab.state import load, read_state
from tortie.lab.topology import Topology
from tortie.lab.up import up

TOPOLOGY = """
name: any
subnets:
  - {name: left, prefixes: [192.0.2.0/24, "2001:db8:1::/64"]}
  - {name: right, prefixes: [198.51.100.0/24, "2001:db8:2::/64"]}
router: {name: router, addresses: [192.0.2.1, "2001:db8:1::1", 198.51.100.1, "2001:db8:2::1"], bgp: {peers: []}}
machines:
  - {name: a, addresses: [192.0.2.10, "2001:db8:1::10"]}
  - {name: b, addresses: [198.51.100.10, "2001:db8:2::10"]}
"""

needs_bird = pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed")


def named(name: str, text: str = TOPOLOGY) -> Topology:
    return topology.renamed(topology.parse(text, "test"), name)


async def bring_up(name: str, text: str = TOPOLOGY) -> Topology:
    wanted = named(name, text)
    assert await up(wanted, print, wait_s=5) == {}
    return wanted


def start_cli(*arguments: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "tortie", "lab", *arguments]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


@needs_bird
async def test_machines_reach_each_other_through_the_router_at_once(lab_name: str) -> None:
    wanted = await bring_up(lab_name)
    for address in ("198.51.100.10", "2001:db8:2::10"):
        # The first packet already: nothing of the network may come up only after `up` said that it is.
        code, text = await Member(wanted, "a").run(["ping", "-n", "-c", "1", "-W", "1", address])
        assert code == 0, text
        assert "ttl=63" in text


@needs_bird
async def test_down_leaves_nothing(lab_name: str) -> None:
    await bring_up(lab_name)
    assert len(traces(lab_name)) > 4
    assert lab_name in labs()
    assert down(lab_name)
    assert traces(lab_name) == []
    assert not down(lab_name)
    assert lab_name not in labs()


@needs_bird
async def test_labs_stand_side_by_side_and_fall_alone(lab_name: str) -> None:
    other = f"{lab_name}b"
    try:
        await asyncio.gather(bring_up(lab_name), bring_up(other))
        down(lab_name)
        assert traces(lab_name) == []
        code, text = await Member(load(other), "b").run(["ping", "-n", "-c", "1", "-W", "1", "192.0.2.10"])
        assert code == 0, text
    finally:
        down(other)
    assert traces(other) == []


@needs_bird
async def test_a_second_up_changes_nothing_and_says_what_to_do(lab_name: str) -> None:
    await bring_up(lab_name)
    before = traces(lab_name)
    with pytest.raises(LabError, match=f"tortie lab down {lab_name}"):
        await up(named(lab_name), print, wait_s=0)
    assert traces(lab_name) == before


async def test_an_up_that_fails_leaves_nothing_and_shows_why(
    lab_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bird"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(LabError, match=r"(?s)^router: bird ended at once; .*/bird\.log ends:\nout of order$"):
        await up(named(lab_name), print, wait_s=0)
    assert traces(lab_name) == []


async def test_a_network_that_cannot_be_made_is_one_error(lab_name: str) -> None:
    layout = Layout(lab_name)
    members = ("a", "b")
    commands = fabric.Commands(
        across=[f"netns add {layout.namespace(member)}" for member in members],
        within={member: ["link set lo up", "link set nothing up"] for member in members},
    )
    with pytest.raises(LabError, match=r'(?s)^[ab]: nsenter .*Cannot find device "nothing"'):
        await fabric.apply(commands, layout)
    assert running(lab_name) == []
    down(lab_name)
    assert traces(lab_name) == []


async def test_ctrl_c_during_up_leaves_nothing(lab_name: str, tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(topology.render(named(lab_name)))
    process = start_cli("up", str(file))
    assert process.stdout is not None
    process.stdout.readline()  # it is at work
    process.send_signal(signal.SIGINT)
    process.stdout.close()
    await asyncio.to_thread(process.wait, 20)
    assert traces(lab_name) == [] or process.returncode == 0  # a quick one was already through
    down(lab_name)


@pytest.mark.parametrize("delay_ms", [0, 5, 10, 15, 20, 30, 40, 60])
async def test_a_killed_up_is_removed_whole(lab_name: str, tmp_path: Path, delay_ms: int) -> None:
    """From its first line on, at different moments of its work."""
    file = tmp_path / "lab.yaml"
    file.write_text(topology.render(named(lab_name)))
    process = start_cli("up", str(file))
    assert process.stdout is not None
    process.stdout.readline()
    await asyncio.sleep(delay_ms / 1000)  # the moment of the accident: nothing is waited for
    process.kill()
    # At once, as somebody would who brings it up again: its children may still be at work.
    await wait_until(lambda: removed(lab_name), 5)
    assert traces(lab_name) == []
    process.stdout.close()
    process.wait()
    await asyncio.sleep(0.2)  # whoever escaped shows now
    assert traces(lab_name) == []


@needs_bird
@pytest.mark.parametrize("lines", [1, 2, 3], ids=["network", "daemons", "workloads"])
async def test_a_killed_up_with_agents_is_removed_whole(lab_name: str, lines: int) -> None:
    """Killed when it has begun each of its stages: daemons, mounts, pumps and attached workloads go too."""
    process = start_cli("up", "classic", "--name", lab_name)
    assert process.stdout is not None
    for _ in range(lines):
        assert await asyncio.to_thread(process.stdout.readline)
    await asyncio.sleep(0.3)  # into the stage
    process.kill()
    assert await wait_until(lambda: removed(lab_name), 5)
    assert traces(lab_name) == []
    process.stdout.close()
    process.wait()


def removed(name: str) -> bool:
    """False while the kernel still holds the lock for a process that is dying."""
    try:
        down(name)
    except LabError:
        return False
    return True


def test_down_finds_what_a_crash_left_of_each_kind(lab_name: str) -> None:
    layout = Layout(lab_name)
    bpffs = layout.member("h").bpffs
    bpffs.mkdir(parents=True)
    libc.mount("bpf", str(bpffs), "bpf")
    netns.create(layout.namespace("h"))
    layout.namespace_path("half").touch()  # a namespace whose making was cut short
    asyncio.run(start(inside(layout.namespace("h"), "sleep", "60"), Mark(lab_name, "h", "agent"), bpffs.parent / "log"))
    assert len(traces(lab_name)) >= 5
    assert down(lab_name)
    assert traces(lab_name) == []


def test_down_finds_a_lab_by_a_namespace_alone(lab_name: str) -> None:
    netns.create(Layout(lab_name).namespace("h"))
    assert lab_name in labs()
    down(lab_name)
    assert lab_name not in existing_labs()


def test_down_touches_no_namespace_of_a_lab_whose_name_begins_alike(lab_name: str) -> None:
    other = f"{lab_name}b"
    netns.create(Layout(other).namespace("h"))
    try:
        assert not down(lab_name)
        assert traces(other) == [*traces(other)] != []
    finally:
        down(other)


def test_down_refuses_while_another_command_builds(lab_name: str) -> None:
    with exclusive(lab_name), pytest.raises(LabError, match="another command"):
        down(lab_name)


@needs_bird
async def test_state_names_what_does_not_run(lab_name: str) -> None:
    await bring_up(lab_name)
    state = await read_state(lab_name)
    assert state.well
    (bird,) = running(lab_name)
    os.kill(bird.pid, signal.SIGKILL)
    assert await wait_until(lambda: running(lab_name) == [], 5)
    state = await read_state(lab_name)
    assert not state.well
    assert [member.problems for member in state.members] == [["bird does not run"]]


@needs_bird
async def test_exec_passes_output_and_exit_code(lab_name: str) -> None:
    wanted = await bring_up(lab_name)
    assert await Member(wanted, "a").run(["sh", "-c", "ip -br addr show eth0 | cut -c1-4; exit 7"]) == (7, "eth0\n")
    with pytest.raises(LabError, match=f"lab {lab_name} has no c; there are router, a, b, fabric"):
        Member(wanted, "c")


@needs_bird
async def test_capture_shows_frames_on_the_bridge(lab_name: str) -> None:
    wanted = await bring_up(lab_name)
    process = start_cli("capture", lab_name, "fabric", "-c", "1", "icmp")
    assert process.stdout is not None
    line = ""
    while not line:  # tcpdump does not tell its output that it listens: ping until it has seen one
        await Member(wanted, "a").run(["ping", "-n", "-c", "1", "-W", "1", "198.51.100.10"])
        if process.poll() is not None:
            line = process.stdout.readline()
    assert "ethertype IPv4" in line
    assert "192.0.2.10 > 198.51.100.10: ICMP echo request" in line
    process.stdout.close()
