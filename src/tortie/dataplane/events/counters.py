"""Packets dropped, by reason, as totals that only grow: the kernel's begin anew when a chain is written anew."""

from __future__ import annotations

from collections.abc import Mapping

from tortie.intent.report import Count
from tortie.intent.verdict import DROPPING, Reason

_NOTHING = Count(0, 0)


class DropCounters:
    """Since the agent started, and what the kernel had counted before."""

    def __init__(self) -> None:
        self._source = ""
        self._seen: dict[Reason, Count] = {}
        self.totals: dict[Reason, Count] = dict.fromkeys(DROPPING, _NOTHING)

    def take(self, source: str, counted: Mapping[Reason, Count]) -> None:
        """Adds what came since the last time; another source, such as another backend, counts by itself."""
        if source != self._source:
            self._source, self._seen = source, {}
        for reason in DROPPING:
            now, before = counted.get(reason, _NOTHING), self._seen.get(reason, _NOTHING)
            if now.packets < before.packets:
                before = _NOTHING
            self._seen[reason] = now
            total = self.totals[reason]
            self.totals[reason] = Count(
                total.packets + now.packets - before.packets, total.octets + now.octets - before.octets
            )
