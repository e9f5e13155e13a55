"""Packets dropped, by reason, as totals that only grow: the kernel's begin anew when a chain is written anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tortie.intent.verdict import Reason
from tortie.kernel.netfilter.rule import Figures


class DropCounters:
    """`read` is the backend's: what the kernel counts now."""

    def __init__(self, read: Callable[[], Mapping[Reason, Figures]]) -> None:
        self._read = read
        self._seen: dict[Reason, Figures] = {}
        self.totals: dict[Reason, Figures] = dict.fromkeys(Reason, Figures(0, 0))

    def update(self) -> None:
        """Adds what came since the last time; raises KernelError, and then nothing is changed."""
        for reason, now in self._read().items():
            before = self._seen.get(reason, Figures(0, 0))
            if now.packets < before.packets:
                before = Figures(0, 0)
            self._seen[reason] = now
            total = self.totals[reason]
            self.totals[reason] = Figures(
                total.packets + now.packets - before.packets, total.octets + now.octets - before.octets
            )
