"""The six verbs over etcd.

Invariants:
* A listing is of one revision, however many pages it takes.
* A write that may have reached a server is never sent again: only its caller can look whether it happened.
* A store that was set back to an older state, or replaced by another, is not followed on: see `history`.
"""

from __future__ import annotations

import asyncio
import builtins
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from itertools import islice
from typing import Any

from tortie.access import Credentials
from tortie.datastore.api import Batch, Compare, Delete, Item, Listing, Put, TxnResult
from tortie.datastore.etcd import wire
from tortie.datastore.etcd.committer import MAX_OPERATIONS, MAX_REQUEST_BYTES, Committer, Transaction
from tortie.datastore.etcd.connection import Connection, Connector
from tortie.datastore.etcd.failure import Rejected
from tortie.datastore.etcd.history import History
from tortie.datastore.etcd.members import Members
from tortie.datastore.etcd.watch import watch
from tortie.errors import DatastoreError, NotFound, Unavailable

# etcd 3.4 counts the whole range for each page: 100,000 endpoints cost it 0.6 s in pages of 5,000, 0.46 s in pages of
# 10,000 and 0.39 s in pages of 25,000; but a page must also come through a slow line before a call ends.
PAGE_KEYS = 10_000
SMALL_PAGE_KEYS = 1_000  # where it matters how much is in memory
AT_ONCE = 5_000  # items made in one step of the loop: 7 ms


class EtcdDatastore:
    """A connection to an etcd cluster; it connects at the first request, and again after failures."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        self._connector = Connector(url, Members(url), credentials)
        self._history = History()
        self._committer = Committer(partial(self._offer, wire.TXN, repeatable=False))

    @property
    def url(self) -> str:
        return self._connector.url

    async def get(self, key: str) -> Item | None:
        answer = await self._call(wire.RANGE, wire.RangeRequest(key=key.encode()))
        return wire.item(answer.kvs[0]) if answer.kvs else None

    async def list(self, prefix: str) -> Listing:
        while True:
            try:
                connection = await self._connector.connection()
                found: builtins.list[Item] = []
                revision = 0
                async with aclosing(self._pages(prefix, PAGE_KEYS)) as pages:
                    async for page, at in pages:
                        await _take_in(page.kvs, found)
                        revision = at
                # Pages over two connections may be of two stores.
                if await self._connector.connection() is connection:
                    self._history.listed(prefix, found, connection)
                    return Listing(found, revision)
            except Rejected as error:
                # The revision of the first page is compacted: so much was written meanwhile. Begin again.
                if not error.is_compacted:
                    raise error.for_user(self.url) from None

    async def pages(self, prefix: str) -> AsyncGenerator[Listing, None]:
        try:
            connection = await self._connector.connection()
            async with aclosing(self._pages(prefix, SMALL_PAGE_KEYS)) as pages:
                async for page, revision in pages:
                    if await self._connector.connection() is not connection:
                        raise Unavailable(f"datastore {self.url}: the connection was lost while it was read: try again")
                    yield Listing(builtins.list(map(wire.item, page.kvs)), revision)
        except Rejected as error:
            if error.is_compacted:
                raise Unavailable(f"datastore {self.url} was compacted while it was read: try again") from None
            raise error.for_user(self.url) from None

    def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[Batch, None]:
        return watch(self._connector, self._history, prefix, from_revision)

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> TxnResult:
        """At most 128 keys and 1.5 MiB at once, which is what etcd takes."""
        transaction = Transaction(compares, writes)
        self._check_size(transaction)
        try:
            return await self._committer.commit(transaction)
        except Rejected as error:
            raise error.for_user(self.url) from None

    async def lease(self, ttl_s: float) -> int:
        request = wire.LeaseGrantRequest(ttl_s=max(1, math.ceil(ttl_s)))
        granted: int = (await self._call(wire.LEASE_GRANT, request)).id
        return granted

    async def keep_alive(self, lease: int) -> None:
        answer = await self._call(wire.LEASE_KEEP_ALIVE, wire.LeaseKeepAliveRequest(id=lease))
        if answer.ttl_s <= 0:
            raise NotFound(f"datastore {self.url}: lease {lease} has ended")

    async def close(self) -> None:
        await self._connector.close()

    async def _pages(self, prefix: str, size: int) -> AsyncGenerator[tuple[Any, int], None]:
        """Answers of one revision, and that revision; the server makes a page while the one before it is taken in."""
        place = wire.key_range(prefix)
        page = await self._page(place, size, 0)
        revision: int = page.header.revision
        while page.more:
            place["key"] = page.kvs[-1].key + b"\0"
            following = asyncio.create_task(self._page(place, size, revision))
            try:
                yield page, revision
                page = await following
            finally:
                following.cancel()
        yield page, revision

    async def _page(self, place: dict[str, bytes], size: int, revision: int) -> Any:
        request = wire.RangeRequest(**place, limit=size, revision=revision)
        return await self._offer(wire.RANGE, request, repeatable=True)

    async def _call(self, method: wire.Method, request: Any) -> Any:
        try:
            return await self._offer(method, request, repeatable=True)
        except Rejected as error:
            raise error.for_user(self.url) from None

    async def _offer(self, method: wire.Method, request: Any, *, repeatable: bool) -> Any:
        """The response of the first member that answers; raises `Rejected` when none does."""
        last: Rejected | None = None
        for _ in range(self._connector.members + 1):
            connection: Connection | None = None
            try:
                connection = await self._connector.connection()
                return await self._once_logged_in(connection, method, request)
            except Rejected as error:
                last = error
                if not error.is_outage:
                    raise
                if connection is not None:
                    await self._connector.drop(connection)
                    if not (repeatable or error.not_sent) or (error.is_silence and self._connector.members == 1):
                        raise
        assert last is not None
        raise last

    async def _once_logged_in(self, connection: Connection, method: wire.Method, request: Any) -> Any:
        call = connection.call_by_stream if method is wire.LEASE_KEEP_ALIVE else connection.call
        try:
            return await call(method, request)
        except Rejected as error:
            if not error.token_refused:
                raise
        await self._connector.renew_token(connection)
        return await call(method, request)

    def _check_size(self, transaction: Transaction) -> None:
        # etcd would refuse as well, in words that name neither the limit nor what to do.
        if (count := transaction.operations) > MAX_OPERATIONS:
            raise DatastoreError(f"datastore {self.url}: {count} keys in one transaction; etcd takes {MAX_OPERATIONS}")
        if (size := transaction.size_bytes) > MAX_REQUEST_BYTES:
            raise DatastoreError(f"datastore {self.url}: a transaction of {size} bytes; etcd takes {MAX_REQUEST_BYTES}")


async def _take_in(kvs: Sequence[Any], found: list[Item]) -> None:
    rest = iter(kvs)  # each looked at and forgotten: a slice would be thousands of objects for the garbage collector
    for _ in range(0, len(kvs), AT_ONCE):
        found += map(wire.item, islice(rest, AT_ONCE))
        await asyncio.sleep(0)
