"""What others left in the kernel, removed once policy is in force, and tried again until it is gone.

Others are the policy backends that do not run, ever, and the table that keeps a host closed from its boot on.

Invariants:
* A removal that fails stops no other one, and status names it until it has succeeded.
* Nothing is removed while it is wanted: who wants it again says so first (`spare`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

from tortie.errors import TortieError
from tortie.intent.report import Noted
from tortie.reconcile import Backoff

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 60.0

Remove = Callable[[], None]  # it blocks; raises TortieError


class Leftovers:
    """By the names under which status knows them."""

    def __init__(self, wake: Callable[[], object]) -> None:
        """`wake` is called after each attempt."""
        self._wake = wake
        self._removals: dict[str, Remove] = {}
        self._failures: dict[str, str] = {}
        self._backoff = Backoff[str](FIRST_RETRY_S, LAST_RETRY_S)
        self._removing = ""
        self._news = asyncio.Event()

    def remove(self, removals: Mapping[str, Remove]) -> None:
        """These are to go, and no others, at once."""
        for subject in [*self._removals]:
            self._forget(subject)
        self._removals = dict(removals)
        self._news.set()

    def spare(self, subject: str) -> bool:
        """It is wanted again. False while it is just being removed: to be asked again after that."""
        self._forget(subject)
        return self._removing != subject

    @property
    def problems(self) -> Iterator[Noted]:
        for subject, reason in self._failures.items():
            yield Noted(subject=subject, reason=f"what it left stays, and its removal is tried again: {reason}")

    async def run(self) -> None:
        """Removes; it never ends."""
        loop = asyncio.get_running_loop()
        while True:
            self._news.clear()
            for subject in [*self._removals]:
                if subject in self._removals and self._backoff.due(subject, loop.time()):
                    await self._try(subject, self._removals[subject])
            try:
                async with asyncio.timeout_at(self._backoff.next_due()):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _try(self, subject: str, remove: Remove) -> None:
        self._removing, failure = subject, ""
        try:
            await asyncio.to_thread(remove)
        except TortieError as error:
            failure = str(error)
        finally:
            self._removing = ""
        if self._removals.get(subject) is remove:  # else another was asked for meanwhile, or none
            if failure:
                self._failures[subject] = failure
                self._backoff.failed(subject, asyncio.get_running_loop().time())
            else:
                self._forget(subject)
        self._wake()

    def _forget(self, subject: str) -> None:
        self._removals.pop(subject, None)
        self._failures.pop(subject, None)
        self._backoff.clear(subject)
