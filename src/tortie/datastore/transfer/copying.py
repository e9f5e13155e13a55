"""A target filled with a cluster, so that it holds that and nothing else; what is right there already is not written.

Invariants:
* From the first write to the last the target is locked, and bears a mark that says of which cluster it will be. Who
  was interrupted goes on where it stopped: the same again writes the difference.
* Every write compares the mark: of two who fill one target the later goes on, and the earlier ends with `Conflict`.
* Two clusters are never mixed. A target that holds another, or this one with other content, is refused unless it is to
  be replaced; then it holds nothing of what it held.
* The target is opened after all of it was read again and found equal.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import NamedTuple, Protocol

from tortie.datastore.api import Compare, Datastore, Delete, Item, Put
from tortie.datastore.cluster import CLUSTER_PATH, guid_of
from tortie.datastore.transfer.archive import Archive
from tortie.datastore.transfer.content import FILLING, Digest, Digester, Entry, entries, order, with_ready
from tortie.errors import Conflict, DatastoreError, ForeignCluster

# etcd takes 128 operations and 1.5 MiB in a transaction.
_WRITES_AT_ONCE = 100
_BYTES_AT_ONCE = 1 << 20
_SHOWN = 3  # keys in an error


class Source(Protocol):
    """Where a cluster comes from."""

    place: str
    information: bytes  # ClusterInformation, which is among the entries

    def entries(self) -> AsyncGenerator[Entry, None]:
        """All of it in order, each time it is asked for."""


class StoreSource:
    """A cluster in a store; `information` is its ClusterInformation as it is to be moved."""

    def __init__(self, datastore: Datastore, information: bytes) -> None:
        self.place = f"datastore {datastore.url}"
        self.information = information
        self._datastore = datastore

    def entries(self) -> AsyncGenerator[Entry, None]:
        return entries(self._datastore, {CLUSTER_PATH: self.information})


class ArchiveSource:
    """A cluster in an archive, which is checked first. Raises DatastoreError for one that is not whole."""

    def __init__(self, archive: Archive) -> None:
        self.place = archive.name
        self.keys = archive.check().keys
        self.information = next((entry.value for entry in archive.entries() if entry.key == CLUSTER_PATH), b"")
        self._archive = archive

    async def entries(self) -> AsyncGenerator[Entry, None]:
        for entry in self._archive.entries():
            yield entry


class Copied(NamedTuple):
    """What was done."""

    digest: Digest  # of both now
    written: int
    deleted: int
    resumed: bool  # an earlier copy had begun


class _Difference(NamedTuple):
    """A key that is not the same here and there; None: absent."""

    key: str
    wanted: bytes | None


async def copy(source: Source, target: Datastore, *, replace: bool, advance: Callable[[], None]) -> Copied:
    """Makes the target hold the source's cluster; `advance` is called for each of its keys.

    Raises ForeignCluster and Conflict for a target that must be replaced to be filled, unless `replace` says so.
    """
    cluster = guid_of(source.information)
    mark, there = await target.get(FILLING), await target.get(CLUSTER_PATH)
    resumed = mark is not None and cluster_of(mark) == cluster
    if not resumed and not replace and await _holds(source, cluster, target, mark, there):
        return Copied(await _digest(target, source.information), 0, 0, False)

    revision = await _begin(target, cluster, source.information, mark, there)
    digester = Digester()
    written, deleted = int(not resumed), 0  # ClusterInformation stands there now

    def take(entry: Entry) -> None:
        digester.take(entry)
        advance()

    writes: list[Put | Delete] = []
    size = 0
    found = entries(target, {CLUSTER_PATH: source.information})
    async with aclosing(_differences(source.entries(), found, take)) as differences:
        async for key, wanted in differences:
            length = len(key) + len(wanted or b"")
            if len(writes) == _WRITES_AT_ONCE or size + length > _BYTES_AT_ONCE:
                await _write(target, revision, writes)
                writes, size = [], 0
            writes.append(Delete(key) if wanted is None else Put(key, wanted))
            size += length
            written, deleted = written + (wanted is not None), deleted + (wanted is None)
    await _write(target, revision, writes)
    await _compare(source, target, digester.digest)
    await _write(target, revision, [Put(CLUSTER_PATH, source.information), Delete(FILLING)])
    return Copied(digester.digest, written, deleted, resumed)


async def _holds(source: Source, cluster: str, target: Datastore, mark: Item | None, there: Item | None) -> bool:
    """Whether the target holds all of it already; False: it is empty. Raises when it holds anything else."""
    remedy = "name another target, or say --replace: what it holds is lost then"
    if mark is not None:
        raise ForeignCluster(f"datastore {target.url} is half filled with cluster {cluster_of(mark)}: {remedy}")
    found = guid_of(there.value) if there else ""
    if found and found != cluster:
        raise ForeignCluster(f"datastore {target.url} holds cluster {found}, and {source.place} {cluster}: {remedy}")
    if there is None and await _is_empty(target):
        return False
    async with aclosing(_differences(source.entries(), entries(target, {}))) as differences:
        keys = [different.key async for different in differences]
    if not keys:
        return True
    some = ", ".join(keys[:_SHOWN]) + (" ..." if len(keys) > _SHOWN else "")
    what = "this cluster" if there else "keys of no cluster"
    raise Conflict(f"datastore {target.url} holds {what} already, and {len(keys)} keys differ: {some}: {remedy}")


async def _is_empty(target: Datastore) -> bool:
    async with aclosing(entries(target, {})) as found:
        async for _ in found:
            return False
    return True


async def _begin(target: Datastore, cluster: str, information: bytes, mark: Item | None, there: Item | None) -> int:
    """Marks and locks the target; the revision of the mark."""
    compares = [
        Compare(FILLING, mark.revision if mark else 0),
        Compare(CLUSTER_PATH, there.revision if there else 0),
    ]
    writes = [
        Put(FILLING, json.dumps({"cluster": cluster}).encode()),
        Put(CLUSTER_PATH, with_ready(information, False)),
    ]
    result = await target.txn(compares, writes)
    if not result.succeeded:
        raise Conflict(f"datastore {target.url}: somebody else writes to it: see who, and try again")
    return result.revision


async def _write(target: Datastore, mark: int, writes: list[Put | Delete]) -> None:
    if writes and not (await target.txn([Compare(FILLING, mark)], writes)).succeeded:
        raise Conflict(f"datastore {target.url}: another copy to it was begun, and goes on in the place of this one")


async def _compare(source: Source, target: Datastore, digest: Digest) -> None:
    """Raises DatastoreError unless the target holds just what was read."""
    found = await _digest(target, source.information)
    if found != digest:
        raise DatastoreError(
            f"{source.place} had {digest}, and datastore {target.url} has {found}: somebody else writes to it. "
            "It stays locked: stop who uses it, and do the same again, which writes the difference"
        )


async def _digest(target: Datastore, information: bytes) -> Digest:
    digester = Digester()
    async for entry in entries(target, {CLUSTER_PATH: information}):
        digester.take(entry)
    return digester.digest


async def _differences(
    wanted: AsyncGenerator[Entry, None],
    found: AsyncGenerator[Entry, None],
    take: Callable[[Entry], None] = lambda _: None,
) -> AsyncGenerator[_Difference, None]:
    """Two ordered sequences, walked side by side; `take` is called for each entry that is wanted."""
    async with aclosing(wanted), aclosing(found):
        there = await anext(found, None)
        async for here in wanted:
            take(here)
            place = order(here.key)
            while there is not None and order(there.key) < place:
                yield _Difference(there.key, None)
                there = await anext(found, None)
            if there is None or there != here:
                yield _Difference(*here)
            if there is not None and there.key == here.key:
                there = await anext(found, None)
        while there is not None:
            yield _Difference(there.key, None)
            there = await anext(found, None)


def cluster_of(mark: Item) -> str:
    """Of which cluster a target will be."""
    try:
        cluster = json.loads(mark.value)["cluster"]
    except (ValueError, LookupError, TypeError):
        return ""
    return cluster if isinstance(cluster, str) else ""
