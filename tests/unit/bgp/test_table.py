"""The sink against a BIRD that loses reloads, refuses texts or is not there; the real one is in tests/netns/bgp."""

from __future__ import annotations

import asyncio
import resource
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.bgp.intents import A4, B4, C4, intent, peer
from tortie.bgp import Bgp, Host, Unreachable, make, table, write_initial
from tortie.bgp.render import mark_of, render_initial
from tortie.errors import BirdError

WANTED = intent(A4, peer(B4, local=A4))
OTHER = intent(A4, peer(B4, local=A4), peer(C4, local=A4))


class FakeBird:
    """Speaks as much of BIRD's language as the sink does, and runs the text that it read last."""

    def __init__(self, config: Path, socket: Path) -> None:
        self.config = config
        self.socket = socket
        self.text = ""
        self.reloads = 0
        self.lose_reloads = 0  # so many are answered and forgotten
        self.forget_protocols = 0  # so many replies list none
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.socket)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"0001 BIRD 2.0.12 ready.\n")
        command = (await reader.readline()).decode().strip()
        writer.write(self._answer(command).encode())
        await writer.drain()
        writer.close()

    def _answer(self, command: str) -> str:
        match command.split():
            case ["configure"]:
                self.reloads += 1
                if self.lose_reloads:
                    self.lose_reloads -= 1
                else:
                    self.text = self.config.read_text()
                return f"0002-Reading configuration from {self.config}\n0003 Reconfigured\n"
            case ["show", "symbols", name]:
                return f"1010 {name}\t{'constant' if f'define {name} ' in self.text else 'undefined'}\n"
            case ["show", "protocols", "all"]:
                if self.forget_protocols:
                    self.forget_protocols -= 1
                    return "2002-Name\n0000 \n"
                names = [line.split()[2] for line in self.text.splitlines() if line.startswith("protocol bgp ")]
                rows = "".join(f"1002-{name} BGP --- up 2026-01-01 00:00:00.000  Established\n" for name in names)
                return f"2002-Name\n{rows}0000 \n"
            case ["show", "status"]:
                return "1000-BIRD 2.0.12\n1011-Router ID is 10.0.0.1\n0013 Daemon is up and running\n"
        return "9001 syntax error\n"


@pytest.fixture
async def bird(tmp_path: Path) -> AsyncIterator[FakeBird]:
    fake = FakeBird(tmp_path / "bird.conf", tmp_path / "bird.ctl")
    await fake.start()
    yield fake
    await fake.stop()


def program(directory: Path, script: str) -> str:
    """A stand-in for the program `bird -p`."""
    path = directory / "bird"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def sink(bird: FakeBird, script: str = "exit 0") -> Bgp:
    directory = bird.config.parent
    return make(bird.config, bird.socket, Host(), secrets=directory, bird=program(directory, script))


async def test_writes_and_reloads_once(bird: FakeBird) -> None:
    bgp = sink(bird)
    assert (await bgp.apply(WANTED)).reloaded
    assert not (await bgp.apply(WANTED)).reloaded
    assert (bird.reloads, bird.text) == (1, bird.config.read_text())
    assert sorted(path.name for path in bird.config.parent.iterdir()) == ["bird", "bird.conf", "bird.ctl"]


async def test_only_bird_and_its_group_may_read_the_file(bird: FakeBird) -> None:
    await sink(bird).apply(WANTED)
    status = bird.config.stat()
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert status.st_gid == bird.config.parent.stat().st_gid


async def test_a_lost_reload_is_found_and_repeated(bird: FakeBird) -> None:
    bird.lose_reloads = 2
    assert (await sink(bird).apply(WANTED)).reloaded
    assert (bird.reloads, bird.text) == (3, bird.config.read_text())


async def test_a_reload_without_the_sessions_is_repeated(bird: FakeBird) -> None:
    bird.forget_protocols = 1
    await sink(bird).apply(WANTED)
    assert bird.reloads == 2


async def test_reloads_that_are_always_lost_are_an_error_and_tried_again_later(
    bird: FakeBird, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "RELOAD_WAITS_S", (0.01, 0.02))
    bird.lose_reloads = 2
    bgp = sink(bird)
    with pytest.raises(BirdError, match="does not run what"):
        await bgp.apply(WANTED)
    assert not (await bgp.state()).configured
    await bgp.apply(WANTED)
    assert (await bgp.state()).configured


