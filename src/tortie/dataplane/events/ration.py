"""So many events a second for each of many: who floods is silenced, and nobody else is."""

from __future__ import annotations

from collections import OrderedDict

RATE_PER_S = 10
BURST = 50
# Of those who spoke last; whoever comes after so many others begins anew.
MOST_SUBJECTS = 4096


class _Share:
    __slots__ = ("at", "left", "untold")

    def __init__(self, now: float) -> None:
        self.at = now
        self.left = float(BURST)
        self.untold = 0


class Ration:
    """A bucket of tokens for each subject."""

    def __init__(self) -> None:
        self._shares: OrderedDict[str, _Share] = OrderedDict()

    def take(self, subject: str, now: float) -> int | None:
        """None when the subject has had its share, else how many before were refused for that."""
        share = self._shares.get(subject)
        if share is None:
            share = self._shares[subject] = _Share(now)
            if len(self._shares) > MOST_SUBJECTS:
                self._shares.popitem(last=False)
        self._shares.move_to_end(subject)
        share.left = min(float(BURST), share.left + (now - share.at) * RATE_PER_S)
        share.at = now
        if share.left < 1:
            share.untold += 1
            return None
        share.left -= 1
        untold, share.untold = share.untold, 0
        return untold
