"""Of many conditions on one number those that a value fulfils, as the bits of an integer, found in logarithmic time.

Each condition is a union of intervals. Between two neighbouring ends of intervals the answer is the same, so what is
kept is where it changes, and the whole answer at every `_STRIDE`th of these places.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache

Span = tuple[int, int]  # first and last, both included

_STRIDE = 64
_KEPT = 1024  # answers


class Axis:
    """Conditions are added first, then asked for."""

    def __init__(self, top: int) -> None:
        self.top = top
        self._always = 0
        self._changes: dict[int, int] = {}
        self._cuts: list[int] = []
        self._answers: list[int] = []
        self._kept = lru_cache(maxsize=_KEPT)(self._between)

    def add(self, number: int, spans: Iterable[Span] | None) -> None:
        """The condition of that number: that the value is in one of the spans, which are apart. None: always true."""
        bit = 1 << number
        if spans is None:
            self._always |= bit
            return
        for first, last in spans:
            for place in (first, last + 1):
                self._changes[place] = self._changes.get(place, 0) ^ bit

    def freeze(self) -> None:
        """Nothing is added any more."""
        self._cuts = sorted(self._changes)
        answer = self._always
        self._answers = []
        for index, cut in enumerate(self._cuts):
            if index % _STRIDE == 0:
                self._answers.append(answer)
            answer ^= self._changes[cut]

    def fulfilled(self, value: int) -> int:
        """The numbers of the conditions that are true of the value, as bits."""
        return self._kept(bisect_right(self._cuts, value))

    def _between(self, passed: int) -> int:
        """The answer behind so many cuts."""
        if not passed:
            return self._always
        start = (passed - 1) // _STRIDE
        answer = self._answers[start]
        for cut in self._cuts[start * _STRIDE : passed]:
            answer ^= self._changes[cut]
        return answer


def spans(wanted: Iterable[Span], unwanted: Iterable[Span], top: int) -> list[Span] | None:
    """Values that are in `wanted`, or anything if that is empty, and not in `unwanted`; None: all up to `top`."""
    found = merged(wanted)
    holes = merged(unwanted)
    if not found and not holes:
        return None
    kept: list[Span] = []
    for first, last in found or [(0, top)]:
        for hole_first, hole_last in holes:
            if hole_last < first or last < hole_first:
                continue
            if first < hole_first:
                kept.append((first, hole_first - 1))
            first = hole_last + 1
            if first > last:
                break
        if first <= last:
            kept.append((first, last))
    return kept


def merged(found: Iterable[Span]) -> list[Span]:
    """The same values in their order, in as few spans as may be."""
    kept: list[Span] = []
    for first, last in sorted(found):
        if kept and first <= kept[-1][1] + 1:
            kept[-1] = (kept[-1][0], max(kept[-1][1], last))
        else:
            kept.append((first, last))
    return kept
