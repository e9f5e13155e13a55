"""Desired against actual as two views of one structure; pending work is their difference.

Invariants:
* A key is in `puts` exactly when it is desired and the actual row is absent or different.
* A key is in `deletes` exactly when there is an actual row and none is desired.
* Every call costs O(1) for each row that it is told of, and `replace_actual` one pass over both views.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, KeysView, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class DeltaTracker(Generic[K, V]):
    """What should be, what is, and what is left to do."""

    def __init__(self) -> None:
        self._desired: dict[K, V] = {}
        self._actual: dict[K, V] = {}
        # Insertion-ordered, so that work is done in the order in which it arose.
        self._puts: dict[K, None] = {}
        self._deletes: dict[K, None] = {}

    def want(self, key: K, value: V) -> None:
        self._desired[key] = value
        self._judge(key)

    def unwant(self, key: K) -> None:
        """Idempotent."""
        self._desired.pop(key, None)
        self._judge(key)

    def saw(self, key: K, value: V) -> None:
        """The outside world holds this row (read back, told by an event, or just written)."""
        self._actual[key] = value
        self._judge(key)

    def wrote(self, rows: Mapping[K, V]) -> None:
        """The outside world holds these rows now, which `puts` told of and nobody has changed since: O(rows)."""
        self._actual.update(rows)
        for key in rows:
            del self._puts[key]

    def saw_gone(self, key: K) -> None:
        """The outside world holds no such row. Idempotent."""
        self._actual.pop(key, None)
        self._judge(key)

    def replace_actual(self, rows: Mapping[K, V]) -> None:
        """Takes a full read-back; O(desired + actual)."""
        self._actual = dict(rows)
        # A row that is there already may be about to name one that is not there yet.
        absent = {key: None for key in self._desired if key not in rows}
        different = {key: None for key, value in self._desired.items() if key in rows and rows[key] != value}
        self._puts = absent | different
        self._deletes = {key: None for key in rows if key not in self._desired}

    def desired(self, key: K) -> V | None:
        return self._desired.get(key)

    @property
    def wanted(self) -> KeysView[K]:
        return self._desired.keys()

    @property
    def there(self) -> KeysView[K]:
        """The keys of the actual rows."""
        return self._actual.keys()

    def actual(self, key: K) -> V | None:
        return self._actual.get(key)

    def right(self, key: K) -> bool:
        """The row is as it is wanted, or neither wanted nor there."""
        return key not in self._puts and key not in self._deletes

    @property
    def puts(self) -> Iterator[tuple[K, V]]:
        return ((key, self._desired[key]) for key in self._puts)

    @property
    def deletes(self) -> Iterator[K]:
        return iter(self._deletes)

    @property
    def in_sync(self) -> bool:
        return not self._puts and not self._deletes

    def __len__(self) -> int:
        """The number of desired rows."""
        return len(self._desired)

    def _judge(self, key: K) -> None:
        wanted, there = key in self._desired, key in self._actual
        if wanted and not (there and self._actual[key] == self._desired[key]):
            self._puts[key] = None
        else:
            self._puts.pop(key, None)
        if there and not wanted:
            self._deletes[key] = None
        else:
            self._deletes.pop(key, None)
