"""An etcd on loopback with a directory of its own, and what can happen to it."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tortie.lab import etcd

DEADLINE_S = 20.0
LOOPBACK = "127.0.0.1"


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class EtcdServer:
    """One member that is a cluster by itself."""

    def __init__(self, directory: Path, extra: Sequence[str] = (), scheme: str = "http") -> None:
        self.directory = directory
        self.client_port, self.peer_port = free_ports(2)
        self.log = directory / "etcd.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._extra = extra
        self._scheme = scheme
        directory.mkdir(parents=True)

    @property
    def url(self) -> str:
        return etcd.url([LOOPBACK], self.client_port)

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.client_port}"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def start(self) -> None:
        """Starts it, and returns when it answers."""
        command = etcd.command(
            "one", self.data, {"one": LOOPBACK}, client_port=self.client_port, peer_port=self.peer_port
        )
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*command, *self._extra], stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE_S
        while not self._answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def _answers(self) -> bool:
        if self._scheme == "https":
            with socket.socket() as probe:
                return probe.connect_ex((LOOPBACK, self.client_port)) == 0
        connection = http.client.HTTPConnection(LOOPBACK, self.client_port, timeout=1)
        try:
            connection.request("GET", "/health")
            return b"true" in connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(DEADLINE_S)
            self.process = None

    def pause(self) -> None:
        """From now on it is silent: connections stand, and nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def ctl(self, *words: str) -> str:
        """What etcdctl says."""
        result = subprocess.run(
            ["etcdctl", "--endpoints", f"{self._scheme}://{self.address}", *words],
            env=os.environ | {"ETCDCTL_API": "3"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def restore(self, snapshot: Path) -> None:
        """Puts a stopped server back to a snapshot."""
        assert self.process is None
        shutil.rmtree(self.data)
        self.ctl(
            "snapshot",
            "restore",
            str(snapshot),
            "--data-dir",
            str(self.data),
            "--name",
            "one",
            "--initial-cluster",
            f"one=http://{LOOPBACK}:{self.peer_port}",
            "--initial-advertise-peer-urls",
            f"http://{LOOPBACK}:{self.peer_port}",
        )


class EtcdProxy:
    """etcd's own gRPC proxy before a server."""

    def __init__(self, directory: Path, server: EtcdServer) -> None:
        (self.port,) = free_ports(1)
        self.url = etcd.url([LOOPBACK], self.port)
        self.log = directory / "proxy.log"
        command = ["etcd", "grpc-proxy", "start", "--endpoints", server.address, "--listen-addr"]
        command += [f"{LOOPBACK}:{self.port}", "--advertise-client-url", "", "--data-dir", str(directory / "proxy")]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE_S
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((LOOPBACK, self.port)) == 0:
                    return
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)
