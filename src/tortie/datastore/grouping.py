"""Requests of one process to one store in groups: what arrives while a group is served goes with the next one.

Invariants:
* Requests are served in the order in which they were asked for.
* Each caller gets an answer of its own, and one that went away stops no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

Work = TypeVar("Work")


class Waiting(Generic[Work]):
    """A request that has no answer yet. `since` is the loop's time at which it was asked for."""

    def __init__(self, work: Work, loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.since = loop.time()
        self.done: asyncio.Future[Any] = loop.create_future()

    def answer(self, answer: Any) -> None:
        """Gives the caller what it waits for, if it still does; an exception is raised there."""
        if self.done.done():
            return
        if isinstance(answer, Exception):
            self.done.set_exception(answer)
        else:
            self.done.set_result(answer)


Group = list[Waiting[Work]]


class Grouping(Generic[Work]):
    """Hands all that waits to `serve`, which answers and returns those that are to come again, first in the next group.

    For one event loop. What `serve` raises is answered to the whole group.
    """

    def __init__(self, serve: Callable[[Group[Work]], Awaitable[Group[Work]]]) -> None:
        self._serve = serve
        self._waiting: Group[Work] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, work: Work) -> Any:
        loop = asyncio.get_running_loop()
        waiting = Waiting(work, loop)
        self._waiting.append(waiting)
        if self._task is None:
            self._task = loop.create_task(self._serve_all())
        return await waiting.done

    async def _serve_all(self) -> None:
        try:
            while group := [waiting for waiting in self._waiting if not waiting.done.done()]:
                self._waiting = []
                rest: Group[Work] = []
                try:
                    rest = await self._serve(group)
                except asyncio.CancelledError:
                    for waiting in group:
                        waiting.done.cancel()
                    raise
                except Exception as error:  # whatever it is belongs to those who asked
                    for waiting in group:
                        waiting.answer(error)
                self._waiting = [*rest, *self._waiting]
        finally:
            self._task = None
