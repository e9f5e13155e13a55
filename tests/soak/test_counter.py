"""Eight processes count to a hundred thousand in one key, by compare-and-swap: none is lost, and each has its turn."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.datastore.etcd_server import EtcdServer
from tortie.datastore import open_datastore
from tortie.datastore.api import Listing
from tortie.lab import etcd

PROCESSES = 8
INCREMENTS = 100_000

COUNT = """
import asyncio, sys
from tortie.datastore import contention, open_datastore
from tortie.datastore.api import Compare, Put

async def main(url, number):
    store = open_datastore(url, create=True)
    value = revision = losses = 0
    while number:
        result = await store.txn([Compare("/n", revision)], [Put("/n", b"%d" % (value + 1))])
        if result.succeeded:
            value, revision, losses, number = value + 1, result.revision, 0, number - 1
            continue
        losses += 1
        await contention.pause(losses)
        item = await store.get("/n")
        value, revision = int(item.value), item.revision
    await store.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.fixture(
    params=["sqlite", pytest.param("etcd", marks=pytest.mark.skipif(bool(etcd.missing()), reason=etcd.missing()))]
)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/tortie.db"
        return
    server = EtcdServer(tmp_path / "etcd")
    server.start()
    yield server.url
    server.stop()


@pytest.mark.timeout(600)
def test_no_increment_is_lost(url: str) -> None:
    start = asyncio.run(state(url))[1]
    command = [sys.executable, "-c", COUNT, url, str(INCREMENTS // PROCESSES)]
    processes = [subprocess.Popen(command) for _ in range(PROCESSES)]
    try:
        assert [process.wait() for process in processes] == [0] * PROCESSES
    finally:
        for process in processes:
            process.kill()
            process.wait()
    items, revision = asyncio.run(state(url))
    assert [int(item.value) for item in items] == [INCREMENTS]
    assert revision == start + INCREMENTS  # each a revision of its own, and the losers none


async def state(url: str) -> Listing:
    store = open_datastore(url, create=True)
    try:
        return await store.list("")
    finally:
        await store.close()
