"""Keys in blocks against a sorted list, after any steps."""

from __future__ import annotations

from random import Random

import pytest

from tortie.dataplane.nftables.ordered import Ordered


@pytest.mark.parametrize("seed", range(5))
def test_any_steps(seed: int) -> None:
    chance, ordered, there = Random(seed), Ordered[int](), set[int]()
    for step in range(20_000):
        growing = step // 5000 % 2 == 0
        number = chance.randrange(8000)
        if number in there:
            if not growing:
                ordered.remove(number)
                there.discard(number)
        elif growing:
            ordered.add(number)
            there.add(number)
        if step % 100 == 0:
            asked = chance.randrange(8000)
            assert ordered.before(asked) == max((each for each in there if each < asked), default=None)
            assert ordered.at_or_after(asked) == min((each for each in there if each >= asked), default=None)
    for number in sorted(there):
        assert ordered.at_or_after(0) == number
        ordered.remove(number)
    assert ordered.at_or_after(0) is None
    assert ordered.before(8000) is None
