"""A source, locked while it is read: agents act on no change, CNI plugins wait, and nothing that is written is lost.

What ClusterInformation said before is kept in a mark beside it, in the same transaction. So it is put back byte for
byte, also by the next transfer when this one was killed; and it is what is moved, so that the target is as open or as
locked as the source was.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tortie.datastore.api import Compare, Datastore, Delete, Item, Put
from tortie.datastore.cluster import CLUSTER_PATH
from tortie.datastore.transfer.content import MOVING, is_ready, with_ready
from tortie.errors import Conflict, DatastoreError, NotFound

_ATTEMPTS = 20


async def information_of(datastore: Datastore) -> bytes:
    """ClusterInformation as it is to be moved. Raises NotFound for a store that holds no cluster."""
    mark = await datastore.get(MOVING)
    return _original(mark) if mark else (await _information(datastore)).value


@asynccontextmanager
async def locked(datastore: Datastore) -> AsyncIterator[bytes]:
    """Yields ClusterInformation as it is to be moved; a store that its operator locked stays locked."""
    locking = asyncio.ensure_future(_lock(datastore))
    try:
        await asyncio.shield(locking)
        yield await information_of(datastore)
    finally:
        # Who is interrupted while the lock is on its way to the store waits for it, to take it back.
        await asyncio.gather(locking, return_exceptions=True)
        await unlock(datastore)


async def _lock(datastore: Datastore) -> None:
    for _ in range(_ATTEMPTS):
        information, mark = await _information(datastore), await datastore.get(MOVING)
        if not is_ready(information.value):  # by the operator, or by a transfer before this one
            return
        before = json.dumps({"clusterInformation": information.value.decode()}).encode()
        compares = [Compare(CLUSTER_PATH, information.revision), Compare(MOVING, mark.revision if mark else 0)]
        writes = [Put(CLUSTER_PATH, with_ready(information.value, False)), Put(MOVING, before)]
        if (await datastore.txn(compares, writes)).succeeded:
            return
    raise Conflict(f"datastore {datastore.url}: others were faster {_ATTEMPTS} times in a row to change {CLUSTER_PATH}")


async def unlock(datastore: Datastore) -> None:
    """Takes back the lock of a transfer, if there is one."""
    for _ in range(_ATTEMPTS):
        mark = await datastore.get(MOVING)
        if mark is None:
            return
        information, original = await _information(datastore), _original(mark)
        # What somebody else changed meanwhile stays changed.
        unchanged = information.value == with_ready(original, False)
        value = original if unchanged else with_ready(information.value, True)
        compares = [Compare(CLUSTER_PATH, information.revision), Compare(MOVING, mark.revision)]
        if (await datastore.txn(compares, [Put(CLUSTER_PATH, value), Delete(MOVING)])).succeeded:
            return
    raise Conflict(f"datastore {datastore.url}: others were faster {_ATTEMPTS} times in a row: tortie datastore unlock")


async def _information(datastore: Datastore) -> Item:
    item = await datastore.get(CLUSTER_PATH)
    if item is None:
        raise NotFound(f"datastore {datastore.url} holds no cluster: there is no ClusterInformation(default)")
    return item


def _original(mark: Item) -> bytes:
    try:
        original: str = json.loads(mark.value)["clusterInformation"]
        return original.encode()
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DatastoreError(f"{MOVING} cannot be read: delete the key, and unlock the datastore") from error
