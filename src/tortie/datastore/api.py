"""What every datastore backend promises: six verbs over keys, bytes and revisions.

Revisions are those of etcd: one counter for the whole store, raised by every transaction that writes; those that were
asked for at once and touch different keys may share one. A key's `revision` is the store's revision when the key was
last written. Keys and values are Calico's, byte for byte, so moving between backends is a copy.

Invariants:
* `watch(prefix, from_revision=r + 1)` after `list(prefix)` answered revision r misses nothing and repeats
  nothing.
* Events arrive in revision order; all events of one transaction arrive in one batch.
* An empty batch, a bookmark, raises an idle watcher's revision, so that a compaction does not make it list
  again.
* A transaction is atomic: all comparisons hold and all writes happen, or nothing does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple, Protocol

import msgspec


class Item(msgspec.Struct, frozen=True, gc=False):
    """A key with its value. `revision` is its modification revision, `created` its creation revision, `lease` the
    lease that it goes with, 0 for none.

    Of 100,000 that are listed the garbage collector need not know: that is a quarter of the time.
    """

    key: str
    value: bytes
    revision: int
    created: int
    lease: int = 0


class Listing(NamedTuple):
    """All items below a prefix, ordered by key, as they stood at `revision`."""

    items: list[Item]
    revision: int


class Event(NamedTuple):
    """A key was written, or deleted when `value` is None."""

    key: str
    value: bytes | None
    revision: int


class Batch(NamedTuple):
    """All events of the transactions up to and including `revision`; empty means a bookmark."""

    events: tuple[Event, ...]
    revision: int


class Compare(NamedTuple):
    """Holds when the key's modification revision equals `revision`; 0 means that the key must not exist."""

    key: str
    revision: int


class Put(NamedTuple):
    """Writes a key; with `lease` the key goes when the lease ends."""

    key: str
    value: bytes
    lease: int = 0


class Delete(NamedTuple):
    """Deletes a key; deleting what is absent succeeds."""

    key: str


class TxnResult(NamedTuple):
    """What became of a transaction; `revision` is the store's after it.

    `succeeded` is False when a comparison failed: `found` then holds the compared keys as they are (None:
    absent), else it is empty.
    """

    succeeded: bool
    revision: int
    found: tuple[Item | None, ...]


class Datastore(Protocol):
    """A connection to one store.

    All methods raise `Unavailable` when the store does not answer, and `DatastoreError` when what answers
    cannot be used (damaged, read-only, of a newer format); a later call tries again. None blocks the loop.
    """

    @property
    def url(self) -> str:
        """Where this store is, without secrets. Every error names the place."""

    async def get(self, key: str) -> Item | None: ...

    async def list(self, prefix: str) -> Listing: ...

    def pages(self, prefix: str) -> AsyncGenerator[Listing, None]:
        """What `list` answers, in listings of a bounded size, one after the other and all of one revision.

        The first comes in any case. Raises `Unavailable` also when the store cannot go on with that revision: begin
        again. Close the generator (`contextlib.aclosing`) if it is not read to its end.
        """

    def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[Batch, None]:
        """Yields batches from `from_revision` on, for ever; raises `Compacted` when that history is gone.

        The first batch comes as soon as the watch stands, with all that has happened since, empty if nothing has.
        Close the generator (`contextlib.aclosing`) to end the watch.
        """

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> TxnResult:
        """Writes each key at most once. Raises `NotFound` when the lease of a `Put` has ended."""

    async def lease(self, ttl_s: float) -> int:
        """Grants a lease; its keys are deleted `ttl_s` seconds after the grant or the last `keep_alive`."""

    async def keep_alive(self, lease: int) -> None:
        """Raises `NotFound` when the lease has ended."""

    async def close(self) -> None: ...
