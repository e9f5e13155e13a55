"""Doubling delays between the attempts at one row."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Backoff(Generic[K]):
    """When each failing row may be tried again; rows that never failed are always due.

    The first delay lets a race settle (an interface that comes back within milliseconds); the last bounds both
    the load of a row that will never succeed and the wait once its cause has gone without an event.
    """

    def __init__(self, first_s: float = 0.05, last_s: float = 10.0) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._state: dict[K, tuple[float, float]] = {}  # key -> (due time, delay that led to it)

    def failed(self, key: K, now: float) -> None:
        delay = min(self._state[key][1] * 2, self._last_s) if key in self._state else self._first_s
        self._state[key] = (now + delay, delay)

    def clear(self, key: K) -> None:
        """The row succeeded, is no longer wanted, or something changed: it is due at once. Idempotent."""
        self._state.pop(key, None)

    def due(self, key: K, now: float) -> bool:
        return key not in self._state or self._state[key][0] <= now

    def due_at(self, key: K) -> float:
        """The time from which on it is due; 0 of a row that never failed."""
        return self._state[key][0] if key in self._state else 0.0

    def next_due(self) -> float | None:
        """The earliest time at which a waiting row falls due; O(waiting rows)."""
        return min((due for due, _ in self._state.values()), default=None)
