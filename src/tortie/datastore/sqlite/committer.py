"""Writes of one process in groups: what arrives while a commit runs is committed together, with the next.

A commit costs 0.1 ms, a write within it 0.03 ms (measured), so many writers at once are served several times faster.

Invariants:
* Each write is a transaction of its own to its caller: it takes its own revision, sees what those before it wrote,
  fails alone, and is answered after the commit.
* Writes are done in the order in which they were asked for.
* A write that meets a lock is tried again until its own patience is at an end; nothing of it was done then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

from tortie.datastore.grouping import Group, Grouping
from tortie.datastore.sqlite.file import Locked, StoreFile, Work
from tortie.errors import Unavailable

T = TypeVar("T")

FIRST_PAUSE_S = 0.001
LONGEST_PAUSE_S = 0.05


class Committer:
    """Runs writes on `file` in `thread`, for one event loop; `locked` makes the error of one whose patience ended."""

    def __init__(self, file: StoreFile, thread: Executor, patience_s: float, locked: Callable[[], Unavailable]) -> None:
        self._file = file
        self._thread = thread
        self._patience_s = patience_s
        self._locked = locked
        self._writes: Grouping[Work[Any]] = Grouping(self._commit)
        self._pause_s = FIRST_PAUSE_S
        self._refusal: Unavailable | None = None

    async def write(self, work: Work[T]) -> T:
        written: T = await self._writes.ask(work)
        return written

    def refuse(self, error: Unavailable) -> None:
        """From now on every write is answered with an error, but for those that are being committed."""
        self._refusal = error

    async def _commit(self, group: Group[Work[Any]]) -> Group[Work[Any]]:
        """Answers the group; or, when the file is locked and nothing was done, waits and returns it."""
        if self._refusal is not None:
            raise self._refusal
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(
                self._thread, partial(self._file.write_each, [waiting.work for waiting in group])
            )
        except Locked:
            patient = self._patient(group)
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            return patient
        self._pause_s = FIRST_PAUSE_S
        for waiting, answer in zip(group, answers, strict=True):
            waiting.answer(answer)
        return []

    def _patient(self, group: Group[Work[Any]]) -> Group[Work[Any]]:
        """Those that may be tried again; the others are answered."""
        last = asyncio.get_running_loop().time() - self._patience_s
        for waiting in group:
            if waiting.since < last:
                waiting.answer(self._locked())
        return [waiting for waiting in group if waiting.since >= last]
