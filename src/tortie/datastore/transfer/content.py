"""What of a store is moved: every key below `PREFIXES`, byte for byte, understood or not.

Left out are keys that go with a lease: whoever holds the lease writes them again, and a copy without it would tell for
ever that somebody is alive. So are the two marks of moving itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec

from tortie.datastore.api import Datastore
from tortie.datastore.cluster import CLUSTER_PATH
from tortie.errors import DatastoreError

PREFIXES = ("/calico/", "/tortie/v1/")
MOVING = "/tortie/v1/moving"  # in a source that is locked to be read: ClusterInformation as it was before
FILLING = "/tortie/v1/filling"  # in a target that is not complete yet: of which cluster it will be
MARKS = (MOVING, FILLING)


class Entry(NamedTuple):
    """A key with its value."""

    key: str
    value: bytes


class Digest(NamedTuple):
    """Two places with equal digests hold the same keys with the same values."""

    keys: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.keys} keys, checksum {self.sha256[:16]}"


class Digester:
    """Takes entries in their order."""

    def __init__(self) -> None:
        self._keys = 0
        self._hash = hashlib.sha256()

    def take(self, entry: Entry) -> None:
        self._keys += 1
        for part in (entry.key.encode(), entry.value):
            self._hash.update(len(part).to_bytes(8, "big"))
            self._hash.update(part)

    @property
    def digest(self) -> Digest:
        return Digest(self._keys, self._hash.hexdigest())


async def entries(datastore: Datastore, instead: Mapping[str, bytes]) -> AsyncGenerator[Entry, None]:
    """What is to be moved, in its order; `instead` has values that stand for the stored ones. Bounded in memory."""
    for prefix in PREFIXES:
        async with aclosing(datastore.pages(prefix)) as pages:
            async for page in pages:
                for item in page.items:
                    if not item.lease and item.key not in MARKS:
                        yield Entry(item.key, instead.get(item.key, item.value))


async def counted(found: AsyncIterator[Entry]) -> int:
    """How many there are."""
    number = 0
    async for _ in found:
        number += 1
    return number


def order(key: str) -> tuple[int, bytes]:
    """Where a key stands among those that are moved. Raises ValueError for one that is not."""
    for place, prefix in enumerate(PREFIXES):
        if key.startswith(prefix) and key not in MARKS:
            return place, key.encode()
    raise ValueError(f"{key} is not below {' or '.join(PREFIXES)}")


def is_ready(information: bytes) -> bool:
    """Whether a ClusterInformation says that the cluster is not locked."""
    return _document(information)["spec"].get("datastoreReady") is not False


def with_ready(information: bytes, ready: bool) -> bytes:
    """A ClusterInformation that says so, and else what it said. Raises DatastoreError for one that cannot be read."""
    document = _document(information)
    return msgspec.json.encode({**document, "spec": {**document["spec"], "datastoreReady": ready}})


def _document(information: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(information, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DatastoreError(f"{CLUSTER_PATH} cannot be read: {error}: repair it first") from error
    if not isinstance(document.get("spec"), dict):
        raise DatastoreError(f"{CLUSTER_PATH} has no spec: repair it first")
    return document
