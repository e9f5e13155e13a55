"""Packets that the rules tell of, dropped or logged, kept for readers of the API, who may wait for the next."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

import msgspec
import structlog

from tortie.dataplane.events import Event, Kind, Listener, Ring
from tortie.errors import KernelError
from tortie.intent.report import Noted

LOG = structlog.get_logger(__name__)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader gets: events, oldest first, and the number to go on from."""

    events: tuple[Event, ...]
    missed: int  # of any kind: they were overwritten before this reader came
    number: int
    counter: str  # whose number it is: an agent that starts counts anew


class PacketLog:
    """Reads while the loop runs; a kernel that tells of no packets costs just that."""

    def __init__(self, listen: Callable[[], Listener]) -> None:
        self._counter = secrets.token_hex(8)
        self._news = asyncio.Event()
        self._listener: Listener | None = None
        self.problem: Noted | None = None
        try:
            self._listener = listen()
        except KernelError as error:
            self.problem = Noted(subject="drops and logs", reason=f"packets are not told of: {error}")

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        for descriptor in self._listener.filenos() if self._listener else ():
            loop.add_reader(descriptor, self._read)

    def close(self) -> None:
        if self._listener is None:
            return
        loop = asyncio.get_running_loop()
        for descriptor in self._listener.filenos():
            loop.remove_reader(descriptor)
        self._listener.close()

    @property
    def ring(self) -> Ring | None:
        """All that is kept; None where the kernel tells of no packets."""
        return self._listener.ring if self._listener else None

    async def page(self, kind: Kind, since: int, counter: str, wait_s: float) -> Page:
        """The events of a kind behind a number; where there are none, the next ones, within `wait_s` seconds.

        With the number goes the counter that gave it; that of an agent before this one counts as 0.
        """
        since = since if counter == self._counter else 0
        try:
            async with asyncio.timeout(wait_s):
                while not (found := self._kept(kind, since)).events:
                    since = found.number
                    await self._news.wait()
        except TimeoutError:
            found = self._kept(kind, since)
        return found

    def _kept(self, kind: Kind, since: int) -> Page:
        if self._listener is None:
            return Page(events=(), missed=0, number=0, counter=self._counter)
        found = self._listener.ring.since(since)
        events = tuple(each for each in found.events if each.kind is kind)
        return Page(events=events, missed=found.missed, number=found.number, counter=self._counter)

    def _read(self) -> None:
        assert self._listener is not None
        try:
            if not self._listener.read(time.monotonic()):
                return
        except KernelError as error:
            LOG.warning("packets that were told of are lost", reason=str(error))
            return
        self._news.set()
        self._news = asyncio.Event()
