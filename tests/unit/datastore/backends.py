"""Stores to test against: a `Backend` for each kind of datastore, and one to be made worse."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Protocol

from tests.unit.datastore.etcd_server import EtcdServer
from tortie.access import NO_CREDENTIALS
from tortie.datastore.api import Batch, Compare, Datastore, Delete, Item, Listing, Put, TxnResult
from tortie.datastore.etcd import EtcdDatastore
from tortie.datastore.sqlite import SqliteDatastore, rows

# Starts Python with a script and arguments; see the fixture `spawn`.
Spawn = Callable[..., subprocess.Popen[str]]


class Backend(Protocol):
    """An empty store that exists for one test."""

    def connect(self) -> Datastore:
        """A connection of its own, as another process would have; closed after the test."""

    def compact(self, revision: int) -> None:
        """Makes the store forget the events up to and including `revision`."""


class Wrapped:
    """A datastore that passes everything on, to be made worse by tests."""

    def __init__(self, store: Datastore) -> None:
        self.store = store

    @property
    def url(self) -> str:
        return self.store.url

    async def get(self, key: str) -> Item | None:
        return await self.store.get(key)

    async def list(self, prefix: str) -> Listing:
        return await self.store.list(prefix)

    def pages(self, prefix: str) -> AsyncGenerator[Listing, None]:
        return self.store.pages(prefix)

    def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[Batch, None]:
        return self.store.watch(prefix, from_revision)

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> TxnResult:
        return await self.store.txn(compares, writes)

    async def lease(self, ttl_s: float) -> int:
        return await self.store.lease(ttl_s)

    async def keep_alive(self, lease: int) -> None:
        await self.store.keep_alive(lease)

    async def close(self) -> None:
        await self.store.close()


class SqliteBackend:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: list[SqliteDatastore] = []

    def connect(self, patience_s: float = 5.0) -> SqliteDatastore:
        self.connections.append(SqliteDatastore(self.path, create=True, patience_s=patience_s))
        return self.connections[-1]

    def compact(self, revision: int) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as db, db:
            rows.compact(db, revision)

    def execute(self, statement: str) -> None:
        """A statement of somebody who does not know of watchers."""
        with contextlib.closing(sqlite3.connect(self.path)) as db, db:
            db.execute(statement).fetchall()


class EtcdBackend:
    """A server that many tests share, one after the other; `url` leads to it, perhaps by a proxy."""

    def __init__(self, server: EtcdServer, url: str) -> None:
        self.server = server
        self.url = url
        self.connections: list[EtcdDatastore] = []

    def connect(self) -> EtcdDatastore:
        self.connections.append(EtcdDatastore(self.url, NO_CREDENTIALS))
        return self.connections[-1]

    def compact(self, revision: int) -> None:
        self.server.ctl("compact", str(revision))

    def clear(self) -> None:
        self.server.ctl("del", "", "--from-key")
