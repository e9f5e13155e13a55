"""A datastore that is asked nothing before it was judged."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from tortie.datastore.api import Batch, Compare, Datastore, Delete, Item, Listing, Put, TxnResult


class Guarded:
    """A datastore whose every request begins with `check`, which raises a DatastoreError in its place."""

    def __init__(self, datastore: Datastore, check: Callable[[], Awaitable[None]]) -> None:
        self._datastore = datastore
        self._check = check

    @property
    def url(self) -> str:
        return self._datastore.url

    async def get(self, key: str) -> Item | None:
        await self._check()
        return await self._datastore.get(key)

    async def list(self, prefix: str) -> Listing:
        await self._check()
        return await self._datastore.list(prefix)

    async def pages(self, prefix: str) -> AsyncGenerator[Listing, None]:
        await self._check()
        async with aclosing(self._datastore.pages(prefix)) as pages:
            async for page in pages:
                yield page

    async def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[Batch, None]:
        await self._check()
        async with aclosing(self._datastore.watch(prefix, from_revision)) as watch:
            async for batch in watch:
                yield batch

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> TxnResult:
        await self._check()
        return await self._datastore.txn(compares, writes)

    async def lease(self, ttl_s: float) -> int:
        await self._check()
        return await self._datastore.lease(ttl_s)

    async def keep_alive(self, lease: int) -> None:
        await self._check()
        await self._datastore.keep_alive(lease)

    async def close(self) -> None:
        await self._datastore.close()
