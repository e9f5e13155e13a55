"""Large values are decoded beside the event loop, and small ones pass them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tortie.agent.decoding import LARGE, Decoding, Found, Value
from tortie.lab.process import wait_until
from tortie.model.resource import Resource, ResourceKey

DEADLINE_S = 20.0


def value(name: str, nets: int, revision: int, first: int = 10) -> Value:
    key = ResourceKey("GlobalNetworkSet", "", name)
    document = {
        "kind": key.kind,
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name},
        "spec": {"nets": [f"{first}.0.{n >> 8}.{n & 255}" for n in range(nets)]},
    }
    return Value(key, name, json.dumps(document).encode(), revision, None)


class Told:
    """What was told, in order, with the oldest revision that was still to come."""

    def __init__(self) -> None:
        self.found: list[tuple[str, int, int | None]] = []
        self.late = 0
        self.decoding = Decoding(self._take, self._late)

    def _take(self, value: Value, found: Found) -> None:
        size = len(found.spec.nets) if isinstance(found, Resource) else -1
        self.found.append((value.path, size, self.decoding.oldest_revision))

    def _late(self) -> None:
        self.late += 1


@asynccontextmanager
async def running() -> AsyncIterator[Told]:
    told = Told()
    task = asyncio.create_task(told.decoding.run())
    try:
        yield told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_small_values_pass_large_ones_and_the_revision_waits() -> None:
    async with running() as told:
        for each in (value("large", 4000, 5), value("larger", 8000, 6), value("small", 1, 7)):
            told.decoding.put(each)
        assert told.found == [("small", 1, 5)]
        assert await wait_until(lambda: told.late == 2, DEADLINE_S)
        assert told.found[1:] == [("large", 4000, 6), ("larger", 8000, None)]


async def test_of_an_object_only_what_is_in_force_is_told() -> None:
    async with running() as told:
        told.decoding.put(value("changed", 4000, 1))
        told.decoding.put(value("gone", 4000, 2))
        told.decoding.put(value("shrunk", 4000, 3))
        await asyncio.sleep(0)  # the first is begun
        told.decoding.put(value("changed", 5000, 4))
        told.decoding.forget("gone")
        told.decoding.put(value("shrunk", 1, 5))
        assert await wait_until(lambda: told.late == 1, DEADLINE_S)
        assert [each[:2] for each in told.found] == [("shrunk", 1), ("changed", 5000)]
        assert told.decoding.oldest_revision is None


async def test_a_large_value_that_cannot_be_read_is_told_too() -> None:
    async with running() as told:
        broken = value("broken", 4000, 1, first=999)
        assert len(broken.data) > LARGE
        told.decoding.put(broken)
        assert await wait_until(lambda: told.late == 1, DEADLINE_S)
        assert told.found == [("broken", -1, None)]
