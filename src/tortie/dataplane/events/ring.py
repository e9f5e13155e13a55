"""The last events, for readers of any speed: who is too slow misses some and is told how many."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import NamedTuple

import msgspec

from tortie.dataplane.events.event import Event

KEPT = 2000


class Page(NamedTuple):
    """What a reader gets. `number` is where to go on."""

    events: tuple[Event, ...]
    missed: int
    number: int


class Ring:
    """Numbers every event, from 1 on."""

    def __init__(self, kept: int = KEPT) -> None:
        self._events: deque[Event] = deque(maxlen=kept)
        self.number = 0  # of the last one

    def add(self, event: Event) -> None:
        self.number += 1
        self._events.append(msgspec.structs.replace(event, number=self.number))

    def since(self, number: int, limit: int = KEPT) -> Page:
        """Those behind that number, oldest first; a number that was not given yet, as of an agent before, is 0."""
        if number > self.number:
            number = 0
        first = self.number - len(self._events) + 1
        start = max(number + 1, first)
        found = tuple(islice(self._events, start - first, start - first + limit))
        # The first page of a reader that knows nothing misses nothing that it could know of.
        missed = start - number - 1 if number else 0
        return Page(found, missed, found[-1].number if found else self.number)
