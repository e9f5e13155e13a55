"""The client against a server that misbehaves in every way BIRD, or something that is not BIRD, might."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tortie.bgp import control
from tortie.bgp.control import Control, Unreachable
from tortie.errors import BirdError

Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GREETING = b"0001 BIRD 2.0.12 ready.\n"


@asynccontextmanager
async def serving(path: Path, answer: Server) -> AsyncIterator[Control]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except ConnectionError:
            pass  # the client gave up on us, as it should
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield Control(path)
    finally:
        server.close()
        await server.wait_closed()


def saying(*replies: bytes) -> Server:
    """Greets, reads one command, says the replies and closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        await reader.readline()
        for reply in replies:
            writer.write(reply)
            await writer.drain()

    return answer


async def test_a_reply_in_pieces_is_put_together(tmp_path: Path) -> None:
    async with serving(
        tmp_path / "ctl", saying(b"1000-BIRD 2.", b"0.12\n00", b"13 Daemon is up and running\n")
    ) as bird:
        assert (await bird.status()).version == "2.0.12"


async def test_a_log_message_in_between_is_no_reply(tmp_path: Path) -> None:
    async with serving(tmp_path / "ctl", saying(b"+ <INFO> hello\n1000-BIRD 2.0.12\n0013 up\n")) as bird:
        assert (await bird.status()).version == "2.0.12"


async def test_a_refusal_is_told_in_birds_words(tmp_path: Path) -> None:
    async with serving(
        tmp_path / "ctl", saying(b"0002-Reading configuration from x\n8002 x:3:9 syntax error\n")
    ) as bird:
        with pytest.raises(BirdError, match="BIRD refuses `configure`: x:3:9 syntax error"):
            await bird.configure()


async def test_no_socket_means_not_running(tmp_path: Path) -> None:
    path = tmp_path / "ctl"
    with pytest.raises(Unreachable, match=f"BIRD is not running: there is no {path}"):
        await Control(path).status()


async def test_a_socket_that_nobody_serves_means_not_running(tmp_path: Path) -> None:
    path = tmp_path / "ctl"
    async with serving(path, saying()):
        pass
    assert path.exists()
    with pytest.raises(Unreachable, match=f"BIRD is not running: nobody listens at {path}"):
        await Control(path).status()


@pytest.mark.parametrize("said", [b"", b"1000-BIRD 2.0.12\n", b"1000-BIRD 2.0.12\n0013 Daemon is u"])
async def test_an_end_before_the_end_is_unreachable(tmp_path: Path, said: bytes) -> None:
    async with serving(tmp_path / "ctl", saying(said)) as bird:
        with pytest.raises(Unreachable, match="closed the connection"):
            await bird.status()


async def test_silence_is_unreachable_after_the_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "TIMEOUT_S", 0.1)
    gone = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        while await reader.readline():
            pass
        gone.set()

    async with serving(tmp_path / "ctl", hang) as bird:
        with pytest.raises(Unreachable, match=r"did not answer at .*/ctl within 0.1 s"):
            await bird.status()
        await gone.wait()  # the connection is closed


async def test_a_reply_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "LINES_AT_MOST", 1000)

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        while True:
            writer.write(b"1002-more\n")
            await writer.drain()

    async with serving(tmp_path / "ctl", babble) as bird:
        with pytest.raises(BirdError, match="does not end"):
            await bird.status()


@pytest.mark.parametrize("said", [b"x" * 200_000, b"HTTP/1.1 400 Bad Request\r\n"])
async def test_what_is_not_bird_is_an_error_that_names_the_socket(tmp_path: Path, said: bytes) -> None:
    async with serving(tmp_path / "ctl", saying(said)) as bird:
        with pytest.raises(BirdError, match=rf"control socket {tmp_path}/ctl"):
            await bird.status()


async def test_a_path_too_long_for_a_socket_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(BirdError, match=r"control socket .*too long"):
        await Control(tmp_path / ("x" * 120)).status()
