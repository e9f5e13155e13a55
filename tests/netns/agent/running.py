"""A real agent as a process in a namespace, and its API as a caller sees it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.netns.conftest import Namespace

DEADLINE_S = 15.0


class ApiError(Exception):
    """The agent refused; `status` is HTTP's, the text the agent's sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        self.status = status
        super().__init__(sentence)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("agent", timeout=DEADLINE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DEADLINE_S)
        self.sock.connect(str(self._path))


class RunningAgent:
    """One host's agent; everything it keeps is below `directory`."""

    def __init__(self, namespace: Namespace, directory: Path, bpffs: Path, store: Path, node: str = "host-a") -> None:
        self.namespace = namespace
        self.directory = directory
        self.store = store
        self.python = sys.executable
        self.log = directory / "agent.log"
        self.socket = directory / "run" / "agent.sock"
        directory.mkdir(parents=True)
        self.config = directory / "tortie.toml"
        self.config.write_text(
            f'node = "{node}"\ndatastore = "sqlite://{store}"\nrun_dir = "{directory}/run"\n'
            f'state_dir = "{directory}/state"\nbpffs = "{bpffs}"\nbird_socket = "{directory}/run/bird.ctl"\n'
            f'bird_config = "{directory}/state/bird.conf"\n'
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "nsenter",
                    f"--net={self.namespace.path}",
                    sys.executable,
                    *("-m", "tortie", "--config", str(self.config), "agent"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def start_and_wait(self) -> None:
        self.start()
        self.wait(lambda board: board["in_sync"])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends the agent and returns its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            os.kill(self._process.pid, number)
        code = self._process.wait(DEADLINE_S)
        self._process = None
        return code

    def close(self) -> None:
        if self._process is not None:
            self.stop(signal.SIGKILL)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def wait_exit(self) -> int:
        assert self._process is not None
        return self._process.wait(DEADLINE_S)

    def status(self) -> dict[str, Any]:
        return dict(self.call("GET", "/v1/status"))

    def attach(self, name: str, **request: Any) -> dict[str, Any]:
        return dict(self.call("POST", "/v1/attach", {"name": name, **request}))

    def detach(self, name: str) -> Any:
        return self.call("POST", "/v1/detach", {"name": name})

    def call(self, method: str, path: str, body: Any = None) -> Any:
        status, text = self._ask(method, path, body)
        value = json.loads(text)
        if status >= 400:
            raise ApiError(status, value["error"])
        return value

    def text(self, path: str) -> str:
        """An answer that is no JSON."""
        return self._ask("GET", path, None)[1]

    def _ask(self, method: str, path: str, body: Any) -> tuple[int, str]:
        connection = _UnixConnection(self.socket)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def wait(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first board of which `holds` is true."""
        deadline = time.monotonic() + DEADLINE_S
        board: dict[str, Any] = {}
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                raise AssertionError(f"the agent ended: {self.log.read_text()}")
            try:
                board = self.status()
            except OSError:
                board = {}
            if board and holds(board):
                return board
            time.sleep(0.01)
        raise AssertionError(f"never: {board}\n{self.log.read_text()}")

    def routes(self) -> list[str]:
        shown = self.namespace.run("ip route show proto 116; ip -6 route show proto 116")
        return [line.split()[0] for line in shown.splitlines()]
