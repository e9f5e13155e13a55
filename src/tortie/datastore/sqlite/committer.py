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
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, NamedTuple, TypeVar

from tortie.datastore.sqlite.file import Locked, StoreFile, Work
from tortie.errors import Unavailable

T = TypeVar("T")

FIRST_PAUSE_S = 0.001
LONGEST_PAUSE_S = 0.05


class _Waiting(NamedTuple):
    """A write that has no answer yet."""

    work: Work[Any]
    done: asyncio.Future[Any]
    give_up: float


class Committer:
    """Runs writes on `file` in `thread`, for one event loop; `locked` makes the error of one whose patience ended."""

    def __init__(self, file: StoreFile, thread: Executor, patience_s: float, locked: Callable[[], Unavailable]) -> None:
        self._file = file
        self._thread = thread
        self._patience_s = patience_s
        self._locked = locked
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._refusal: Unavailable | None = None

    async def write(self, work: Work[T]) -> T:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._waiting.append(_Waiting(work, done, loop.time() + self._patience_s))
        if self._task is None:
            self._task = loop.create_task(self._commit_all())
        return await done

    def refuse(self, error: Unavailable) -> None:
        """From now on every write is answered with an error, but for those that are being committed."""
        self._refusal = error

    async def _commit_all(self) -> None:
        pause_s = FIRST_PAUSE_S
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                if self._refusal is not None:
                    self._answer(group, [self._refusal] * len(group))
                    continue
                group = [waiting for waiting in group if not waiting.done.done()]
                if await self._commit(group):
                    pause_s = FIRST_PAUSE_S
                    continue
                self._waiting = [*self._patient(group), *self._waiting]
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        finally:
            self._task = None

    async def _commit(self, group: Sequence[_Waiting]) -> bool:
        """Answers the group; False when the file is locked, and nothing was done."""
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(
                self._thread, partial(self._file.write_each, [waiting.work for waiting in group])
            )
        except Locked:
            return False
        except asyncio.CancelledError:
            for waiting in group:
                waiting.done.cancel()
            raise
        except Exception as error:  # whatever it is belongs to those who asked
            answers = [error] * len(group)
        self._answer(group, answers)
        return True

    def _patient(self, group: Sequence[_Waiting]) -> list[_Waiting]:
        """Those that may be tried again; the others are answered."""
        now = asyncio.get_running_loop().time()
        given_up = [waiting for waiting in group if waiting.give_up < now]
        self._answer(given_up, [self._locked()] * len(given_up))
        return [waiting for waiting in group if waiting.give_up >= now]

    def _answer(self, group: Sequence[_Waiting], answers: Sequence[Any]) -> None:
        for waiting, answer in zip(group, answers, strict=True):
            if waiting.done.done():  # its caller went away
                continue
            if isinstance(answer, Exception):
                waiting.done.set_exception(answer)
            else:
                waiting.done.set_result(answer)
