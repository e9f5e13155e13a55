"""Snapshot and watch merged into one stream: the pure merge by its properties, the tasks around it by failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.datastore.backends import Backend, SqliteBackend, Wrapped
from tortie.datastore.api import Batch, Datastore, Delete, Event, Item, Listing, Put
from tortie.datastore.follow import CHUNK, Change, Changed, Disconnected, InSync, Merge, follow
from tortie.datastore.sqlite import SqliteDatastore
from tortie.errors import Compacted, Unavailable

PREFIXES = ("/a/", "/b/")
KEYS = st.sampled_from([prefix + name for prefix in PREFIXES for name in "xyz"])
STEPS = st.one_of(
    st.tuples(st.just("put"), KEYS, st.binary(max_size=1)),
    st.tuples(st.just("delete"), KEYS, st.just(b"")),
    st.tuples(st.sampled_from(["relist", "deliver", "lose"]), st.sampled_from(PREFIXES), st.just(b"")),
    st.tuples(st.just("restore"), st.integers(0, 5).map(str), st.just(b"")),
)


class Store:
    """A store with all its history, and how far each prefix was read."""

    def __init__(self) -> None:
        self.states: list[dict[str, Item]] = [{}]  # by revision
        self.events: list[Event] = []
        self.position: dict[str, int] = {}

    @property
    def revision(self) -> int:
        return len(self.states) - 1

    def write(self, key: str, value: bytes | None) -> None:
        state = dict(self.states[-1])
        if value is None and key not in state:
            return
        state.pop(key, None)
        revision = self.revision + 1
        if value is not None:
            state[key] = Item(key, value, revision, revision)
        self.states.append(state)
        self.events.append(Event(key, value, revision))

    def restore(self, revision: int) -> None:
        """An older state is put back: who has read further must list again."""
        del self.states[revision + 1 :]
        self.events = [event for event in self.events if event.revision <= revision]
        for prefix in [prefix for prefix, position in self.position.items() if position > self.revision]:
            del self.position[prefix]

    def below(self, prefix: str, revision: int) -> list[Item]:
        return [item for key, item in sorted(self.states[revision].items()) if key.startswith(prefix)]

    def list(self, prefix: str) -> Listing:
        self.position[prefix] = self.revision
        return Listing(self.below(prefix, self.revision), self.revision)

    def batch(self, prefix: str) -> Batch:
        since = self.position[prefix]
        self.position[prefix] = self.revision
        return Batch(
            tuple(event for event in self.events if event.revision > since and event.key.startswith(prefix)),
            self.revision,
        )


class Consumer:
    """Applies changes, and objects to those that must not be."""

    def __init__(self) -> None:
        self.state: dict[str, bytes] = {}
        self.in_sync = False

    def take(self, changes: Iterator[Change]) -> list[Change]:
        taken = [change for change in changes if change != Changed(())]
        for change in taken:
            match change:
                case Changed(events):
                    assert len(events) <= CHUNK
                    for event in events:
                        if event.value is None:
                            del self.state[event.key]
                        else:
                            self.state[event.key] = event.value
                case InSync():
                    assert not self.in_sync
                    self.in_sync = True
                case Disconnected():
                    self.in_sync = False
        return taken

    def below(self, prefix: str) -> list[tuple[str, bytes]]:
        return sorted((key, value) for key, value in self.state.items() if key.startswith(prefix))


class TestMerge:
    @given(steps=st.lists(STEPS, max_size=40))
    @settings(max_examples=300, deadline=None)
    def test_follows_the_store_through_anything(self, steps: list[tuple[str, str, bytes]]) -> None:
        store, merge, consumer = Store(), Merge(PREFIXES), Consumer()
        lost: set[str] = set()
        listed: set[str] = set()
        for verb, subject, value in steps:
            match verb:
                case "put":
                    store.write(subject, value)
                case "delete":
                    store.write(subject, None)
                case "restore":
                    store.restore(min(int(subject), store.revision))
                case "lose":
                    before = dict(consumer.state)
                    consumer.take(merge.lost(subject, Unavailable("gone")))
                    assert consumer.state == before, "an outage changes nothing"
                    lost.add(subject)
                case _:
                    if verb == "deliver" and subject in store.position:
                        consumer.take(merge.changed(subject, store.batch(subject)))
                    else:
                        consumer.take(merge.listed(subject, store.list(subject)))
                        listed.add(subject)
                    lost.discard(subject)
                    expected = [(item.key, item.value) for item in store.below(subject, store.revision)]
                    assert consumer.below(subject) == expected
                    assert not any(merge_again(merge, store, subject)), "a second time there is nothing to say"
            assert consumer.in_sync == (listed == set(PREFIXES) and not lost)

    def test_deletions_missed_come_first(self) -> None:
        merge, consumer = Merge(["/"]), Consumer()
        consumer.take(merge.listed("/", Listing([Item("/a", b"1", 2, 2), Item("/b", b"1", 3, 3)], 3)))
        assert consumer.take(merge.listed("/", Listing([Item("/b", b"1", 3, 3), Item("/c", b"1", 9, 9)], 9))) == [
            Changed((Event("/a", None, 9),)),
            Changed((Event("/c", b"1", 9),)),
        ]

    def test_a_key_made_and_deleted_between_two_batches_is_not_mentioned(self) -> None:
        merge, consumer = Merge(["/"]), Consumer()
        consumer.take(merge.listed("/", Listing([], 3)))
        assert consumer.take(merge.changed("/", Batch((Event("/a", None, 5),), 5))) == []

    def test_a_revision_that_comes_twice_after_a_restore(self) -> None:
        merge, consumer = Merge(["/"]), Consumer()
        consumer.take(merge.listed("/", Listing([Item("/a", b"lost", 5, 5)], 5)))
        consumer.take(merge.listed("/", Listing([Item("/a", b"new", 5, 5)], 5)))
        assert consumer.state == {"/a": b"new"}

    def test_one_reason_is_announced_once(self) -> None:
        merge, consumer = Merge(PREFIXES), Consumer()
        first, again, other = Unavailable("locked"), Unavailable("locked"), Unavailable("disk full")
        assert consumer.take(merge.lost("/a/", first)) == [Disconnected(first)]
        assert consumer.take(merge.lost("/b/", again)) == []
        assert consumer.take(merge.lost("/a/", again)) == []
        assert consumer.take(merge.lost("/a/", other)) == [Disconnected(other)]

    def test_long_snapshot_comes_in_pieces(self) -> None:
        merge = Merge(["/"])
        items = [Item(f"/{n:05}", b"", 2, 2) for n in range(2 * CHUNK + 1)]
        changes = list(merge.listed("/", Listing(items, 2)))
        assert [len(change.events) for change in changes if isinstance(change, Changed)] == [CHUNK, CHUNK, 1]
        assert changes[-1] == InSync()


def merge_again(merge: Merge, store: Store, prefix: str) -> Iterator[Change]:
    return (change for change in merge.listed(prefix, store.list(prefix)) if change != Changed(()))


class Unreliable(Wrapped):
    """A datastore that can be cut off: every listing then fails, and every watch ends."""

    def __init__(self, store: Datastore) -> None:
        super().__init__(store)
        self.cut: asyncio.Future[Exception] = asyncio.Future()
        self.attempts: list[float] = []

    def fail(self, failure: Exception) -> None:
        self.cut.set_result(failure)

    def heal(self) -> None:
        self.cut = asyncio.Future()

    def check(self) -> None:
        self.attempts.append(asyncio.get_running_loop().time())
        if self.cut.done():
            raise self.cut.result()

    async def list(self, prefix: str) -> Listing:
        self.check()
        return await super().list(prefix)

    async def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[Batch, None]:
        self.check()
        batches = super().watch(prefix, from_revision)
        cut = self.cut
        while True:
            arriving = asyncio.ensure_future(anext(batches))
            futures: Sequence[asyncio.Future[Any]] = (arriving, cut)
            try:
                await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
                if cut.done():
                    raise cut.result()
                yield arriving.result()
            finally:
                arriving.cancel()


async def take(changes: AsyncIterator[Change], count: int) -> list[Change]:
    async with asyncio.timeout(10):
        return [await anext(changes) for _ in range(count)]


class TestFollow:
    async def test_snapshot_then_news(self, store_pair: tuple[Datastore, Datastore]) -> None:
        here, there = store_pair
        await there.txn([], [Put("/a/x", b"1"), Put("/b/x", b"2"), Put("/c/x", b"3")])
        async with follow(here, PREFIXES) as changes:
            *snapshot, in_sync = await take(changes, 3)
            assert in_sync == InSync()
            assert {event.key for change in snapshot if isinstance(change, Changed) for event in change.events} == {
                "/a/x",
                "/b/x",
            }
            revision = (await there.txn([], [Delete("/a/x"), Put("/a/y", b"")])).revision
            assert await take(changes, 1) == [Changed((Event("/a/x", None, revision), Event("/a/y", b"", revision)))]

    async def test_outage_changes_nothing_and_passes(self, store: Datastore) -> None:
        await store.txn([], [Put("/a/x", b"1")])
        unreliable = Unreliable(store)
        async with follow(unreliable, PREFIXES) as changes:
            await take(changes, 2)
            failure = Unavailable("cut off")
            unreliable.fail(failure)
            assert await take(changes, 1) == [Disconnected(failure)]
            revision = (await store.txn([], [Delete("/a/x"), Put("/b/x", b"")])).revision
            unreliable.heal()
            after = await take(changes, 3)
            assert sorted(after, key=str) == [
                Changed((Event("/a/x", None, revision),)),
                Changed((Event("/b/x", b"", revision),)),
                InSync(),
            ]
            assert after[-1] == InSync()

    async def test_history_gone_meanwhile(self, backend: Backend, store: Datastore) -> None:
        await store.txn([], [Put("/a/x", b""), Put("/a/y", b""), Put("/a/z", b"")])
        unreliable = Unreliable(store)
        async with follow(unreliable, ["/a/"]) as changes:
            await take(changes, 2)
            unreliable.fail(Unavailable("cut off"))
            await take(changes, 1)
            await store.txn([], [Delete("/a/x")])
            revision = (await store.txn([], [Put("/a/y", b"2")])).revision
            await store.txn([], [Put("/b/x", b"")])
            backend.compact(revision + 1)
            unreliable.heal()
            assert await take(changes, 3) == [
                Changed((Event("/a/x", None, revision + 1),)),
                Changed((Event("/a/y", b"2", revision),)),
                InSync(),
            ]

    async def test_compaction_alone_is_no_change(self, store: Datastore) -> None:
        await store.txn([], [Put("/a/x", b"")])
        unreliable = Unreliable(store)
        async with follow(unreliable, ["/a/"]) as changes:
            await take(changes, 2)
            unreliable.fail(Compacted(7))
            unreliable.heal()
            revision = (await store.txn([], [Put("/a/y", b"")])).revision
            assert await take(changes, 1) == [Changed((Event("/a/y", b"", revision),))]

    async def test_store_that_is_made_later(self, sqlite_backend: SqliteBackend) -> None:
        late = SqliteDatastore(sqlite_backend.path)
        async with follow(late, PREFIXES[:1]) as changes:
            (first,) = await take(changes, 1)
            assert isinstance(first, Disconnected)
            assert "does not exist" in str(first.error)
            await sqlite_backend.connect().txn([], [Put("/a/x", b"")])
            assert await take(changes, 2) == [Changed((Event("/a/x", b"", 2),)), InSync()]
        await late.close()

    async def test_pauses_grow(self, store: Datastore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tortie.datastore.follow.FIRST_PAUSE_S", 0.01)
        monkeypatch.setattr("tortie.datastore.follow.LONGEST_PAUSE_S", 0.04)
        unreliable = Unreliable(store)
        unreliable.fail(Unavailable("down"))
        async with follow(unreliable, ["/"]) as changes:
            await take(changes, 1)
            waiting = asyncio.ensure_future(take(changes, 1))
            async with asyncio.timeout(10):
                while len(unreliable.attempts) < 6:  # noqa: ASYNC110 (the attempts are the fact)
                    await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.wait([waiting])
        times = unreliable.attempts
        pauses = [later - earlier for earlier, later in pairwise(times)]
        for pause, least in zip(pauses, [0.01, 0.02, 0.04, 0.04, 0.04], strict=False):
            assert pause >= 0.9 * least

    async def test_a_bug_in_the_datastore_reaches_the_consumer(self, store: Datastore) -> None:
        unreliable = Unreliable(store)
        unreliable.fail(ZeroDivisionError())
        async with follow(unreliable, PREFIXES) as changes:
            with pytest.raises(ZeroDivisionError):
                await take(changes, 1)

    async def test_the_consumers_own_error_comes_out_as_it_is(self, store: Datastore) -> None:
        async def consume() -> None:
            async with follow(store, PREFIXES) as changes:
                async for _ in changes:
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await consume()

    async def test_a_long_snapshot_leaves_the_loop_to_others(self, store: Datastore) -> None:
        for start in range(0, 5 * CHUNK, 100):  # a transaction that every store takes
            await store.txn([], [Put(f"/{start + n}", b"") for n in range(100)])
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        async with asyncio.timeout(10), follow(store, ["/"]) as changes:
            await anext(changes)
            for _ in range(5):
                before = turns
                await anext(changes)
                assert turns > before
        task.cancel()
