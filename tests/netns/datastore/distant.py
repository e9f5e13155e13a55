"""An etcd in another namespace than its client, and a client as a process there."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.netns.conftest import Namespace
from tortie.lab import etcd

DEADLINE_S = 30.0
HOST, STORE = "192.0.2.1", "192.0.2.2"
NOBODY = "02:00:00:00:00:99"

FOLLOW = """
import asyncio, json, sys, time
from tortie.datastore import open_datastore
from tortie.datastore.follow import Changed, Disconnected, follow

async def main(url, *prefixes):
    async with follow(open_datastore(url), prefixes) as changes:
        async for change in changes:
            what = None
            match change:
                case Changed(events):
                    what = [[event.key, event.value and event.value.decode()] for event in events]
                case Disconnected(error):
                    what = str(error)
            print(json.dumps([type(change).__name__, what, time.monotonic()]), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


class Said(NamedTuple):
    """A change that a follower told of, and when it did (CLOCK_MONOTONIC)."""

    change: str
    what: Any
    moment: float


class Follower:
    """A process that follows a store, and tells each change."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._said: queue.Queue[Said] = queue.Queue()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def wait(self, change: str) -> tuple[Said, list[Said]]:
        """The next change of that name, and those before it."""
        before: list[Said] = []
        while (said := self._said.get(timeout=DEADLINE_S)).change != change:
            before.append(said)
        return said, before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self._said.put(Said(*json.loads(line)))


class DistantEtcd:
    """Two namespaces on one wire; the etcd is in the second, what asks it in the first."""

    def __init__(self, host: Namespace, store: Namespace, directory: Path, port: int = etcd.CLIENT_PORT) -> None:
        self.host, self.store = host, store
        self.url = etcd.url([STORE], port)
        self._port = port
        self._data, self._log = directory / "data", directory / "etcd.log"
        self._followers: list[Follower] = []
        host.run(f"ip link add w0 type veth peer name w0 netns {store.name}")
        for namespace, address in ((host, HOST), (store, STORE)):
            namespace.run(f"ip addr add {address}/24 dev w0 && ip link set w0 up")
        self._server = self._start()

    def ctl(self, *words: str) -> str:
        """What etcdctl says, beside the server."""
        return self.store.run(f"ETCDCTL_API=3 etcdctl --endpoints {STORE}:{self._port} {' '.join(words)}")

    def follow(self, *prefixes: str) -> Follower:
        """A follower on the host, in sync."""
        command = ["ip", "netns", "exec", self.host.name, sys.executable, "-c", FOLLOW, self.url, *prefixes]
        self._followers.append(Follower(*command))
        self._followers[-1].wait("InSync")
        return self._followers[-1]

    def cut(self) -> None:
        """From now on no packet arrives at either end, and nobody is told."""
        self.host.run(f"ip neigh replace {STORE} lladdr {NOBODY} nud permanent dev w0")
        self.store.run(f"ip neigh replace {HOST} lladdr {NOBODY} nud permanent dev w0")

    def mend(self) -> None:
        self.host.run(f"ip neigh del {STORE} dev w0")
        self.store.run(f"ip neigh del {HOST} dev w0")

    def stop(self) -> None:
        self._server.kill()
        self._server.wait()

    def start(self) -> None:
        self._server = self._start()

    def close(self) -> None:
        for follower in self._followers:
            follower.close()
        self.stop()

    def _start(self) -> subprocess.Popen[bytes]:
        command = etcd.command("one", self._data, {"one": STORE}, client_port=self._port)
        with self._log.open("ab") as log:
            server = subprocess.Popen(["ip", "netns", "exec", self.store.name, *command], stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE_S
        while "is healthy" not in self.ctl("endpoint health 2>&1 || true"):
            assert server.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
        return server
