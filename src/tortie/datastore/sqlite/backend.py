"""The SQLite backend's coroutines.

Invariants:
* The SQLite work of a store runs in its one worker thread, and no work there waits for a lock: waiting is done
  here, on the loop, so a locked file stops neither the loop nor the other requests.
* Only what has just been committed is read on the loop itself, if it is little and the file is free: from a put to
  its event in another process takes 0.2 ms less so (measured).
* A request that meets a lock is tried again for `patience_s`, then it is `Unavailable`; nothing of it was
  done.
* Writes that arrive together are committed together (see committer).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from tortie.datastore.api import Batch, Compare, Delete, Item, Listing, Put, TxnResult
from tortie.datastore.sqlite import rows
from tortie.datastore.sqlite.bell import Bell
from tortie.datastore.sqlite.committer import FIRST_PAUSE_S, LONGEST_PAUSE_S, Committer
from tortie.datastore.sqlite.file import Locked, StoreFile, Work
from tortie.errors import Unavailable

T = TypeVar("T")

PATIENCE_S = 5.0
PAGE_KEYS = 1000


class SqliteDatastore:
    """A `Datastore` over the file at `path`, for one event loop."""

    def __init__(self, path: Path, *, create: bool = False, patience_s: float = PATIENCE_S) -> None:
        self._path = path
        self._patience_s = patience_s
        self._file = StoreFile(path, create=create)
        self._bell = Bell(path)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="datastore")
        self._committer = Committer(self._file, self._thread, patience_s, self._is_locked)
        self._closed = False

    @property
    def url(self) -> str:
        return f"sqlite://{quote(str(self._path))}"

    async def get(self, key: str) -> Item | None:
        return await self._read(partial(rows.get, key=key))

    async def list(self, prefix: str) -> Listing:
        return await self._read(partial(rows.list_prefix, prefix=prefix))

    async def pages(self, prefix: str) -> AsyncGenerator[Listing, None]:
        reader = await self._wait_for_lock(self._file.reader)
        try:
            start = prefix
            while True:
                some = partial(rows.list_from, prefix=prefix, start=start, limit=PAGE_KEYS)
                page = await self._wait_for_lock(partial(self._file.read_by, reader, some))
                yield page
                if len(page.items) < PAGE_KEYS:
                    return
                start = page.items[-1].key + "\0"
        finally:
            await asyncio.get_running_loop().run_in_executor(self._thread, reader.close)

    async def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[Batch, None]:
        first, woken = True, False
        while True:
            rung = self._bell.next_ring()
            batch = self._glance(prefix, from_revision) if woken else None
            if batch is None:
                batch = await self._read(partial(rows.events_since, prefix=prefix, from_revision=from_revision))
            if first or batch.revision >= from_revision:
                yield batch
                first = False
                from_revision = batch.revision + 1
            else:
                woken = await Bell.wait(rung)

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> TxnResult:
        return await self._write(partial(rows.commit, compares=compares, writes=writes))

    async def lease(self, ttl_s: float) -> int:
        return await self._write(lambda db: rows.grant(db, ttl_s, rows.Instant.now()))

    async def keep_alive(self, lease: int) -> None:
        await self._write(lambda db: rows.keep_alive(db, lease, rows.Instant.now()))

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._committer.refuse(self._was_closed())
            self._bell.close()
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
            self._thread.shutdown()

    def _glance(self, prefix: str, from_revision: int) -> Batch | None:
        return self._file.glance(partial(rows.few_events_since, prefix=prefix, from_revision=from_revision))

    async def _read(self, work: Work[T]) -> T:
        return await self._wait_for_lock(partial(self._file.read, work))

    async def _wait_for_lock(self, call: Callable[[], T]) -> T:
        """What the call in the worker thread answers; it is tried again while another process holds a lock."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._patience_s
        pause_s = FIRST_PAUSE_S
        while not self._closed:
            try:
                return await loop.run_in_executor(self._thread, call)
            except Locked:
                if loop.time() > give_up:
                    raise self._is_locked() from None
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        raise self._was_closed()

    async def _write(self, work: Work[T]) -> T:
        return await self._committer.write(work)

    def _was_closed(self) -> Unavailable:
        return Unavailable(f"datastore {self._path} was closed by this program")

    def _is_locked(self) -> Unavailable:
        return Unavailable(
            f"datastore {self._path} has been locked by another process for {self._patience_s:g} s: "
            f"`fuser -v {self._path}` shows who has it open"
        )
