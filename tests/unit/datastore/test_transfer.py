"""Clusters moved between stores and files: byte for byte, whole or not at all, and never mixed."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.datastore.backends import Wrapped
from tortie.datastore.api import Compare, Datastore, Delete, Put, TxnResult
from tortie.datastore.cluster import CLUSTER_PATH
from tortie.datastore.sqlite import SqliteDatastore
from tortie.datastore.transfer import archive
from tortie.datastore.transfer.archive import Archive, Header
from tortie.datastore.transfer.content import FILLING, MARKS, MOVING, Digester, Entry, entries, is_ready
from tortie.datastore.transfer.copying import ArchiveSource, Copied, StoreSource, copy
from tortie.datastore.transfer.lock import information_of, locked, unlock
from tortie.errors import Conflict, DatastoreError, ForeignCluster, FormatTooNew, NotFound, Unavailable

GUID, OTHER = "8c1f0d3e5b7a49cfa1e2d3c4b5a69788", "f" * 32
R = "/calico/resources/v3/projectcalico.org/"


def information(guid: str = GUID, ready: str = "true") -> bytes:
    # Spaces, the order of keys and a field that nobody knows: to be kept as they are.
    return b'{ "spec": {"datastoreReady": %s, "clusterGUID": "%s", "x": [1.50]},"kind":"ClusterInformation"}' % (
        ready.encode(),
        guid.encode(),
    )


CONTENT = {
    CLUSTER_PATH: information(),
    f"{R}nodes/a": b'{"odd":  1}',
    f"{R}futurekinds/ns/b": b"\xff\x00 no text",
    "/calico/ipam/v2/handle/h": b"{}",
    "/calico/felix/v2/no-region/host/a/last_reported_status": b"{}",
    "/calico/unknown/\U0001d4b3": b"",
    "/tortie/v1/format": b'{"format":1}',
}
NOT_MOVED = {"/other/a": b"1", "/calicox": b"1", "/tortie/v2": b"1"}


async def fill(store: Datastore, content: dict[str, bytes]) -> None:
    writes = [Put(key, value) for key, value in content.items()]
    for start in range(0, len(writes), 100):
        await store.txn([], writes[start : start + 100])


async def held(store: Datastore) -> dict[str, bytes]:
    return {item.key: item.value for item in (await store.list("/")).items}


async def copied(source: Datastore, target: Datastore, *, replace: bool = False) -> Copied:
    async with locked(source) as value:
        return await copy(StoreSource(source, value), target, replace=replace, advance=lambda: None)


@pytest.fixture
async def target(tmp_path: Path) -> AsyncGenerator[Datastore, None]:
    store = SqliteDatastore(tmp_path / "target.db", create=True)
    yield store
    await store.close()


@pytest.fixture
def pair(store: Datastore, target: Datastore, request: pytest.FixtureRequest) -> tuple[Datastore, Datastore]:
    """A store of each kind, and one in a file: from here to there, or from there to here."""
    return (store, target) if request.param == "from it" else (target, store)


both_ways = pytest.mark.parametrize("pair", ["from it", "to it"], indirect=True)


@both_ways
async def test_a_copy_holds_every_key_byte_for_byte(pair: tuple[Datastore, Datastore]) -> None:
    source, target = pair
    await fill(source, CONTENT | NOT_MOVED)
    lease = await source.lease(60)
    await source.txn([], [Put("/calico/felix/v2/no-region/host/a/status", b"alive", lease)])
    before = await held(source)
    done = await copied(source, target)
    assert (done.written, done.deleted, done.resumed, done.digest.keys) == (len(CONTENT), 0, False, len(CONTENT))
    assert await held(target) == CONTENT
    assert await held(source) == before


@both_ways
async def test_of_many_keys_none_is_lost(pair: tuple[Datastore, Datastore]) -> None:
    source, target = pair
    content = CONTENT | {f"{R}workloadendpoints/ns/{number:05}": b"x" * 300 for number in range(2500)}
    content |= {f"{R}big/{number}": b"y" * 700_000 for number in range(4)}
    await fill(source, {key: value for key, value in content.items() if len(value) < 1000})
    for key, value in content.items():
        if len(value) > 1000:
            await source.txn([], [Put(key, value)])
    done = await copied(source, target)
    assert await held(target) == content
    revision = (await target.list("/")).revision
    again = await copied(source, target)
    assert (again.written, again.digest) == (0, done.digest)
    assert (await target.list("/")).revision == revision


async def test_while_it_is_read_the_source_is_locked_and_then_as_before(store: Datastore) -> None:
    await fill(store, CONTENT)
    async with locked(store) as value:
        assert value == CONTENT[CLUSTER_PATH]
        locked_value = (await held(store))[CLUSTER_PATH]
        assert not is_ready(locked_value)
        assert json.loads(locked_value)["spec"] == {"datastoreReady": False, "clusterGUID": GUID, "x": [1.5]}
    assert await held(store) == CONTENT
    with pytest.raises(RuntimeError):
        async with locked(store):
            raise RuntimeError("whatever goes wrong")
    assert await held(store) == CONTENT


async def test_interrupted_while_the_lock_is_on_its_way_it_is_taken_back(store: Datastore) -> None:
    class Slow(Wrapped):
        sent, answer = asyncio.Event(), asyncio.Event()

        async def txn(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> TxnResult:
            self.sent.set()
            await self.answer.wait()
            return await self.store.txn(compares, writes)

    async def lock() -> None:
        async with locked(slow):
            raise AssertionError("it was interrupted before")

    await fill(store, CONTENT)
    slow = Slow(store)
    locking = asyncio.create_task(lock())
    await slow.sent.wait()
    locking.cancel()
    slow.answer.set()
    with pytest.raises(asyncio.CancelledError):
        await locking
    assert await held(store) == CONTENT


async def test_a_source_that_its_operator_locked_stays_locked_and_so_does_the_copy(
    store: Datastore, target: Datastore
) -> None:
    content = CONTENT | {CLUSTER_PATH: information(ready="false")}
    await fill(store, content)
    await copied(store, target)
    assert await held(store) == await held(target) == content


async def test_what_somebody_changes_while_it_is_locked_stays_changed(store: Datastore) -> None:
    await fill(store, CONTENT)
    async with locked(store):
        value = (await held(store))[CLUSTER_PATH].replace(b"1.5", b"2")
        await store.txn([], [Put(CLUSTER_PATH, value)])
    found = json.loads((await held(store))[CLUSTER_PATH])
    assert found["spec"] == {"datastoreReady": True, "clusterGUID": GUID, "x": [2]}
    assert await store.get(MOVING) is None


async def test_a_transfer_that_was_killed_is_made_good_by_the_next_or_by_unlocking(
    store: Datastore, target: Datastore
) -> None:
    await fill(store, CONTENT)
    killed = locked(store)
    await killed.__aenter__()
    assert await information_of(store) == CONTENT[CLUSTER_PATH]
    await copied(store, target)
    assert await held(store) == await held(target) == CONTENT
    del killed
    await locked(store).__aenter__()
    await unlock(store)
    assert await held(store) == CONTENT


async def test_a_store_without_a_cluster_is_nothing_to_move(store: Datastore, target: Datastore) -> None:
    await fill(store, {f"{R}nodes/a": b"{}"})
    with pytest.raises(NotFound, match="holds no cluster"):
        await copied(store, target)
    assert await held(target) == {}


class Failing(Wrapped):
    """A target that fails at its n-th transaction, before or after this took effect."""

    def __init__(self, store: Datastore, at: int, *, after: bool) -> None:
        super().__init__(store)
        self.left = at
        self._after = after

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> TxnResult:
        self.left -= 1
        if self.left == 0 and not self._after:
            raise Unavailable("gone")
        result = await self.store.txn(compares, writes)
        if self.left == 0:
            raise Unavailable("gone")
        return result


@pytest.mark.parametrize("after", [False, True])
async def test_interrupted_anywhere_the_target_is_locked_and_the_same_again_goes_on(
    store: Datastore, tmp_path: Path, after: bool
) -> None:
    source = SqliteDatastore(tmp_path / "source.db", create=True)
    content = CONTENT | {f"{R}nodes/n{number:03}": b"{}" for number in range(250)}
    await fill(source, content)
    for at in range(1, 10):
        if await held(store):
            await store.txn([], [Delete(key) for key in list(await held(store))[:120]])
            await store.txn([], [Delete(key) for key in list(await held(store))[:120]])
            await store.txn([], [Delete(key) for key in await held(store)])
        target = Failing(store, at, after=after)
        try:
            await copied(source, target)
        except Unavailable:
            found = await held(store)
            complete = found == content
            assert complete or not found or not is_ready(found[CLUSTER_PATH])
            assert await held(source) == content
        else:
            assert target.left > 0, "it failed nowhere"
            break
        # A key that the source has lost since then, and one that it has gained.
        gone = await source.get(f"{R}nodes/n000")
        assert gone is not None
        if found and not complete:
            await source.txn([], [Delete(gone.key), Put(f"{R}nodes/new", b"{}")])
        done = await copied(source, store)
        assert done.resumed == (bool(found) and not complete)
        assert await held(store) == await held(source)
        await source.txn([], [Put(gone.key, gone.value), Delete(f"{R}nodes/new")])
    else:
        raise AssertionError("it never came to the end")
    await source.close()


@pytest.mark.parametrize(
    ("there", "error", "words"),
    [
        ({CLUSTER_PATH: information(OTHER)}, ForeignCluster, f"holds cluster {OTHER}"),
        ({FILLING: b'{"cluster": "%s"}' % OTHER.encode()}, ForeignCluster, f"half filled with cluster {OTHER}"),
        ({FILLING: b"nonsense"}, ForeignCluster, "half filled"),
        (CONTENT | {f"{R}nodes/z": b"{}"}, Conflict, "holds this cluster already, and 1 keys differ: .*nodes/z"),
        (CONTENT | {f"{R}nodes/a": b"{}"}, Conflict, "1 keys differ"),
        ({f"{R}nodes/z": b"{}"}, Conflict, "holds keys of no cluster already"),
    ],
)
async def test_two_clusters_are_never_mixed(
    store: Datastore, target: Datastore, there: dict[str, bytes], error: type[Exception], words: str
) -> None:
    await fill(target, CONTENT)
    await fill(store, there | NOT_MOVED)
    with pytest.raises(error, match=words) as refused:
        await copied(target, store)
    assert "--replace" in str(refused.value)
    assert await held(store) == there | NOT_MOVED
    assert await held(target) == CONTENT
    await copied(target, store, replace=True)
    assert await held(store) == CONTENT | NOT_MOVED


async def test_what_others_write_to_the_target_meanwhile_is_noticed(store: Datastore, target: Datastore) -> None:
    class Disturbed(Wrapped):
        async def txn(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> TxnResult:
            result = await self.store.txn(compares, writes)
            await self.store.txn([], [Put("/calico/felix/v2/x", b"mine")])
            return result

    await fill(target, CONTENT)
    with pytest.raises(DatastoreError, match=r"had 7 keys, .* has 8 keys, .*: somebody else writes to it"):
        await copied(target, Disturbed(store))
    assert not is_ready((await held(store))[CLUSTER_PATH])
    assert (await copied(target, store)).deleted == 1
    assert await held(store) == CONTENT


async def test_of_two_who_fill_one_target_the_later_goes_on(store: Datastore, target: Datastore) -> None:
    class Overtaken(Wrapped):
        overtaken = False

        async def txn(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> TxnResult:
            result = await self.store.txn(compares, writes)
            if not self.overtaken:
                self.overtaken = True
                await copied(target, self.store)
            return result

    await fill(target, CONTENT)
    with pytest.raises(Conflict, match="another copy to it was begun"):
        await copied(target, Overtaken(store))
    assert await held(store) == CONTENT


async def written(store: Datastore) -> io.BytesIO:
    file = io.BytesIO()
    header = Header(format=archive.FORMAT, cluster=GUID, source=store.url, created="2026-08-22T13:33:20Z")
    await archive.write(file, header, entries(store, {}), lambda: None)
    return file


async def test_a_store_is_the_same_after_the_way_through_a_file(store: Datastore, target: Datastore) -> None:
    await fill(store, CONTENT | NOT_MOVED)
    file = await written(store)
    source = ArchiveSource(Archive(file, "a.jsonl"))
    assert source.keys == len(CONTENT)
    done = await copy(source, target, replace=False, advance=lambda: None)
    assert await held(target) == CONTENT
    file.seek(0)
    assert json.loads(file.getvalue().splitlines()[-1]) == {"keys": len(CONTENT), "sha256": done.digest.sha256}


@given(
    st.dictionaries(
        st.text(st.characters(blacklist_categories=["Cs"]), min_size=1).map(lambda text: f"/calico/{text}"),
        st.binary(),
        max_size=8,
    )
)
def test_any_keys_and_values_survive_a_file(content: dict[str, bytes]) -> None:
    async def ordered() -> AsyncGenerator[Entry, None]:
        for key in sorted(content, key=str.encode):
            yield Entry(key, content[key])

    file = io.BytesIO()
    header = Header(format=1, cluster=GUID, source="", created="")
    digest = asyncio.run(archive.write(file, header, ordered(), lambda: None))
    found = Archive(file, "a.jsonl")
    assert found.check() == digest
    assert dict(found.entries()) == content
    digester = Digester()
    for entry in found.entries():
        digester.take(entry)
    assert digester.digest == digest


@pytest.fixture
async def lines(target: Datastore) -> list[bytes]:
    await fill(target, CONTENT)
    return (await written(target)).getvalue().splitlines(keepends=True)


async def test_a_file_that_is_not_whole_or_not_as_it_was_is_refused(lines: list[bytes]) -> None:
    wrong = {
        "its end is missing": lines[:-1],
        "line 4: Input data was truncated": [*lines[:3], lines[3][:20]],
        "it holds 6 keys": [*lines[:3], *lines[4:]],
        "it holds 7 keys, checksum": [line.replace(b"odd", b"ode") for line in lines],
        "line 3: .* is out of order": [lines[0], lines[2], lines[1], *lines[3:]],
        "line 3: .* is out of order|out of order": [lines[0], lines[1], lines[1], *lines[2:]],
        "is not below /calico/": [lines[0], b'{"key":"/other","value":""}\n', *lines[1:]],
        "tortie/v1/moving": [lines[0], b'{"key":"/tortie/v1/moving","value":""}\n', *lines[1:]],
        "neither a key": [lines[0], b'{"key":"/calico/a"}\n', *lines[1:]],
        "line 2: ": [lines[0], b'{"key":"/calico/a","base64":"?"}\n', *lines[1:]],
        "there is more behind line 9": [*lines, lines[1]],
        "it is no export": lines[1:],
        "a.jsonl cannot be used, and nothing was written: it is no": [],
    }
    for words, content in wrong.items():
        with pytest.raises(DatastoreError, match=words):
            Archive(io.BytesIO(b"".join(content)), "a.jsonl").check()


async def test_a_file_of_a_newer_format_is_refused(lines: list[bytes]) -> None:
    newer = lines[0].replace(b'"tortieDatastore":1', b'"tortieDatastore":2')
    with pytest.raises(FormatTooNew, match=r"a\.jsonl has format 2, .* up to 1: upgrade tortie"):
        Archive(io.BytesIO(newer), "a.jsonl")


def test_marks_are_tortie_s_own() -> None:
    assert all(mark.startswith("/tortie/v1/") for mark in MARKS)
