"""What the agent measures of itself: how long changes take, how late the loop is, what the process costs.

Invariants:
* To measure costs nothing while nothing happens, but for the look at the loop's delay, once a second.
* What moves by itself is no part of the board that is posted: a board that says nothing new wakes nobody.
"""

from __future__ import annotations

import asyncio
import os
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path

from tortie.intent.report import Count
from tortie.intent.verdict import Reason
from tortie.status import LIMITS_S, Dropped, Duration, Vitals

LAG_INTERVAL_S = 1.0
LAGS_KEPT = 60  # a minute

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class _Taken:
    """Durations of one kind, as they come."""

    def __init__(self) -> None:
        self._sum_s = 0.0
        self._last_s = 0.0
        self._by_limit = [0] * (len(LIMITS_S) + 1)

    def add(self, taken_s: float) -> None:
        self._sum_s += taken_s
        self._last_s = taken_s
        self._by_limit[bisect_left(LIMITS_S, taken_s)] += 1

    @property
    def duration(self) -> Duration:
        within = tuple(accumulate(self._by_limit[:-1]))
        return Duration(count=sum(self._by_limit), sum_s=self._sum_s, last_s=self._last_s, within=within)


class Measurements:
    """Times are the loop's."""

    def __init__(self, now: float) -> None:
        self._started = now
        self._stale_since: float | None = now
        self._begun: dict[str, float] = {}
        self._taken: dict[str, _Taken] = {}
        self._resyncs: dict[str, int] = {}
        self._lags: deque[float] = deque([0.0], maxlen=LAGS_KEPT)

    def begin(self, what: str, now: float) -> None:
        """Something is to be done; it has been under way for as long as the first of it."""
        self._begun.setdefault(what, now)

    def end(self, what: str, now: float) -> None:
        """All of it is done. Nothing, if nothing was to be done."""
        begun = self._begun.pop(what, None)
        if begun is not None:
            self._taken.setdefault(what, _Taken()).add(now - begun)

    def resynced(self, cause: str) -> None:
        self._resyncs[cause] = self._resyncs.get(cause, 0) + 1

    def hear(self, *, answers: bool, now: float) -> None:
        """Whether the datastore answers."""
        if answers:
            self._stale_since = None
        elif self._stale_since is None:
            self._stale_since = now

    @property
    def lag_ms(self) -> float:
        """How late the loop was at the last look."""
        return round(1000 * self._lags[-1], 1)

    async def watch_loop(self) -> None:
        """Never ends."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_INTERVAL_S
            await asyncio.sleep(LAG_INTERVAL_S)
            self._lags.append(loop.time() - due)

    def vitals(self, now: float, connections_cut: int, dropped: Mapping[Reason, Count]) -> Vitals:
        stale_s = 0.0 if self._stale_since is None else now - self._stale_since
        return Vitals(
            uptime_s=round(now - self._started, 1),
            resident_bytes=_resident_bytes(),
            processor_s=round(time.process_time(), 2),
            loop_lag_worst_ms=round(1000 * max(self._lags), 1),
            datastore_stale_s=round(stale_s, 1),
            applied={what: taken.duration for what, taken in self._taken.items()},
            resyncs=dict(self._resyncs),
            connections_cut=connections_cut,
            dropped={str(reason): Dropped(packets=n.packets, bytes=n.octets) for reason, n in dropped.items()},
        )


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
