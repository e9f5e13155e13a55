"""Of which lengths the prefixes of a set are so many that they have a hash of their own.

The kernel makes a set of intervals anew with every transaction that changes it, which takes 24 ms at 100,000 prefixes;
a hash takes one more in less than 1. It costs every rule that asks for the set a lookup more, so few lengths have one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tortie.intent.policy import Network

# One hash more at MANY prefixes, one less below FEW: a set whose size goes up and down is not moved each time.
MANY = 4096
FEW = 1024
MOST = 3


class Lengths:
    """The lengths of the prefixes of one set and family, which come and go."""

    def __init__(self) -> None:
        self._count: Counter[int] = Counter()
        self.own: frozenset[int] = frozenset()  # the lengths that have a hash
        self.any_other = False  # there are prefixes of other lengths, which stand in a set of intervals

    def change(self, gained: Iterable[Network], lost: Iterable[Network]) -> frozenset[int]:
        """The lengths whose prefixes have to move: from the intervals into a hash, or back."""
        self._count.update(each.prefixlen for each in gained)
        self._count.subtract(each.prefixlen for each in lost)
        before = self.own
        kept = {length for length in before if self._count[length] >= FEW}
        many = [length for length, count in self._count.most_common() if count >= MANY and length not in kept]
        self.own = frozenset({*kept, *many[: MOST - len(kept)]})
        self.any_other = any(count and length not in self.own for length, count in self._count.items())
        return before ^ self.own
