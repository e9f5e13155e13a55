"""What others took away of ours and was put back: told of in the status, the metrics and, within bounds, the log.

Invariants:
* `KEPT` rows are remembered, each once however often it is taken.
* The log gets `LINES` lines, then one a minute for as long as it goes on; after a minute of quiet as many anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import groupby

import structlog

from tortie.dataplane.l3.repairs import Repair
from tortie.status import Repaired

LOG = structlog.get_logger(__name__)

KEPT = 20
LINES = 5
SUMMARY_S = 60.0


def _utc() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class RepairLog:
    """Times are the loop's, but for those that are told."""

    def __init__(self, wall: Callable[[], str] = _utc) -> None:
        self._wall = wall
        self._entries: dict[tuple[str, str], Repaired] = {}
        self._shown: tuple[Repaired, ...] = ()
        self._rows: dict[str, int] = {}
        self._minute_ends: float | None = None  # None: nothing was told within the last one
        self._lines_left = LINES
        self._untold = 0
        self._untold_ms = 0.0  # the longest of those
        self._last_untold: Repaired | None = None

    @property
    def entries(self) -> tuple[Repaired, ...]:
        """Oldest first. The same object as before while nothing was added."""
        return self._shown

    @property
    def rows(self) -> Mapping[str, int]:
        """How many by table, since the start."""
        return self._rows

    def next_due(self) -> float | None:
        return self._minute_ends

    def look(self, repairs: Iterable[Repair], now: float) -> None:
        """Takes what is back, and tells what is due."""
        self._end_minute(now)
        # What was taken at once, by one, is told of at once.
        for (table, by), group in groupby(sorted(repairs, key=_author), _author):
            rows = list(group)
            self._rows = self._rows | {table: self._rows.get(table, 0) + len(rows)}
            more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
            entry = self._add(table, rows[0].what + more, by, max(row.took_ms for row in rows))
            self._tell(entry, len(rows), now)

    def _add(self, table: str, what: str, by: str, took_ms: float) -> Repaired:
        before = self._entries.pop((table, what), None)
        entry = self._entries[table, what] = Repaired(
            time=self._wall(),
            table=table,
            what=what,
            by=by,
            back_ms=took_ms,
            longest_ms=max(took_ms, before.longest_ms if before else 0.0),
            times=1 + (before.times if before else 0),
        )
        while len(self._entries) > KEPT:
            del self._entries[next(iter(self._entries))]
        self._shown = tuple(self._entries.values())
        return entry

    def _tell(self, entry: Repaired, rows: int, now: float) -> None:
        if self._minute_ends is None:
            self._minute_ends = now + SUMMARY_S
        if self._lines_left:
            self._lines_left -= 1
            LOG.warning(
                "others removed or changed what is ours: put back", what=entry.what, by=entry.by, after_ms=entry.back_ms
            )
        else:
            self._untold += rows
            self._untold_ms = max(self._untold_ms, entry.back_ms)
            self._last_untold = entry

    def _end_minute(self, now: float) -> None:
        if self._minute_ends is None or now < self._minute_ends:
            return
        if self._last_untold is not None:
            LOG.warning(
                "others go on to remove or change what is ours: put back each time",
                rows_in_the_last_minute=self._untold,
                last=self._last_untold.what,
                last_by=self._last_untold.by,
                longest_ms=self._untold_ms,
            )
            self._untold, self._untold_ms, self._last_untold = 0, 0.0, None
            self._minute_ends = now + SUMMARY_S
        else:
            self._lines_left, self._minute_ends = LINES, None


def _author(repair: Repair) -> tuple[str, str]:
    return repair.table, repair.by
