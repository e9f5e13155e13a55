"""Changes that are to be confirmed, in every store: whatever fails, and whenever, it ends as it was or as is meant."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.datastore.backends import Wrapped
from tortie.datastore import confirming
from tortie.datastore.api import Compare, Datastore, Delete, Item, Put, TxnResult
from tortie.datastore.confirmation import MAX_BYTES, MAX_OBJECTS, Confirmation, Previous, digest, path_of
from tortie.datastore.resources import Resources
from tortie.errors import Conflict, DatastoreError, NotFound, Unavailable, UsageError
from tortie.model.decode import from_user
from tortie.model.keys import RESOURCES, to_path
from tortie.model.resource import Resource, ResourceKey

CHANGED, UNTOUCHED, CREATED = "one", "two", "three"


def path(name: str) -> str:
    return to_path(ResourceKey("GlobalNetworkSet", "", name))


def value(name: str, net: str) -> bytes:
    return (
        b'{"kind":"GlobalNetworkSet","apiVersion":"projectcalico.org/v3","metadata":{"name":"%s"},"spec":{"nets":["%s"]}}'
        % (
            name.encode(),
            net.encode(),
        )
    )


def sets(net: str, *names: str) -> list[Put]:
    return [Put(path(name), value(name, net)) for name in names]


BEFORE = sets("10.0.0.0/8", CHANGED, UNTOUCHED)
AFTER = sets("11.0.0.0/8", CHANGED, CREATED)


def confirmation(before: Sequence[Put] = BEFORE, after: Sequence[Put] = AFTER) -> Confirmation:
    values = {put.key: put.value for put in before}
    objects = tuple(Previous(put.key, values.get(put.key), digest(put.value)) for put in after)
    return Confirmation(by="root@host", deadline=datetime.now(UTC), within_s=60, objects=objects)


async def objects(store: Datastore) -> dict[str, bytes]:
    return {item.key: item.value for item in (await store.list(RESOURCES)).items}


async def changed(store: Datastore) -> confirming.Found:
    """A change that is written and waits."""
    await store.txn([], BEFORE)
    record = await confirming.begin(store, confirmation())
    await store.txn([Compare(path_of(record.name), record.revision)], AFTER)
    return record


def contents(*puts: Put) -> dict[str, bytes]:
    return {put.key: put.value for put in puts}


AS_CHANGED = contents(*BEFORE, *AFTER)


async def test_confirmed_it_stays(store: Datastore) -> None:
    record = await changed(store)
    assert [found.name for found in await confirming.found(store)] == [record.name]
    await confirming.confirm(store, record)
    assert await confirming.found(store) == []
    assert await objects(store) == AS_CHANGED
    with pytest.raises(NotFound, match=record.name):
        await confirming.go_back(store, record.name)
    with pytest.raises(NotFound, match=record.name):
        await confirming.confirm(store, record)


async def test_gone_back_from_it_is_as_it_was(store: Datastore) -> None:
    record = await changed(store)
    await confirming.go_back(store, record.name)
    result = await confirming.outcome(store, confirmation())
    assert ({each.path for each in result.back}, result.kept) == ({path(CHANGED), path(CREATED)}, [])
    assert await objects(store) == contents(*BEFORE)
    assert await confirming.found(store) == []


@pytest.mark.parametrize("others", [Put(path(CHANGED), value(CHANGED, "12.0.0.0/8")), Delete(path(CHANGED))])
async def test_what_others_did_stays(store: Datastore, others: Put | Delete) -> None:
    record = await changed(store)
    await store.txn([], [others])
    await confirming.go_back(store, record.name)
    result = await confirming.outcome(store, confirmation())
    assert [each.path for each in result.kept] == [path(CHANGED)]
    left = contents(*BEFORE)
    if isinstance(others, Put):
        left[others.key] = others.value
    else:
        del left[others.key]
    assert await objects(store) == left


async def test_going_back_that_has_begun_is_not_confirmed(store: Datastore) -> None:
    record = await changed(store)
    breaking = Breaking(store, 1, after=False)  # behind the mark
    with pytest.raises(Unavailable):
        await confirming.go_back(breaking, record.name)
    with pytest.raises(Conflict, match="too late"):
        await confirming.confirm(store, record)
    await confirming.go_back(store, record.name)
    assert await objects(store) == contents(*BEFORE)


async def test_many_that_go_back_together(store_pair: tuple[Datastore, Datastore]) -> None:
    record = await changed(store_pair[0])
    results = await asyncio.gather(
        *(confirming.go_back(store_pair[number % 2], record.name) for number in range(10)), return_exceptions=True
    )
    assert None in results
    assert all(result is None or isinstance(result, NotFound) for result in results)
    assert await objects(store_pair[0]) == contents(*BEFORE)


async def test_confirming_and_going_back_together_end_as_the_first_meant(
    store_pair: tuple[Datastore, Datastore],
) -> None:
    for _ in range(5):
        record = await changed(store_pair[0])
        kept, gone_back = await asyncio.gather(
            confirming.confirm(store_pair[0], record),
            confirming.go_back(store_pair[1], record.name),
            return_exceptions=True,
        )
        assert (kept is None) != (gone_back is None)
        assert await objects(store_pair[0]) == (AS_CHANGED if kept is None else contents(*BEFORE))
        assert await confirming.found(store_pair[0]) == []
        await store_pair[0].txn([], [Delete(path(CREATED))])


class Breaking(Wrapped):
    """A store whose n-th transaction fails, before or after it took effect; the later ones too."""

    def __init__(self, store: Datastore, number: int, *, after: bool) -> None:
        super().__init__(store)
        self._left = number
        self._after = after

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> TxnResult:
        self._left -= 1
        if self._left >= 0:
            return await super().txn(compares, writes)
        if self._left == -1 and self._after:
            await super().txn(compares, writes)
        raise Unavailable("broken")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(3))
async def test_going_back_that_is_interrupted_goes_on(store: Datastore, number: int, after: bool) -> None:
    record = await changed(store)
    with pytest.raises(Unavailable):
        await confirming.go_back(Breaking(store, number, after=after), record.name)
    with suppress(NotFound):  # the last step may have been done
        await confirming.go_back(store, record.name)
    assert await objects(store) == contents(*BEFORE)
    assert await confirming.found(store) == []


async def write(store: Datastore) -> None:
    """The record, and one change after the other."""
    record = await confirming.begin(store, confirmation())
    for put in AFTER:
        await store.txn([Compare(path_of(record.name), record.revision)], [put])


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(3))
async def test_a_writer_that_dies_anywhere_leaves_what_can_be_gone_back_from(
    store: Datastore, number: int, after: bool
) -> None:
    await store.txn([], BEFORE)
    with pytest.raises(Unavailable):
        await write(Breaking(store, number, after=after))
    for found in await confirming.found(store):
        await confirming.go_back(store, found.name)
    assert await objects(store) == contents(*BEFORE)
    assert await confirming.found(store) == []


class Overtaken(Wrapped):
    """A store in which another goes back before this one has read an object, and the user makes the change again."""

    def __init__(self, store: Datastore, name: str) -> None:
        super().__init__(store)
        self._name = name

    async def get(self, key: str) -> Item | None:
        if key.startswith(RESOURCES) and await confirming.found(self.store):
            await confirming.go_back(self.store, self._name)
            await self.store.txn([], AFTER)
        return await super().get(key)


async def test_one_that_is_late_undoes_nothing_that_came_after_it(store: Datastore) -> None:
    record = await changed(store)
    await confirming.go_back(Overtaken(store, record.name), record.name)
    assert await objects(store) == AS_CHANGED


async def test_many_objects_are_gone_back_from_in_parts(store: Datastore) -> None:
    names = [f"set-{number}" for number in range(250)]
    before, after = sets("10.0.0.0/8", *names[:125]), sets("11.0.0.0/8", *names)
    for puts in (before, after):
        for start in range(0, len(puts), 100):
            await store.txn([], puts[start : start + 100])
    record = await confirming.begin(store, confirmation(before, after))
    with pytest.raises(Unavailable):
        await confirming.go_back(Breaking(store, 2, after=True), record.name)
    await confirming.go_back(store, record.name)
    assert await objects(store) == contents(*before)


async def test_a_change_that_is_too_large_is_refused_before_it_begins(store: Datastore) -> None:
    large = [Put(path(CHANGED), b"x" * MAX_BYTES)]
    many = sets("11.0.0.0/8", *(f"set-{number}" for number in range(MAX_OBJECTS + 1)))
    for change in (confirmation(large), confirmation(after=many)):
        with pytest.raises(UsageError, match="in parts"):
            await confirming.begin(store, change)
    assert await confirming.found(store) == []


async def test_a_record_that_cannot_be_read(store: Datastore) -> None:
    await store.txn([], [Put(path_of("x"), b"{}")])
    [found] = await confirming.found(store)
    assert found.confirmation is None
    with pytest.raises(DatastoreError, match=path_of("x")):
        await confirming.go_back(store, "x")
    await confirming.confirm(store, found)
    assert await confirming.found(store) == []


class TestPlanned:
    """What `apply` would write, written beside a record."""

    RECORD = path_of("r")

    @pytest.fixture
    async def beside(self, store: Datastore) -> Compare:
        result = await store.txn([], [Put(self.RECORD, b"")])
        return Compare(self.RECORD, result.revision)

    @staticmethod
    def resource(name: str, net: str = "11.0.0.0/8") -> Resource[Any]:
        metadata = {"name": name}
        document = {"kind": "GlobalNetworkSet", "apiVersion": "projectcalico.org/v3", "metadata": metadata}
        return from_user({**document, "spec": {"nets": [net]}})

    async def test_is_what_is_written(self, store: Datastore, beside: Compare) -> None:
        resources = Resources(store)
        for name, net in ((CREATED, "11.0.0.0/8"), (CREATED, "12.0.0.0/8")):
            planned = await resources.plan(self.resource(name, net))
            assert planned.is_news
            await resources.carry_out(planned, beside)
            item = await store.get(path(name))
            assert item is not None
            assert item.value == planned.value
        again = await resources.plan(self.resource(CREATED, "12.0.0.0/8"))
        assert not again.is_news

    async def test_is_not_written_over_what_others_wrote(self, store: Datastore, beside: Compare) -> None:
        planned = await Resources(store).plan(self.resource(CHANGED))
        await store.txn([], sets("10.0.0.0/8", CHANGED))
        with pytest.raises(Conflict, match="changed meanwhile"):
            await Resources(store).carry_out(planned, beside)
        assert await objects(store) == contents(*sets("10.0.0.0/8", CHANGED))

    async def test_is_not_written_once_the_record_is_gone(self, store: Datastore, beside: Compare) -> None:
        planned = await Resources(store).plan(self.resource(CHANGED))
        await store.txn([], [Delete(self.RECORD)])
        with pytest.raises(Conflict, match=self.RECORD):
            await Resources(store).carry_out(planned, beside)
        assert await objects(store) == {}

    async def test_at_another_revision_than_the_user_knows_is_refused(self, store: Datastore) -> None:
        await store.txn([], sets("10.0.0.0/8", CHANGED))
        resource = self.resource(CHANGED)
        with pytest.raises(Conflict, match="resourceVersion"):
            await Resources(store).plan(replace(resource, revision=10**9))
