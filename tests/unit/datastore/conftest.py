"""Stores to test against, and other processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.unit.datastore.backends import Backend, EtcdBackend, Spawn, SqliteBackend
from tests.unit.datastore.etcd_server import EtcdProxy, EtcdServer
from tortie.datastore.api import Datastore
from tortie.lab import etcd


@pytest.fixture
def directory() -> Iterator[Path]:
    """Like `tmp_path`, but other users may look in: some tests become one."""
    with tempfile.TemporaryDirectory(prefix="tortie-datastore-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
async def sqlite_backend(directory: Path) -> AsyncIterator[SqliteBackend]:
    backend = SqliteBackend(directory / "store" / "tortie.db")
    yield backend
    for connection in backend.connections:
        await connection.close()


@pytest.fixture(scope="session")
def etcd_server() -> Iterator[EtcdServer]:
    """One etcd for all tests that leave it as it is."""
    if what := etcd.missing():
        pytest.skip(what)
    with tempfile.TemporaryDirectory(prefix="tortie-etcd-") as name:
        server = EtcdServer(Path(name) / "one")
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def etcd_proxy(etcd_server: EtcdServer) -> Iterator[EtcdProxy]:
    proxy = EtcdProxy(etcd_server.directory, etcd_server)
    yield proxy
    proxy.stop()


@pytest.fixture
async def etcd_backend(etcd_server: EtcdServer) -> AsyncIterator[EtcdBackend]:
    async for backend in cleared(EtcdBackend(etcd_server, etcd_server.url)):
        yield backend


@pytest.fixture
async def etcd_proxy_backend(etcd_server: EtcdServer, etcd_proxy: EtcdProxy) -> AsyncIterator[EtcdBackend]:
    async for backend in cleared(EtcdBackend(etcd_server, etcd_proxy.url)):
        yield backend


async def cleared(backend: EtcdBackend) -> AsyncIterator[EtcdBackend]:
    backend.clear()
    yield backend
    for connection in backend.connections:
        await connection.close()


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("etcd", marks=pytest.mark.etcd),
        pytest.param("etcd_proxy", marks=pytest.mark.etcd),
    ]
)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Every kind of datastore in turn: `test_conformance.py` holds what all of them promise."""
    found: Backend = request.getfixturevalue(f"{request.param}_backend")
    return found


@pytest.fixture
def store(backend: Backend) -> Datastore:
    return backend.connect()


@pytest.fixture
def store_pair(backend: Backend) -> tuple[Datastore, Datastore]:
    """Two connections to one store."""
    return backend.connect(), backend.connect()


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Starts Python processes with a script and arguments; those still alive at the end of the test are killed."""
    processes: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", script, *map(str, arguments)]
        processes.append(
            subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ)
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()
