"""What the agent's silence and the agent's words mean."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tortie.bootstrap import Bootstrap
from tortie.doctor import agent
from tortie.doctor.finding import Finding
from tortie.doctor.host import Host
from tortie.doctor.processes import Process
from tortie.intent.report import EndpointReport, EndpointState, Noted
from tortie.status import Bird, Board, Session

SESSION = Session(
    name="Mesh_1", kind="mesh", address="10.0.0.2", state="Established", since="", info="", imported=0, exported=0
)
WELL = Board(
    node="node-1",
    version="0.1.0",
    datastore="etcd://10.0.0.9:2379",
    connected=True,
    in_sync=True,
    responder="ebpf",
    bird=Bird(running=True, configured=True, sessions=(SESSION,)),
)
CUT_OFF = EndpointReport(state=EndpointState.ERROR, reason="equal foreign route", interface="cali1", addresses=())


def reported(board: Board) -> list[Finding]:
    return list(agent.reported(json.loads(msgspec.json.encode(board))))


def test_all_is_well() -> None:
    assert reported(WELL) == []


@pytest.mark.parametrize(
    ("board", "severity", "what", "where"),
    [
        (
            replace(WELL, datastore_problem="no answer"),
            "error",
            "the agent cannot follow the datastore: no answer",
            "etcd://10.0.0.9:2379",
        ),
        (
            replace(WELL, connected=False),
            "error",
            "the agent cannot follow the datastore: not connected",
            "etcd://10.0.0.9:2379",
        ),
        (replace(WELL, in_sync=False), "warning", "the agent has not caught up with the datastore yet", WELL.datastore),
        (
            replace(WELL, endpoints={"default/a": CUT_OFF, "default/b": CUT_OFF}),
            "error",
            "2 of 2 endpoints are in error: equal foreign route",
            "default/a, default/b",
        ),
        (
            replace(WELL, pending=(Noted(subject="route 10.65.0.21/32", reason="no such device"),)),
            "warning",
            "1 rows of the kernel are not as wanted: no such device",
            "route 10.65.0.21/32",
        ),
        (
            replace(WELL, problems=tuple(Noted(subject=f"IPPool({n})", reason="broken") for n in "abcde")),
            "warning",
            "5 problems are reported: broken",
            "IPPool(a), IPPool(b), IPPool(c) and 2 more",
        ),
        (
            replace(WELL, bird=replace(WELL.bird, problem="line 7")),
            "error",
            "BIRD does not run the configuration that is wanted: line 7",
            "BIRD",
        ),
        (
            replace(WELL, bird=replace(WELL.bird, sessions=(SESSION, replace(SESSION, state="Active", info="Active")))),
            "warning",
            "1 of 2 BGP sessions are not established: Active",
            "10.0.0.2",
        ),
    ],
)
def test_each_complaint(board: Board, severity: str, what: str, where: str) -> None:
    (found,) = reported(board)
    assert (found.severity, found.what, found.where) == (severity, what, where)


def test_a_bird_that_does_not_run_is_told_elsewhere() -> None:
    assert reported(replace(WELL, bird=Bird(running=False, problem="no socket"))) == []


def test_silence_with_an_agent_that_runs() -> None:
    found = agent.silence(Path("/run/a.sock"), "no answer", [Process(7, "python3", ("tortie", "agent"))])
    assert found.where == "/run/a.sock; tortie agent (pid 7) runs"
    assert "another run_dir" in found.why


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "agent.sock"))
        sock.listen()
        yield sock


def answer(listener: socket.socket, content: bytes) -> threading.Thread:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(content)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_no_socket(tmp_path: Path) -> None:
    (found,) = agent.check(Host(Bootstrap(run_dir=str(tmp_path))))
    assert isinstance(found, Finding)
    assert found.what == "no agent runs: its socket does not exist"


@pytest.mark.parametrize(
    ("content", "how"),
    [
        (b"", "Remote end closed connection without response"),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", "Expecting value: line 1 column 1 (char 0)"),
        (b"HTTP/1.0 200 OK\r\n\r\n{}", "what answers is no agent"),
    ],
)
def test_what_is_no_agent(listener: socket.socket, tmp_path: Path, content: bytes, how: str) -> None:
    thread = answer(listener, content)
    with pytest.raises(agent.Silent) as raised:
        agent.read_board(tmp_path / "agent.sock")
    thread.join()
    assert str(raised.value) == how


def test_an_agent_that_hangs(listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "ANSWER_S", 0.05)
    with pytest.raises(agent.Silent, match=r"no answer after 0\.05 s"):
        agent.read_board(tmp_path / "agent.sock")


def test_an_agent_that_answers(listener: socket.socket, tmp_path: Path) -> None:
    board = replace(WELL, in_sync=False)
    thread = answer(listener, b"HTTP/1.0 200 OK\r\n\r\n" + msgspec.json.encode(board))
    (found,) = agent.check(Host(Bootstrap(run_dir=str(tmp_path))))
    thread.join()
    assert isinstance(found, Finding)
    assert found.what == "the agent has not caught up with the datastore yet"
