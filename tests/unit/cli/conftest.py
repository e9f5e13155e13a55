"""The command line as a user has it: words in, two streams and an exit code out; and an agent that answers."""

from __future__ import annotations

import asyncio
import json
import os
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from click.testing import CliRunner

from tortie.__main__ import command
from tortie.datastore import open_datastore
from tortie.datastore.api import Put
from tortie.model.keys import to_path
from tortie.model.resource import ResourceKey


class Said(NamedTuple):
    """What a command said."""

    code: int
    stdout: str
    stderr: str


class Tortie:
    """Runs commands in a directory of their own, against a real SQLite store there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = directory / "store.db"
        self.environment = {
            "TORTIE_NODE": "node-1",
            "TORTIE_DATASTORE": f"sqlite://{self.store}",
            "TORTIE_RUN_DIR": str(directory),
        }

    def __call__(self, *words: str, stdin: str | bytes = "") -> Said:
        result = CliRunner(env=self.environment).invoke(command(), words, input=stdin, prog_name="tortie")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    def write(self, name: str, text: str | bytes) -> str:
        """A file beside the store; returns its name for messages and command lines."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    def names(self, kind: str) -> list[str]:
        """The names of all stored objects of a kind."""
        return [item["metadata"]["name"] for item in self.items(kind)]

    def items(self, kind: str) -> list[dict[str, Any]]:
        if not self.store.exists():
            return []
        said = self("get", kind, "-o", "json")
        assert said.code == 0, said.stderr
        items: list[dict[str, Any]] = json.loads(said.stdout)["items"]
        return items

    def put(self, key: ResourceKey, document: object) -> None:
        """Writes straight into the store, past every rule."""

        async def put() -> None:
            datastore = open_datastore(self.environment["TORTIE_DATASTORE"], create=True)
            await datastore.txn([], [Put(to_path(key), json.dumps(document).encode())])
            await datastore.close()

        asyncio.run(put())


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tortie:
    for name in [name for name in os.environ if name.startswith("TORTIE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Tortie(tmp_path)


class FakeAgent:
    """Answers each request with what `answers` holds for its path, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[tuple[str, Any]] = []

    def answer(self, path: str, value: Any, status: int = 200) -> None:
        self.answers[path] = (status, msgspec.json.encode(value))


class _Server(socketserver.ThreadingUnixStreamServer):
    agent: FakeAgent


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.agent.asked.append((self.path, json.loads(body) if body else None))
        status, answer = self.server.agent.answers[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = _handle

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def agent(tortie: Tortie, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeAgent]:
    # The path of a socket holds 107 bytes; that of the test's own directory may be longer.
    directory = tmp_path_factory.mktemp("a")
    tortie.environment["TORTIE_RUN_DIR"] = str(directory)
    fake = FakeAgent()
    with _Server(str(directory / "agent.sock"), _Handler) as server:
        server.agent = fake
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield fake
        server.shutdown()
        thread.join()
