"""One table kept equal to what is wanted.

Invariants:
* Nothing is written before the first `resync`: without a read-back "absent" is a guess.
* A row that is right is never written; a second `apply` with nothing new writes nothing.
* A failing row stays pending with its own backoff and its reason; the other rows of the same call are done.
* Time is an argument; the reconciler has no clock and never sleeps.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Generic, NamedTuple, Protocol, TypeVar

from tortie.errors import TortieError
from tortie.reconcile.backoff import Backoff
from tortie.reconcile.tracker import DeltaTracker

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Table(Protocol[K, V]):
    """Rows of one kind in the outside world, of which some are ours.

    `read` returns only rows that a fresh process would recognise as ours; `wanted` names the keys of interest to
    a table that cannot list what is its own. `put` creates a row, or replaces one that is ours; it never takes
    over somebody else's. `delete` of what is absent, or not ours, succeeds.
    `put` and `delete` do what they can and return the failures by key; they raise only when nothing at all can
    be done, and then the next step is `resync`.
    """

    def read(self, wanted: Collection[K]) -> Mapping[K, V]: ...

    def put(self, rows: Mapping[K, V]) -> Mapping[K, TortieError]: ...

    def delete(self, keys: Collection[K]) -> Mapping[K, TortieError]: ...


class Failure(NamedTuple):
    """Why a row is still pending, and since when."""

    error: TortieError
    since: float


class Reconciler(Generic[K, V]):
    """Joins a table to a tracker of what is wanted in it."""

    def __init__(self, name: str, table: Table[K, V]) -> None:
        self.name = name
        self.writes = 0  # rows written or deleted since the start: a metric, and how tests see a no-op
        self.failures: dict[K, Failure] = {}
        self.put_last: tuple[K, ...] = ()  # rows that the last `apply_puts` wrote
        self._table = table
        self._tracker: DeltaTracker[K, V] = DeltaTracker()
        self._backoff: Backoff[K] = Backoff()
        self._read = False

    def want(self, key: K, value: V) -> None:
        """A changed wish is tried at once, whatever the old one suffered."""
        if self._tracker.desired(key) != value:
            self.retry(key)
        self._tracker.want(key, value)
        if self._tracker.right(key):
            self._forget(key)

    def unwant(self, key: K) -> None:
        self._forget(key)
        self._tracker.unwant(key)

    def saw(self, key: K, value: V) -> None:
        self._tracker.saw(key, value)
        if self._tracker.right(key):
            self._forget(key)

    def saw_gone(self, key: K) -> None:
        self._tracker.saw_gone(key)
        self.retry(key)

    def retry(self, key: K) -> None:
        """Something changed that may have been the cause of a failure: the row is due at once."""
        self._backoff.clear(key)

    def right(self, key: K) -> bool:
        """The row is as it is wanted, as far as was seen."""
        return self._read and self._tracker.right(key)

    @property
    def known(self) -> bool:
        """The table was read once."""
        return self._read

    @property
    def lacking(self) -> Iterator[K]:
        """Rows that are wanted and not there, or different."""
        return (key for key, _ in self._tracker.puts)

    @property
    def wanted(self) -> Collection[K]:
        return self._tracker.wanted

    def actual(self, key: K) -> V | None:
        return self._tracker.actual(key)

    def resync(self) -> None:
        """Reads the table again; raises what `Table.read` raises, with the old view kept."""
        self._tracker.replace_actual(self._table.read(self._tracker.wanted))
        self._read = True

    def resync_by_key(self, keys: Iterable[K], limit: int) -> Iterator[None]:
        """The same for a table that cannot list itself: `keys` and all that is wanted, `limit` rows a step."""
        left = iter({*keys, *self._tracker.wanted})
        while part := list(islice(left, limit)):
            rows = self._table.read(part)
            for key in part:
                if key in rows:
                    self.saw(key, rows[key])
                else:
                    self._tracker.saw_gone(key)
            yield
        self._read = True

    def resync_by_part(self, parts: Iterable[Mapping[K, V]], limit: int) -> Iterator[None]:
        """The same for a table that is large: read a part a step; of rows that are gone `limit` a step."""
        unseen = set(self._tracker.there)
        for rows in parts:
            for key, value in rows.items():
                unseen.discard(key)
                self.saw(key, value)
            yield
        left = iter(unseen)
        while gone := list(islice(left, limit)):
            for key in gone:
                self._tracker.saw_gone(key)
            yield
        self._read = True

    def apply_puts(self, now: float, limit: int | None = None) -> bool:
        """Creates and replaces what is due, `limit` rows at most; True when rows that are due are left."""
        self.put_last = ()
        if not self._read:
            return False
        waiting, due = self.failures, self._tracker.puts
        if waiting:
            due = (row for row in due if row[0] not in waiting or self._backoff.due(row[0], now))
        rows = dict(islice(due, limit))
        if not rows:
            return False
        more = next(due, None) is not None
        failed = self._table.put(rows)
        if failed or waiting:
            for key, value in rows.items():
                if not self._note(key, failed.get(key), now):
                    self._tracker.saw(key, value)
        else:
            self.writes += len(rows)
            self._tracker.wrote(rows)
        self.put_last = tuple(key for key in rows if key not in failed)
        return more

    def apply_deletes(self, now: float, limit: int | None = None) -> bool:
        """Deletes what is due, `limit` rows at most; True when rows that are due are left."""
        if not self._read:
            return False
        due = (key for key in self._tracker.deletes if self._backoff.due(key, now))
        keys = list(islice(due, limit))
        if not keys:
            return False
        more = next(due, None) is not None
        failed = self._table.delete(keys)
        for key in keys:
            if not self._note(key, failed.get(key), now):
                self._tracker.saw_gone(key)
        return more

    @property
    def in_sync(self) -> bool:
        return self._read and self._tracker.in_sync

    def next_due(self) -> float | None:
        """When a failed row may be tried again; None when none waits."""
        return self._backoff.next_due()

    def __len__(self) -> int:
        """The number of rows wanted."""
        return len(self._tracker)

    def _note(self, key: K, error: TortieError | None, now: float) -> bool:
        if error is None:
            self.writes += 1
            self._forget(key)
            return False
        since = self.failures[key].since if key in self.failures else now
        self.failures[key] = Failure(error, since)
        self._backoff.failed(key, now)
        return True

    def _forget(self, key: K) -> None:
        if key in self.failures:  # of many rows hardly one
            del self.failures[key]
            self._backoff.clear(key)
