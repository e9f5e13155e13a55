"""What every datastore backend promises: five verbs over keys, bytes and revisions.

Revisions are those of etcd: one counter for the whole store, raised by every transaction that writes. A key's
`revision` is the store's revision when the key was last written. Keys and values are Calico's, byte for byte, so
moving between backends is a copy.

Invariants:
* `watch(prefix, from_revision=r + 1)` after `list(prefix)` answered revision r misses nothing and repeats nothing.
* Events arrive in revision order; all events of one transaction arrive in one batch.
* `Bookmark` raises an idle watcher's revision, so that a compaction does not force it to list again.
* A transaction is atomic: all comparisons hold and all writes happen, or nothing does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol


class Item(NamedTuple):
    """A key with its value. `revision` is its modification revision, `created` its creation revision."""

    key: str
    value: bytes
    revision: int
    created: int


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
    """`succeeded` is False when a comparison failed; `found` then holds the compared keys as they are (None: absent)."""

    succeeded: bool
    revision: int
    found: tuple[Item | None, ...]


class Datastore(Protocol):
    """A connection to one store. All methods raise `Unavailable` when it does not answer; none ever blocks the loop."""

    @property
    def url(self) -> str:
        """Where this store is, without secrets: every error names it."""

    async def get(self, key: str) -> Item | None: ...

    async def list(self, prefix: str) -> Listing: ...

    def watch(self, prefix: str, from_revision: int) -> AsyncIterator[Batch]:
        """Yields batches from `from_revision` on, for ever; raises `Compacted` when that history is gone."""

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> TxnResult: ...

    async def lease(self, ttl_s: float) -> int:
        """Grants a lease; its keys are deleted `ttl_s` seconds after the grant or the last `keep_alive`."""

    async def keep_alive(self, lease: int) -> None:
        """Raises `NotFound` when the lease has ended."""

    async def close(self) -> None: ...
