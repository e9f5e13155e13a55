"""Writes that arrive together: one commit. What each of them may expect is in `test_conformance`."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from tests.unit.datastore.backends import SqliteBackend
from tortie.datastore.api import Put, TxnResult
from tortie.datastore.sqlite import SqliteDatastore
from tortie.datastore.sqlite.file import StoreFile
from tortie.errors import Unavailable


@pytest.fixture
def sqlite(sqlite_backend: SqliteBackend) -> SqliteDatastore:
    return sqlite_backend.connect()


async def test_each_takes_its_own_revision_in_the_order_of_asking(sqlite: SqliteDatastore) -> None:
    results = await asyncio.gather(*(sqlite.txn([], [Put(f"/{n}", b"")]) for n in range(100)))
    assert [result.revision for result in results] == list(range(2, 102))
    assert [item.revision for item in (await sqlite.list("/")).items] == [
        int(i.key[1:]) + 2 for i in (await sqlite.list("/")).items
    ]


async def test_one_that_is_wrong_in_itself_fails_alone(sqlite: SqliteDatastore) -> None:
    outcomes = await asyncio.gather(
        sqlite.txn([], [Put("/a", b"1")]),
        sqlite.txn([], [Put("/d", b"1"), Put("/d", b"2")]),
        sqlite.txn([], [Put("/e", b"1")]),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [TxnResult, ValueError, TxnResult]
    assert [item.key for item in (await sqlite.list("/")).items] == ["/a", "/e"]


async def test_a_lock_is_waited_for_and_each_has_its_own_patience(sqlite_backend: SqliteBackend) -> None:
    sqlite = sqlite_backend.connect(patience_s=0.2)
    await sqlite.txn([], [Put("/a", b"")])
    holder = sqlite3.connect(sqlite_backend.path, isolation_level=None)
    holder.execute("begin immediate")
    began = time.monotonic()
    first = asyncio.create_task(sqlite.txn([], [Put("/b", b"")]))
    with pytest.raises(Unavailable, match="has been locked by another process"):
        await first
    assert time.monotonic() - began >= 0.2
    second = asyncio.create_task(sqlite.txn([], [Put("/c", b"")]))
    await asyncio.sleep(0)
    holder.execute("rollback")
    holder.close()
    assert (await second).succeeded
    assert [item.key for item in (await sqlite.list("/")).items] == ["/a", "/c"]


async def test_those_that_wait_when_the_store_is_closed_are_told(sqlite_backend: SqliteBackend) -> None:
    sqlite = sqlite_backend.connect()
    await sqlite.txn([], [Put("/a", b"")])
    holder = sqlite3.connect(sqlite_backend.path, isolation_level=None)
    holder.execute("begin immediate")
    waiting = asyncio.create_task(sqlite.txn([], [Put("/b", b"")]))
    await sqlite.get("/a")  # in the same thread, so the write has met the lock
    await sqlite.close()
    holder.close()
    with pytest.raises(Unavailable, match="was closed by this program"):
        await waiting


def test_a_fault_of_the_file_undoes_all(directory: Path) -> None:
    file = StoreFile(directory / "s.db", create=True)

    def spoil(db: sqlite3.Connection) -> None:
        db.execute("insert into nowhere values(1)")

    with pytest.raises(Unavailable, match="no such table"):
        file.write_each([lambda db: db.execute("update store set revision = 77"), spoil])
    assert file.read(lambda db: db.execute("select revision from store").fetchone()) == (1,)
    file.close()
