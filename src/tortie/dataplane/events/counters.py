"""Packets dropped, by reason, as totals that only grow: the kernel's begin anew when a chain is written anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tortie.intent.report import Count
from tortie.intent.verdict import Reason


class DropCounters:
    """`read` is the backend's: what the kernel counts now."""

    def __init__(self, read: Callable[[], Mapping[Reason, Count]]) -> None:
        self._read = read
        self._seen: dict[Reason, Count] = {}
        self.totals: dict[Reason, Count] = dict.fromkeys(Reason, Count(0, 0))

    def update(self) -> None:
        """Adds what came since the last time; raises KernelError, and then nothing is changed."""
        for reason, now in self._read().items():
            before = self._seen.get(reason, Count(0, 0))
            if now.packets < before.packets:
                before = Count(0, 0)
            self._seen[reason] = now
            total = self.totals[reason]
            self.totals[reason] = Count(
                total.packets + now.packets - before.packets, total.octets + now.octets - before.octets
            )
