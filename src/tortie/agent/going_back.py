"""Goes back from changes that nobody confirmed in time: for this node at their deadline, then in the store.

Each agent takes them out of force by itself, whether the store answers or not. The store is written by whichever agent
is first; for the others there is nothing left to do.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

import structlog

from tortie.agent.unconfirmed import Instant, Unconfirmed
from tortie.datastore import confirming
from tortie.datastore.api import Datastore
from tortie.errors import DatastoreError, NotFound
from tortie.intent.report import Noted

LOG = structlog.get_logger(__name__)

# The loop's own clock stands still while the machine sleeps: look at the other one in between.
STEP_S = 1.0
# Of many agents that reach a deadline together most shall find the store brought back already.
SPREAD_S = 0.2
RETRY_S = 1.0


def now() -> Instant:
    """This moment."""
    return Instant(time.clock_gettime(time.CLOCK_BOOTTIME), datetime.now(UTC))


class GoingBack:
    """The two stages of it: `expire` does the first, if the whole state is known; the second waits until the store may
    be written."""

    def __init__(
        self,
        datastore: Datastore,
        unconfirmed: Unconfirmed,
        expire: Callable[[], bool],
        may_write: Callable[[], bool],
        wake: Callable[[], None],
    ) -> None:
        self._datastore = datastore
        self._unconfirmed = unconfirmed
        self._expire = expire
        self._may_write = may_write
        self._wake = wake
        self._refusals: dict[str, str] = {}  # why the store could not be written, by the names of records
        self._count_again = asyncio.Event()
        self._write_again = asyncio.Event()

    @property
    def problems(self) -> Iterator[Noted]:
        """What of it is not done yet, though the store answers."""
        for name in self._unconfirmed.overdue:
            if reason := self._refusals.get(name):
                reason = f"it is out of force here, and the datastore cannot be brought back: {reason}"
                yield Noted(subject=f"confirmation {name}", reason=reason)

    def look_again(self) -> None:
        """A record came or went, or the store may be written now."""
        self._count_again.set()
        self._write_again.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._count())
            tasks.create_task(self._write())

    async def _count(self) -> None:
        while True:
            self._count_again.clear()
            ends_s = self._unconfirmed.next_s if self._expire() else None
            left_s = None if ends_s is None else min(max(ends_s - now().seconds, 0.0), STEP_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._count_again.wait()

    async def _write(self) -> None:
        while True:
            self._write_again.clear()
            if not (self._unconfirmed.overdue and self._may_write()):
                await self._write_again.wait()
                continue
            await asyncio.sleep(random.uniform(0, SPREAD_S))
            for name in self._unconfirmed.overdue:
                await self._go_back(name)
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await self._write_again.wait()

    async def _go_back(self, name: str) -> None:
        try:
            await confirming.go_back(self._datastore, name)
        except NotFound:  # somebody was faster, and the watch will tell
            self._refusals.pop(name, None)
        except DatastoreError as error:
            LOG.info("the datastore is not brought back yet", confirmation=name, reason=str(error))
            self._refusals[name] = str(error)
        else:
            LOG.info("the datastore is as it was before the change", confirmation=name)
            self._refusals.pop(name, None)
        self._wake()
