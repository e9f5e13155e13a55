"""What every backend promises in `tortie.datastore.api`, run against each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.datastore.backends import Backend
from tortie.datastore.api import Batch, Compare, Datastore, Delete, Event, Item, Listing, Put
from tortie.errors import Compacted, NotFound


async def put(store: Datastore, key: str, value: bytes = b"v") -> int:
    """The revision of an unconditional write."""
    return (await store.txn([], [Put(key, value)])).revision


async def take(watch: AsyncGenerator[Batch, None], through: int) -> list[Event]:
    """Closes the watch after all events up to and including revision `through` came."""
    events: list[Event] = []
    async with asyncio.timeout(5), aclosing(watch):
        async for batch in watch:
            assert all(event.revision <= batch.revision for event in batch.events)
            events += batch.events
            if batch.revision >= through:
                return events
    raise AssertionError("a watch ended by itself")


class TestReading:
    async def test_absent_key(self, store: Datastore) -> None:
        assert await store.get("/a") is None

    async def test_item_has_value_and_both_revisions(self, store: Datastore) -> None:
        created = await put(store, "/a", b"1")
        modified = await put(store, "/a", b"\0\xff")
        assert await store.get("/a") == Item("/a", b"\0\xff", modified, created)

    async def test_key_made_again_has_a_new_creation_revision(self, store: Datastore) -> None:
        await put(store, "/a")
        await store.txn([], [Delete("/a")])
        again = await put(store, "/a")
        assert await store.get("/a") == Item("/a", b"v", again, again)

    async def test_pages_are_the_listing_of_one_revision_in_parts(self, store: Datastore) -> None:
        keys = [f"/p/{number:05}" for number in range(2500)]
        for start in range(0, len(keys), 100):
            await store.txn([], [Put(key, key.encode()) for key in keys[start : start + 100]])
        await put(store, "/q")
        expected = await store.list("/p/")
        found: list[Item] = []
        async with aclosing(store.pages("/p/")) as pages:
            async for page in pages:
                assert (len(page.items) <= 1000, page.revision) == (True, expected.revision)
                found += page.items
                # What is written meanwhile, before and behind the place, is not seen.
                await store.txn([], [Delete("/p/02499"), Put("/p/00000", b"new"), Put(f"/p/9{len(found)}", b"new")])
        assert found == expected.items

    async def test_pages_of_nothing_are_one(self, store: Datastore) -> None:
        revision = await put(store, "/q")
        async with aclosing(store.pages("/p/")) as pages:
            assert [page async for page in pages] == [Listing([], revision)]

    async def test_pages_need_not_be_read_to_the_end(self, store: Datastore) -> None:
        for start in range(0, 1500, 100):
            await store.txn([], [Put(f"/p/{number:05}", b"") for number in range(start, start + 100)])
        async with aclosing(store.pages("/p/")) as pages:
            assert len((await anext(pages)).items) == 1000
        assert (await store.txn([], [Delete("/p/00000")])).succeeded

    async def test_an_item_tells_the_lease_that_it_goes_with(self, store: Datastore) -> None:
        lease = await store.lease(60)
        await store.txn([], [Put("/a", b"", lease), Put("/b", b"")])
        assert [item.lease for item in (await store.list("/")).items] == [lease, 0]

    async def test_list_takes_the_prefix_literally_and_orders_by_bytes(self, store: Datastore) -> None:
        keys = ["/p/b", "/p/a", "/p/é", "/p/Z", "/p/_", "/p/%", "/p", "/q/a", "/p0", "/p/a/b", "/p/\U0001d4b3"]
        last = 0
        for key in keys:
            last = await put(store, key)
        listing = await store.list("/p/")
        assert [item.key for item in listing.items] == sorted(
            (key for key in keys if key.startswith("/p/")), key=str.encode
        )
        assert listing.revision == last

    async def test_empty_store(self, store: Datastore) -> None:
        listing = await store.list("")
        assert listing.items == []
        assert listing.revision > 0

    async def test_another_connection_sees_it_at_once(self, store_pair: tuple[Datastore, Datastore]) -> None:
        here, there = store_pair
        await put(here, "/a", b"1")
        item = await there.get("/a")
        assert item is not None
        assert item.value == b"1"


class TestTransactions:
    async def test_create_only_if_absent(self, store: Datastore) -> None:
        first = await store.txn([Compare("/a", 0)], [Put("/a", b"1")])
        assert first.succeeded
        second = await store.txn([Compare("/a", 0)], [Put("/a", b"2")])
        assert second == (False, first.revision, (Item("/a", b"1", first.revision, first.revision),))

    async def test_update_only_if_unchanged(self, store: Datastore) -> None:
        old = await put(store, "/a", b"1")
        new = await put(store, "/a", b"2")
        assert not (await store.txn([Compare("/a", old)], [Put("/a", b"3")])).succeeded
        assert (await store.txn([Compare("/a", new)], [Put("/a", b"3")])).succeeded

    async def test_compare_with_an_absent_key(self, store: Datastore) -> None:
        revision = await put(store, "/b")
        result = await store.txn([Compare("/a", 5), Compare("/b", revision)], [Put("/c", b"")])
        assert not result.succeeded
        assert result.found == (None, Item("/b", b"v", revision, revision))

    async def test_all_or_nothing(self, store: Datastore) -> None:
        revision = await put(store, "/a", b"1")
        writes = [Put("/a", b"2"), Put("/b", b"2")]
        assert not (await store.txn([Compare("/a", revision), Compare("/b", 7)], writes)).succeeded
        assert [item.value for item in (await store.list("/")).items] == [b"1"]

    async def test_one_revision_for_the_whole_transaction(self, store: Datastore) -> None:
        before = await put(store, "/gone")
        result = await store.txn([], [Put("/a", b""), Delete("/gone"), Put("/b", b"")])
        assert result == (True, before + 1, ())
        listing = await store.list("/")
        assert [(item.key, item.revision) for item in listing.items] == [("/a", before + 1), ("/b", before + 1)]
        events = await take(store.watch("/", before + 1), before + 1)
        assert sorted(events) == [
            ("/a", b"", before + 1),
            ("/b", b"", before + 1),
            ("/gone", None, before + 1),
        ]

    async def test_deleting_what_is_absent_succeeds_and_is_no_event(self, store: Datastore) -> None:
        before = await put(store, "/a")
        assert await store.txn([], [Delete("/b")]) == (True, before, ())
        assert (await store.list("")).revision == before

    async def test_comparing_alone_writes_nothing(self, store: Datastore) -> None:
        before = await put(store, "/a")
        assert await store.txn([Compare("/a", before)], []) == (True, before, ())

    async def test_concurrent_writers_of_one_key_take_turns(self, store_pair: tuple[Datastore, Datastore]) -> None:
        async def count(store: Datastore) -> None:
            done = 0
            while done < 25:
                item = await store.get("/n")
                value = int(item.value) if item else 0
                compare = Compare("/n", item.revision if item else 0)
                done += (await store.txn([compare], [Put("/n", str(value + 1).encode())])).succeeded

        await asyncio.gather(*(count(store) for store in store_pair * 2))
        item = await store_pair[0].get("/n")
        assert item is not None
        assert item.value == b"100"


class TestTogether:
    """Transactions that are asked for at once, and may go to the store as one."""

    async def test_each_sees_what_those_before_it_wrote(self, store: Datastore) -> None:
        results = await asyncio.gather(*(store.txn([Compare("/a", 0)], [Put("/a", bytes([n]))]) for n in range(10)))
        assert [result.succeeded for result in results] == [True] + [False] * 9
        assert all(result.found[0] is not None and result.found[0].value == b"\0" for result in results[1:])

    async def test_of_two_that_write_one_key_the_later_one_stands(self, store: Datastore) -> None:
        results = await asyncio.gather(*(store.txn([], [Put("/a", bytes([n]))]) for n in range(10)))
        assert len({result.revision for result in results}) == 10
        item = await store.get("/a")
        assert item is not None
        assert (item.value, item.revision) == (b"\x09", results[9].revision)

    async def test_each_succeeds_or_fails_by_its_own_comparisons(self, store: Datastore) -> None:
        there = [await put(store, f"/{n:02}", b"old") for n in range(0, 40, 2)]
        results = await asyncio.gather(
            *(store.txn([Compare(f"/{n:02}", 0)], [Put(f"/{n:02}", b"")]) for n in range(40))
        )
        assert [result.succeeded for result in results] == [False, True] * 20
        assert [result.found for result in results[1::2]] == [()] * 20
        assert [result.found for result in results[0::2]] == [
            (Item(f"/{n:02}", b"old", revision, revision),) for n, revision in zip(range(0, 40, 2), there, strict=True)
        ]
        listing = await store.list("/")
        assert [item.value for item in listing.items] == [b"old", b""] * 20
        # The revision of a success is that of its key, so that its caller can compare with it.
        assert [item.revision for item in listing.items[1::2]] == [result.revision for result in results[1::2]]

    async def test_what_one_compares_another_may_write(self, store: Datastore) -> None:
        tier = await put(store, "/tier")
        results = await asyncio.gather(
            *(store.txn([Compare("/tier", tier), Compare(f"/{n}", 0)], [Put(f"/{n}", b"")]) for n in range(3)),
            store.txn([Compare("/tier", tier)], [Put("/tier", b"new")]),
            *(store.txn([Compare("/tier", tier), Compare(f"/{n}", 0)], [Put(f"/{n}", b"")]) for n in range(3, 6)),
        )
        assert [result.succeeded for result in results] == [True] * 4 + [False] * 3
        assert [item.key for item in (await store.list("/")).items] == ["/0", "/1", "/2", "/tier"]

    async def test_one_that_fails_fails_alone(self, store: Datastore) -> None:
        outcomes = await asyncio.gather(
            store.txn([Compare("/a", 0)], [Put("/a", b"1")]),
            store.txn([], [Put("/b", b"1"), Put("/c", b"1", lease=99)]),
            store.txn([Compare("/a", 77)], [Put("/d", b"1")]),
            store.txn([], [Put("/e", b"1")]),
            return_exceptions=True,
        )
        assert [getattr(outcome, "succeeded", type(outcome)) for outcome in outcomes] == [True, NotFound, False, True]
        assert [item.key for item in (await store.list("/")).items] == ["/a", "/e"]

    async def test_one_whose_caller_went_away_stops_no_other(self, store: Datastore) -> None:
        tasks = [asyncio.create_task(put(store, f"/{n}")) for n in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes[1], asyncio.CancelledError)
        assert {"/0", "/2"} <= {item.key for item in (await store.list("/")).items}

    async def test_many_and_large_ones(self, store: Datastore) -> None:
        """Together they are more than etcd takes at once, by number and by size."""
        values = {f"/{n:03}": bytes(20_000 * (n % 10)) for n in range(300)}
        await asyncio.gather(*(store.txn([Compare(key, 0)], [Put(key, values[key])]) for key in values))
        groups = [[Put(f"/g/{n}/{each}", b"") for each in range(100)] for n in range(3)]
        await asyncio.gather(*(store.txn([], group) for group in groups))
        assert {item.key: item.value for item in (await store.list("/0")).items} == {
            key: value for key, value in values.items() if key.startswith("/0")
        }
        assert len((await store.list("/")).items) == 600


class TestWatching:
    async def test_from_the_past(self, store: Datastore) -> None:
        start = (await store.list("")).revision
        first = await put(store, "/p/a", b"1")
        await put(store, "/q/a")
        last = (await store.txn([], [Delete("/p/a")])).revision
        assert await take(store.watch("/p/", start + 1), last) == [("/p/a", b"1", first), ("/p/a", None, last)]

    async def test_stands_at_once_also_without_news(self, store: Datastore) -> None:
        revision = await put(store, "/a")
        async with asyncio.timeout(5), aclosing(store.watch("/", revision + 1)) as watch:
            assert await anext(watch) == Batch((), revision)

    async def test_live_from_another_connection(self, store_pair: tuple[Datastore, Datastore]) -> None:
        here, there = store_pair
        start = (await here.list("")).revision
        async with asyncio.timeout(5), aclosing(here.watch("/p/", start + 1)) as watch:
            assert await anext(watch) == Batch((), start)
            revision = await put(there, "/p/a", b"1")
            assert await anext(watch) == Batch((Event("/p/a", b"1", revision),), revision)

    async def test_an_idle_watch_is_carried_along_by_bookmarks(self, store: Datastore) -> None:
        start = (await store.list("")).revision
        async with asyncio.timeout(5), aclosing(store.watch("/p/", start + 1)) as watch:
            await anext(watch)
            revision = await put(store, "/q/a")
            assert await anext(watch) == Batch((), revision)

    async def test_many_watches_at_once(self, store: Datastore) -> None:
        start = (await store.list("")).revision
        watches = [asyncio.create_task(take(store.watch(f"/{n}/", start + 1), start + 10)) for n in range(10)]
        for n in range(10):
            await put(store, f"/{n}/x")
        assert await asyncio.gather(*watches) == [[(f"/{n}/x", b"v", start + 1 + n)] for n in range(10)]

    async def test_compacted_history(self, backend: Backend, store: Datastore) -> None:
        first = await put(store, "/a", b"1")
        second = await put(store, "/a", b"2")
        backend.compact(second)
        third = await put(store, "/a", b"3")
        with pytest.raises(Compacted) as caught:
            await take(store.watch("/", first), third)
        assert first < caught.value.revision <= third
        assert await take(store.watch("/", third), third) == [("/a", b"3", third)]
        assert (await store.list("/")).items == [Item("/a", b"3", third, first)]

    async def test_history_at_the_edge_is_there_or_refused(self, backend: Backend, store: Datastore) -> None:
        await put(store, "/a", b"1")
        edge = await put(store, "/a", b"2")
        backend.compact(edge)
        with suppress(Compacted):
            assert await take(store.watch("/", edge), edge) == [("/a", b"2", edge)]

    async def test_a_watch_that_is_up_to_date_outlives_compaction(self, backend: Backend, store: Datastore) -> None:
        start = await put(store, "/q/a")
        async with asyncio.timeout(5), aclosing(store.watch("/p/", start + 1)) as watch:
            await anext(watch)
            bookmark = await put(store, "/q/a")
            assert await anext(watch) == Batch((), bookmark)
            backend.compact(bookmark)
            revision = await put(store, "/p/a")
            assert await anext(watch) == Batch((Event("/p/a", b"v", revision),), revision)


class TestLeases:
    TTL_S = 0.3

    async def test_keys_go_when_the_lease_ends(self, store_pair: tuple[Datastore, Datastore]) -> None:
        here, there = store_pair
        lease = await here.lease(self.TTL_S)
        written = (await here.txn([], [Put("/l/a", b"", lease), Put("/l/b", b"", lease), Put("/l/c", b"")])).revision
        events = await take(there.watch("/l/", written + 1), written + 1)
        assert sorted(events) == [("/l/a", None, written + 1), ("/l/b", None, written + 1)]
        assert [item.key for item in (await here.list("/l/")).items] == ["/l/c"]

    async def test_keep_alive_keeps(self, store: Datastore) -> None:
        ttl_s = 1.0  # long enough for a busy machine to come back in time
        lease = await store.lease(ttl_s)
        await store.txn([], [Put("/a", b"", lease)])
        loop = asyncio.get_running_loop()
        end = loop.time() + 1.3 * ttl_s
        while loop.time() < end:
            await store.keep_alive(lease)
            assert await store.get("/a") is not None
            await asyncio.sleep(ttl_s / 10)
        await self.ended(store, "/a")
        with pytest.raises(NotFound):
            await store.keep_alive(lease)

    async def test_a_write_without_the_lease_frees_the_key(self, store: Datastore) -> None:
        lease = await store.lease(self.TTL_S)
        await store.txn([], [Put("/a", b"", lease), Put("/b", b"", lease)])
        await store.txn([], [Put("/a", b"")])
        await self.ended(store, "/b")
        assert await store.get("/a") is not None

    async def test_a_write_moves_the_key_to_another_lease(self, store: Datastore) -> None:
        short, long = await store.lease(self.TTL_S), await store.lease(60)
        await store.txn([], [Put("/a", b"", short), Put("/b", b"", short)])
        await store.txn([], [Put("/a", b"", long)])
        await self.ended(store, "/b")
        assert await store.get("/a") is not None

    async def test_an_ended_lease_takes_no_key(self, store: Datastore) -> None:
        lease = await store.lease(self.TTL_S)
        await store.txn([], [Put("/a", b"", lease)])
        await self.ended(store, "/a")
        with pytest.raises(NotFound):
            await store.txn([], [Put("/b", b""), Put("/a", b"", lease)])
        assert (await store.list("/")).items == []

    @staticmethod
    async def ended(store: Datastore, key: str) -> None:
        async with asyncio.timeout(5):
            while await store.get(key):  # noqa: ASYNC110 (nobody but the clock ends a lease)
                await asyncio.sleep(0.02)


KEYS = st.sampled_from(["/a", "/a/b", "/a/c", "/b", "/b/c"])
VALUES = st.binary(max_size=3)
WRITES = st.one_of(st.builds(Put, KEYS, VALUES, st.just(0)), st.builds(Delete, KEYS))
# The second element: does a comparison name the true revision (of each key in the first), or a wrong one?
STEPS = st.tuples(
    st.lists(st.tuples(KEYS, st.booleans()), max_size=2),
    st.lists(WRITES, max_size=3, unique_by=lambda write: write.key),
)
Steps = list[tuple[list[tuple[str, bool]], list[Put | Delete]]]


class TestAgainstAModel:
    """Any sequence of transactions, compared with a dict and a list of events."""

    @given(steps=st.lists(STEPS, max_size=12), prefix=st.sampled_from(["", "/", "/a", "/a/", "/c"]))
    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example starts from what it finds
    )
    async def test_sequence(self, store: Datastore, steps: Steps, prefix: str) -> None:
        listing = await store.list("")
        await store.txn([], [Delete(item.key) for item in listing.items])
        start = revision = (await store.list("")).revision
        model: dict[str, Item] = {}
        history: list[Event] = []
        for conditions, writes in steps:
            actual = {key: model[key].revision if key in model else 0 for key, _ in conditions}
            compares = [Compare(key, actual[key] if true else actual[key] + 1) for key, true in conditions]
            result = await store.txn(compares, writes)
            assert result.succeeded == all(true for _, true in conditions)
            if result.succeeded:
                events = list(self.effects(model, writes, revision + 1))
                revision += bool(events)
                history += events
            else:
                assert result.found == tuple(model.get(key) for key, _ in conditions)
            assert result.revision == revision
        assert await store.list(prefix) == (
            [model[key] for key in sorted(model) if key.startswith(prefix)],
            revision,
        )
        for key in ("/a", "/b"):
            assert await store.get(key) == model.get(key)
        expected = [event for event in history if event.key.startswith(prefix)]
        assert await take(store.watch(prefix, start + 1), revision) == expected

    @given(steps=st.lists(STEPS, min_size=2, max_size=12), before=st.lists(KEYS, max_size=3, unique=True))
    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    async def test_asked_at_once(self, store: Datastore, steps: Steps, before: list[str]) -> None:
        """It is as if they had been asked one after the other. A true comparison is one with what was there before."""
        listing = await store.list("")
        await store.txn([], [Delete(item.key) for item in listing.items])
        await store.txn([], [Put(key, b"before") for key in before])
        there = {item.key: item for item in (await store.list("")).items}
        transactions = [
            (
                [Compare(key, (there[key].revision if key in there else 0) + (not true)) for key, true in conditions],
                writes,
            )
            for conditions, writes in steps
        ]
        results = await asyncio.gather(*(store.txn(*each) for each in transactions))
        model = {key: (item.value, item.revision) for key, item in there.items()}
        for (compares, writes), result in zip(transactions, results, strict=True):
            assert result.succeeded == all(
                compare.revision == (model[compare.key][1] if compare.key in model else 0) for compare in compares
            )
            if result.succeeded:
                model |= {each.key: (each.value, result.revision) for each in writes if isinstance(each, Put)}
                for each in writes:
                    if isinstance(each, Delete):
                        model.pop(each.key, None)
            else:
                found = [item and (item.value, item.revision) for item in result.found]
                assert found == [model.get(compare.key) for compare in compares]
        items = (await store.list("")).items
        assert {item.key: (item.value, item.revision) for item in items} == model

    @staticmethod
    def effects(model: dict[str, Item], writes: list[Put | Delete], revision: int) -> Iterator[Event]:
        """Applies the writes to the model and yields the events they must cause."""
        for write in writes:
            old = model.pop(write.key, None)
            if isinstance(write, Put):
                model[write.key] = Item(write.key, write.value, revision, old.created if old else revision)
                yield Event(write.key, write.value, revision)
            elif old:
                yield Event(write.key, None, revision)