async def test_a_refused_text_is_never_installed_not_even_where_there_is_none(bird: FakeBird) -> None:
    with pytest.raises(BirdError, match=r"the old one stays in force: bird\.conf:3:7 syntax error"):
        await sink(bird, "echo 'bird.conf:3:7 syntax error' >&2; exit 1").apply(WANTED)
    assert not bird.config.exists()
    assert bird.reloads == 0


async def test_a_refused_text_leaves_the_old_one(bird: FakeBird) -> None:
    await sink(bird).apply(WANTED)
    text = bird.config.read_text()
    with pytest.raises(BirdError, match="exit status 1"):
        await sink(bird, "exit 1").apply(OTHER)
    assert (bird.config.read_text(), bird.text, bird.reloads) == (text, text, 1)


async def test_what_is_checked_is_what_is_installed(bird: FakeBird) -> None:
    seen = bird.config.with_name("seen")
    await sink(bird, f'test "$1 $2" = "-p -c" && cp "$3" {seen}').apply(WANTED)
    assert seen.read_text() == bird.config.read_text()


async def test_a_check_that_does_not_end_is_an_error(bird: FakeBird, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "CHECK_TIMEOUT_S", 0.1)
    with pytest.raises(BirdError, match=r"cannot check its new configuration.*no end after 0.1 s"):
        await sink(bird, "exec sleep 60").apply(WANTED)
    assert not bird.config.exists()


async def test_without_the_program_the_error_says_what_to_install(bird: FakeBird) -> None:
    bgp = make(bird.config, bird.socket, Host(), bird="/nonexistent/bird")
    with pytest.raises(BirdError, match=r"is the package bird2 there\? /nonexistent/bird"):
        await bgp.apply(WANTED)


async def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    bgp = make(tmp_path / "gone" / "bird.conf", tmp_path / "ctl", Host(), bird="true")
    with pytest.raises(BirdError, match=rf"cannot be written: .*{tmp_path}/gone"):
        await bgp.apply(WANTED)


async def test_bird_not_running_is_told_after_the_file_is_in_place(bird: FakeBird) -> None:
    await bird.stop()
    with pytest.raises(Unreachable):
        await sink(bird).apply(WANTED)
    assert mark_of(bird.config.read_text())


async def test_state_of_a_bird_that_is_gone(bird: FakeBird) -> None:
    bgp = sink(bird)
    await bgp.apply(WANTED)
    await bird.stop()
    state = await bgp.state()
    assert (state.status, state.sessions, state.configured) == (None, (), False)
    assert state.problem.startswith("BIRD is not running")


def test_initial_file_is_written_only_where_there_is_none(tmp_path: Path) -> None:
    config = tmp_path / "bird.conf"
    assert write_initial(config)
    assert (config.read_text(), stat.S_IMODE(config.stat().st_mode)) == (render_initial(), 0o640)
    config.write_text("mine")
    assert not write_initial(config)
    assert config.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["bird.conf"]


async def test_without_an_agent_peers_are_told_of_nothing_until_it_applies_its_intent_again(bird: FakeBird) -> None:
    await sink(bird).apply(WANTED)
    for _ in range(2):
        await sink(bird).withdraw()
        assert "export none;" in bird.text
    assert bird.reloads == 2
    assert (await sink(bird).apply(WANTED)).reloaded
    assert "export none;" not in bird.text


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_without_a_free_descriptor_it_is_an_error_that_may_be_over_later(bird: FakeBird) -> None:
    bgp = sink(bird)
    await bgp.apply(WANTED)
    with no_descriptor_left():
        for change in (bgp.apply(WANTED), bgp.withdraw(), bgp.look_at_kernel(), bgp.ports()):
            with pytest.raises(BirdError, match="Too many open files"):
                await change
        assert "Too many open files" in (await bgp.state()).problem
    assert not (await bgp.apply(WANTED)).reloaded


async def test_what_is_not_ours_is_not_changed(bird: FakeBird) -> None:
    bird.config.write_text("router id 1.2.3.4;\n")
    with pytest.raises(BirdError, match="not a configuration of tortie"):
        await sink(bird).withdraw()
    assert bird.config.read_text() == "router id 1.2.3.4;\n"
