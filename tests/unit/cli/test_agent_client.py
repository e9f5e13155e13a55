"""Talking to the agent: every way in which it can fail is a sentence."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from tests.unit.cli.conftest import FakeAgent, Tortie
from tortie.cli import agent_client
from tortie.cli.agent_client import AgentError, Unreachable
from tortie.errors import UsageError


@pytest.fixture
def path(agent: FakeAgent, tortie: Tortie) -> Path:
    return Path(tortie.environment["TORTIE_RUN_DIR"], "agent.sock")


def test_an_answer(path: Path, agent: FakeAgent) -> None:
    agent.answer("/v1/status", {"node": "n"})
    agent.answer("/v1/attach", {"waiting": ""})
    assert agent_client.get(path, "/v1/status") == {"node": "n"}
    assert agent_client.post(path, "/v1/attach", {"name": "ü"}, 1.0) == {"waiting": ""}
    assert agent.asked == [("/v1/status", None), ("/v1/attach", {"name": "ü"})]


@pytest.mark.parametrize(
    ("status", "kind"), [(400, UsageError), (403, AgentError), (409, AgentError), (503, AgentError)]
)
def test_an_error_of_the_agent_is_its_own_sentence(
    path: Path, agent: FakeAgent, status: int, kind: type[Exception]
) -> None:
    agent.answer("/v1/attach", {"error": "no such tap"}, status)
    with pytest.raises(kind, match=r"^no such tap$"):
        agent_client.post(path, "/v1/attach", {}, 1.0)


@pytest.mark.parametrize(("status", "answer"), [(200, b"<html>"), (404, b"{}"), (500, b"[]"), (200, b"")])
def test_somebody_else_who_answers(path: Path, agent: FakeAgent, status: int, answer: bytes) -> None:
    agent.answers["/v1/status"] = (status, answer)
    with pytest.raises(AgentError, match=f"is not the agent: HTTP {status} without JSON"):
        agent_client.get(path, "/v1/status")


def test_nobody_listens(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with pytest.raises(Unreachable, match=f"no agent answers on {path}: start it with"):
        agent_client.get(path, "/")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(Unreachable, match=f"no agent answers on {path}: start it with"):
        agent_client.get(path, "/")


def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="AF_UNIX path too long"):
        agent_client.get(tmp_path / ("x" * 200), "/")


def answering(path: Path, answer: bytes) -> threading.Thread:
    """Takes one connection, says this, and hangs up when the other side does."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        with server, server.accept()[0] as connection:
            connection.recv(1 << 16)
            connection.sendall(answer)
            if not answer:
                connection.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_no_answer_in_time(tmp_path: Path) -> None:
    thread = answering(tmp_path / "s", b"")
    with pytest.raises(Unreachable, match=r"has not answered for 0.05 s: its log says more"):
        agent_client.get(tmp_path / "s", "/", timeout_s=0.05)
    thread.join()


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
def test_an_answer_that_breaks_off(tmp_path: Path, answer: bytes) -> None:
    thread = answering(tmp_path / "s", answer)
    with pytest.raises(Unreachable, match="does not answer: "):
        agent_client.get(tmp_path / "s", "/")
    thread.join()
