"""Snapshot and watch of several prefixes as one stream of changes, across outages and compactions.

`Merge` is the pure half: it knows which keys it has announced, and turns listings, batches and failures into
changes. `follow` is the other half: one task per prefix that lists, watches, and begins again.

Invariants:
* `InSync` comes after every item of every prefix was announced, and again when all can be followed after an
  outage.
* A deletion is announced only for a key that was announced, and only when the store itself says that it is
  gone: an outage deletes nothing.
* After a compaction only differences are announced, deletions that were missed among them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import islice
from typing import NamedTuple

from tortie.datastore.api import Batch, Datastore, Event, Listing
from tortie.errors import Compacted, DatastoreError

CHUNK = 100  # events in one `Changed`: taking them in, decoded and validated, takes 3-5 ms of the loop
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0


class Changed(NamedTuple):
    """Keys that were written or deleted, to be applied in this order."""

    events: tuple[Event, ...]


class InSync(NamedTuple):
    """Everything below the prefixes has been announced; what follows is news."""


class Disconnected(NamedTuple):
    """The store cannot be followed now; what was announced stays in force. It is tried again by itself."""

    error: DatastoreError


Change = Changed | InSync | Disconnected


class Merge:
    """What has been announced of each prefix, and what therefore must be announced next.

    Each method works as its changes are taken, `CHUNK` events a step: take all before the next call. A step
    that found no news is an empty `Changed`.
    """

    def __init__(self, prefixes: Iterable[str]) -> None:
        # A fingerprint covers the value too: in a file restored from a backup a revision may come a second time.
        self._announced: dict[str, dict[str, int]] = {prefix: {} for prefix in prefixes}
        self._unsynced = set(self._announced)
        self._reasons: dict[str, str] = {}
        self._in_sync = False

    def listed(self, prefix: str, listing: Listing) -> Iterator[Change]:
        """The store was listed at one revision, for the first time or after its history was gone."""
        missing = set(self._announced[prefix]).difference(item.key for item in listing.items)
        gone = (Event(key, None, listing.revision) for key in sorted(missing))
        yield from self._announce(prefix, gone)
        found = (Event(item.key, item.value, item.revision) for item in listing.items)
        yield from self._announce(prefix, found)
        yield from self._synced(prefix)

    def changed(self, prefix: str, batch: Batch) -> Iterator[Change]:
        """The watch delivered; an empty batch tells that it stands."""
        yield from self._announce(prefix, batch.events)
        yield from self._synced(prefix)

    def lost(self, prefix: str, error: DatastoreError) -> Iterator[Change]:
        """The store did not answer; one failure of several prefixes is announced once."""
        reason = str(error)
        if reason not in self._reasons.values():
            yield Disconnected(error)
        self._reasons[prefix] = reason
        self._unsynced.add(prefix)
        self._in_sync = False

    def _announce(self, prefix: str, events: Iterable[Event]) -> Iterator[Changed]:
        announced = self._announced[prefix]
        source = iter(events)
        while chunk := tuple(islice(source, CHUNK)):
            yield Changed(tuple(event for event in chunk if self._is_news(announced, event)))

    @staticmethod
    def _is_news(announced: dict[str, int], event: Event) -> bool:
        if event.value is None:
            return announced.pop(event.key, None) is not None
        fingerprint = hash((event.revision, event.value))
        known = announced.get(event.key)
        announced[event.key] = fingerprint
        return known != fingerprint

    def _synced(self, prefix: str) -> Iterator[InSync]:
        self._unsynced.discard(prefix)
        self._reasons.pop(prefix, None)
        if not self._unsynced and not self._in_sync:
            self._in_sync = True
            yield InSync()


Said = Listing | Batch
Facts = asyncio.Queue[tuple[str, Said | Exception]]
# Sees what the store says below a prefix before anything of it is announced. What it raises ends the following.
Judge = Callable[[str, Said], None]


def _no_objection(prefix: str, said: Said) -> None:
    """All is taken."""


@asynccontextmanager
async def follow(
    datastore: Datastore, prefixes: Sequence[str], judge: Judge = _no_objection
) -> AsyncIterator[AsyncIterator[Change]]:
    """`async with follow(store, prefixes) as changes: async for change in changes: ...`, without end.

    Nothing is read ahead of the consumer by more than one fact per prefix: one that is too slow for the
    store's history gets the differences instead.
    """
    facts: Facts = asyncio.Queue(maxsize=1)
    tasks = [asyncio.create_task(_follow_prefix(datastore, prefix, facts)) for prefix in prefixes]
    try:
        async with aclosing(_merged(Merge(prefixes), facts, judge)) as changes:
            yield changes
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _merged(merge: Merge, facts: Facts, judge: Judge) -> AsyncGenerator[Change, None]:
    while True:
        prefix, fact = await facts.get()
        if not isinstance(fact, Exception):
            judge(prefix, fact)
        match fact:
            case Listing():
                changes = merge.listed(prefix, fact)
            case Batch():
                changes = merge.changed(prefix, fact)
            case DatastoreError():
                changes = merge.lost(prefix, fact)
            case bug:
                raise bug
        for change in changes:
            if change != Changed(()):
                yield change
            await asyncio.sleep(0)  # a long snapshot must not hold the loop


async def _follow_prefix(datastore: Datastore, prefix: str, facts: Facts) -> None:
    next_revision = 0  # 0: list first
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            if not next_revision:
                listing = await datastore.list(prefix)
                next_revision = listing.revision + 1
                await facts.put((prefix, listing))
            async with aclosing(datastore.watch(prefix, next_revision)) as watch:
                async for batch in watch:
                    next_revision = batch.revision + 1
                    pause_s = FIRST_PAUSE_S
                    await facts.put((prefix, batch))
        except Compacted:
            next_revision = 0
        except DatastoreError as error:
            await facts.put((prefix, error))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        except Exception as bug:
            await facts.put((prefix, bug))
            return
