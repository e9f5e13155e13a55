"""The lock of a cluster, set and taken away by its operator."""

from __future__ import annotations

from tortie.access import Access
from tortie.cli.store import opened_store
from tortie.datastore.api import Datastore, Delete
from tortie.datastore.resources import Resources
from tortie.datastore.transfer.content import FILLING, MOVING
from tortie.datastore.transfer.copying import cluster_of
from tortie.errors import Conflict


async def set_ready(access: Access, *, ready: bool) -> None:
    """Unlocks the cluster, or locks it. Raises NotFound where there is none, and Conflict for half of one."""
    async with opened_store(access) as datastore:
        await change(datastore, ready=ready)


async def change(datastore: Datastore, *, ready: bool) -> None:
    """As `set_ready`, for a store that is open."""
    if ready and (mark := await datastore.get(FILLING)):
        raise Conflict(
            f"datastore {datastore.url} holds only a part of cluster {cluster_of(mark)}, since filling it was "
            "interrupted: do the same copy or import again"
        )
    await Resources(datastore).set_ready(ready)
    # From now on the lock is the operator's, and that of no transfer.
    await datastore.txn([], [Delete(MOVING)])
