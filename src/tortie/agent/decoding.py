"""Stored values into resources; large ones in a thread, so that neither the event loop nor the others wait for them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any, NamedTuple

from tortie.model.decode import from_store
from tortie.model.resource import Quarantined, Resource, ResourceKey

# A network set of so many bytes takes 2 ms to decode.
LARGE = 8 * 1024

Found = Resource[Any] | Quarantined


class Value(NamedTuple):
    """What is in force of an object."""

    key: ResourceKey
    path: str
    data: bytes
    revision: int
    before: bytes | None  # what the store said until now


class Decoding:
    """One value after the other, the smallest first; of an object only the newest is told of."""

    def __init__(self, told: Callable[[Value, Found], None], told_late: Callable[[], None]) -> None:
        """`told_late` is called after `told` where that is not within `put`."""
        self._told = told
        self._told_late = told_late
        self._waiting: dict[str, Value] = {}
        self._news = asyncio.Event()

    def put(self, value: Value) -> None:
        """Tells of a small value at once, and of a large one when it is decoded."""
        if len(value.data) < LARGE:
            self.forget(value.path)
            self._told(value, from_store(value.key, value.data, value.revision))
        else:
            self._waiting[value.path] = value
            self._news.set()

    def forget(self, path: str) -> None:
        """What waits to be decoded of an object is in force no more."""
        self._waiting.pop(path, None)

    @property
    def oldest_revision(self) -> int | None:
        """Of those that are not decoded; None: all are."""
        return min((each.revision for each in self._waiting.values()), default=None)

    async def run(self) -> None:
        """Never ends."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                value = min(self._waiting.values(), key=lambda each: len(each.data))
                found = await asyncio.to_thread(_decoded, value)
                if self._waiting.get(value.path) is value:
                    del self._waiting[value.path]
                    self._told(value, found)
                    self._told_late()


def _decoded(value: Value) -> Found:
    """Without collections meanwhile: one would walk all that comes into being, and hold the loop for 0.1 s.

    What is young is collected before: garbage that is frozen is garbage for ever.
    """
    gc.collect(1)
    gc.disable()
    try:
        return from_store(value.key, value.data, value.revision)
    finally:
        gc.freeze()
        gc.enable()
