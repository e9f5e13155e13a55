"""The version of what tortie keeps in a store: its keys, and how it reads and writes the resources of Calico in it.

The version is a key of its own, the same in every backend, and goes with a copy of the store. It is not the version
of the tables in a SQLite file, which is SQLite's own business (sqlite/schema.py).

Invariants:
* A store without the key is of the first format: that of a tortie before the key, or of Calico alone.
* What a newer tortie wrote is refused, never guessed at: nothing of it is acted on and nothing is written.
* The number only rises. A tortie raises it when those before could no longer work on the same store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from tortie.datastore.api import Compare, Datastore, Put
from tortie.errors import FormatTooNew

KEY = "/tortie/v1/format"
FORMAT = 1


def parse(value: bytes | None) -> int:
    """The version that the key's value tells; None: there is no key. Raises ValueError."""
    if value is None:
        return 1
    try:
        found: Any = msgspec.json.decode(value)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    version = found.get("format") if isinstance(found, dict) else None
    if not isinstance(version, int) or version < 1:
        raise ValueError("it tells no version")
    return version


def judge(value: bytes | None, place: str) -> None:
    """Raises FormatTooNew for a store of a newer format, and for a key that tells none: who knows what wrote it."""
    try:
        version = parse(value)
    except ValueError as error:
        raise FormatTooNew(
            f"datastore {place}: {KEY} cannot be read ({error}): delete the key if no newer tortie uses the store"
        ) from error
    if version > FORMAT:
        raise FormatTooNew(
            f"datastore {place} has format {version}, and this tortie knows formats up to {FORMAT}: upgrade tortie here"
        )


async def read(datastore: Datastore) -> int:
    """The version of the store. Raises FormatTooNew."""
    item = await datastore.get(KEY)
    value = item.value if item else None
    judge(value, datastore.url)
    return parse(value)


async def stamp(datastore: Datastore, compares: Sequence[Compare] = ()) -> None:
    """Writes the version into a store that has none, if the comparisons hold. Raises FormatTooNew for a newer one."""
    item = await datastore.get(KEY)
    judge(item.value if item else None, datastore.url)
    if item is None:
        # Whoever was faster wrote what the next check judges.
        await datastore.txn([Compare(KEY, 0), *compares], [Put(KEY, msgspec.json.encode({"format": FORMAT}))])


def once(datastore: Datastore) -> Callable[[], Awaitable[None]]:
    """A check for `Guarded` that asks the store for its format until it was answered."""
    asking = asyncio.Lock()
    known = False

    async def check() -> None:
        nonlocal known
        if known:
            return
        async with asking:
            if not known:
                await read(datastore)
                known = True

    return check
