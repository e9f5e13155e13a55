"""Of the prefixes of a set those that no other one contains: together they say the same, and none overlaps another.

Two prefixes are apart, or one contains the other; there is nothing between. So what an interval set of the kernel may
hold are just the outermost ones. In the order of their first addresses, those that a prefix contains follow it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Set
from typing import NamedTuple

from tortie.dataplane.nftables.ordered import Ordered
from tortie.intent.policy import Family, Network


class Span(NamedTuple):
    """A prefix as numbers: its first address and its length."""

    first: int
    length: int


class Change(NamedTuple):
    """What became outermost, and what is no longer."""

    gained: frozenset[Network]
    lost: frozenset[Network]


class Cover:
    """Prefixes of one family that come and go.

    A change costs O(log n) for each prefix and for each outermost one within it.
    """

    def __init__(self, family: Family) -> None:
        self._width = 32 if family == 4 else 128
        self._all: dict[Span, Network] = {}
        self._ordered = Ordered[Span]()
        self._lengths: Counter[int] = Counter()
        self._outermost: set[Span] = set()

    def __bool__(self) -> bool:
        return bool(self._all)

    @property
    def outermost(self) -> Set[Network]:
        """All of them; O(n)."""
        return {self._all[span] for span in self._outermost}

    def change(self, added: Iterable[Network], removed: Iterable[Network] = ()) -> Change:
        """Takes prefixes out, then others in. One that is there already, or is not, changes nothing."""
        gone = self._take_out(removed)
        changed = gone.keys() | self._put_in(added)
        was: dict[Span, bool] = {}
        for span in changed:
            self._settle(span, was)
        before = {span for span, was_outermost in was.items() if was_outermost}
        after = was.keys() & self._outermost
        return Change(
            gained=frozenset(self._all[span] for span in after - before),
            lost=frozenset(self._all.get(span) or gone[span] for span in before - after),
        )

    def _take_out(self, networks: Iterable[Network]) -> dict[Span, Network]:
        gone = {}
        for network in networks:
            span = _span(network)
            if found := self._all.pop(span, None):
                gone[span] = found
                self._ordered.remove(span)
                self._lengths[span.length] -= 1
        return gone

    def _put_in(self, networks: Iterable[Network]) -> set[Span]:
        new = set()
        for network in networks:
            span = _span(network)
            if span not in self._all:
                self._all[span] = network
                self._ordered.add(span)
                self._lengths[span.length] += 1
                new.add(span)
        return new

    def _settle(self, span: Span, was: dict[Span, bool]) -> None:
        """Makes the outermost ones right as far as one changed prefix is concerned: itself and those it contains.

        Which other prefixes changed, and in what order they are settled, does not matter: each one's place follows from
        what is there now, and is decided with the innermost changed prefix around it.
        """
        is_contained = self._is_contained(span)
        is_outermost = span in self._all and not is_contained
        self._mark(span, is_outermost, was)
        are_outermost = not is_contained and not is_outermost
        for inner in self._within(span):
            self._mark(inner, are_outermost, was)

    def _mark(self, span: Span, is_outermost: bool, was: dict[Span, bool]) -> None:
        was.setdefault(span, span in self._outermost)
        if is_outermost:
            self._outermost.add(span)
        else:
            self._outermost.discard(span)

    def _is_contained(self, span: Span) -> bool:
        for length, count in self._lengths.items():
            host_bits = self._width - length
            if count and length < span.length and Span(span.first >> host_bits << host_bits, length) in self._all:
                return True
        return False

    def _within(self, span: Span) -> Iterator[Span]:
        """The outermost of those that the span contains, without itself."""
        last = self._last(span)
        inner = self._ordered.at_or_after(Span(span.first, span.length + 1))
        while inner is not None and inner.first <= last:
            yield inner
            inner = self._ordered.at_or_after(Span(self._last(inner) + 1, 0))

    def _last(self, span: Span) -> int:
        return span.first | (1 << self._width - span.length) - 1


def _span(network: Network) -> Span:
    return Span(int(network.network_address), network.prefixlen)
