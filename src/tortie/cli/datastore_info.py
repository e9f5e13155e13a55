"""What `tortie datastore info` tells of a store."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from typing import Any

import msgspec

from tortie.access import Access
from tortie.cli.store import connected, origin
from tortie.datastore import format
from tortie.datastore.api import Datastore
from tortie.datastore.cluster import CLUSTER_INFORMATION, CLUSTER_PATH, guid_of
from tortie.datastore.transfer.content import FILLING, MOVING, PREFIXES
from tortie.datastore.transfer.copying import cluster_of
from tortie.errors import DatastoreError
from tortie.model.decode import from_store
from tortie.model.keys import from_path
from tortie.model.resource import Resource


class Info(msgspec.Struct, kw_only=True, rename="camel"):
    """A store, as far as it answered."""

    fault: str = ""  # why it cannot be used
    revision: int = 0
    format: int = 0
    cluster: str = ""
    cluster_type: str = ""
    state: str = ""
    objects: dict[str, int] = {}  # by kind
    other_keys: int = 0  # below the same prefixes: addresses, statuses, what is not understood

    def as_json(self, access: Access) -> dict[str, Any]:
        """For programs."""
        head = {"datastore": access.url, "namedBy": access.named_by, "reachable": not self.fault}
        return head | dict(msgspec.to_builtins(self))

    def rows(self, access: Access) -> list[tuple[str, str]]:
        """For people."""
        rows = [("datastore", access.url), ("chosen by", access.named_by or origin(access))]
        if self.fault:
            return [*rows, ("usable", f"no: {self.fault}")]
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.objects.items()))
        total = sum(self.objects.values())
        return [
            *rows,
            ("usable", "yes"),
            ("revision", str(self.revision)),
            ("format", f"{self.format} (this tortie knows up to {format.FORMAT})"),
            ("cluster", f"{self.cluster} ({self.cluster_type or 'of no type'})" if self.cluster else "none"),
            ("state", self.state),
            ("objects", f"{total}: {kinds}" if total else "none"),
            ("other keys", str(self.other_keys)),
        ]


async def look(access: Access) -> Info:
    """Asks the store; one that fails is told of, and raises nothing."""
    try:
        async with connected(access) as datastore:
            return await _look(datastore)
    except DatastoreError as error:
        return Info(fault=str(error))


async def _look(datastore: Datastore) -> Info:
    info = Info(format=await format.read(datastore), state=await _state(datastore))
    objects: Counter[str] = Counter()
    for prefix in PREFIXES:
        async with aclosing(datastore.pages(prefix)) as pages:
            async for page in pages:
                info.revision = max(info.revision, page.revision)
                keys = [from_path(item.key) for item in page.items]
                objects.update(key.kind for key in keys if key)
                info.other_keys += keys.count(None)
    info.objects = dict(objects)
    if item := await datastore.get(CLUSTER_PATH):
        info.cluster = guid_of(item.value)
        found = from_store(CLUSTER_INFORMATION, item.value)
        info.cluster_type = found.spec.cluster_type if isinstance(found, Resource) else ""
    return info


async def _state(datastore: Datastore) -> str:
    if mark := await datastore.get(FILLING):
        return f"half filled with cluster {cluster_of(mark)}: a copy or import was interrupted, or goes on"
    if await datastore.get(MOVING):
        return "locked by a copy or export that was interrupted, or goes on"
    item = await datastore.get(CLUSTER_PATH)
    if item is None:
        return "empty: no cluster was begun here"
    found = from_store(CLUSTER_INFORMATION, item.value)
    if not isinstance(found, Resource):
        return "unknown: ClusterInformation(default) is broken"
    if found.spec.datastore_ready is None:
        return "not ready: no tool of Calico works before datastoreReady is set"
    return "ready" if found.spec.datastore_ready else "locked"
