"""A SQLite file that is locked, missing, foreign, damaged, full, replaced or closed to the user.

Each is one sentence that names the file, never a traceback, and over as soon as its cause is.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path

import pytest

from tests.unit.datastore.backends import Spawn, SqliteBackend
from tortie.datastore.api import Compare, Put
from tortie.datastore.sqlite import SqliteDatastore
from tortie.datastore.sqlite.file import StoreFile
from tortie.errors import Compacted, DatastoreError, FormatTooNew, NoStore, Unavailable

LOCK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    db.execute(statement).fetchall()
print("locked", flush=True)
sys.stdin.readline()
db.close()
"""


def lock(spawn: Spawn, path: Path, *statements: str) -> subprocess.Popen[str]:
    """Another process holds the file until a line is written to it."""
    holder = spawn(LOCK, path, *statements)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    return holder


def release(holder: subprocess.Popen[str]) -> None:
    holder.communicate("go\n", timeout=10)


@asynccontextmanager
async def loop_stays_free(limit_s: float = 0.1) -> AsyncIterator[None]:
    """Fails if the event loop does not come round for `limit_s`."""
    lags: list[float] = []

    async def beat() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            lags.append(time.monotonic() - before - 0.005)

    task = asyncio.create_task(beat())
    yield
    task.cancel()
    assert len(lags) > 20
    assert max(lags) < limit_s


class TestLocked:
    async def test_for_too_long_is_unavailable_and_passes(self, sqlite_backend: SqliteBackend, spawn: Spawn) -> None:
        store = sqlite_backend.connect(patience_s=0.3)
        await store.txn([], [Put("/a", b"1")])
        holder = lock(spawn, sqlite_backend.path, "begin exclusive")
        async with loop_stays_free():
            with pytest.raises(Unavailable, match=rf"datastore {sqlite_backend.path} has been locked .* 0.3 s"):
                await store.txn([], [Put("/a", b"2")])
        release(holder)
        assert (await store.txn([], [Put("/a", b"3")])).succeeded

    async def test_reads_do_not_wait_for_a_writer(self, sqlite_backend: SqliteBackend, spawn: Spawn) -> None:
        store = sqlite_backend.connect()
        await store.txn([], [Put("/a", b"1")])
        lease = await store.lease(0.001)
        assert lease  # due by now: ending it needs the lock, reading does not
        lock(spawn, sqlite_backend.path, "begin exclusive")
        waiting = asyncio.create_task(store.txn([], [Put("/a", b"2")]))
        async with asyncio.timeout(1):
            item = await store.get("/a")
        assert item is not None
        assert item.value == b"1"
        waiting.cancel()

    async def test_a_short_lock_is_waited_for(self, sqlite_backend: SqliteBackend, spawn: Spawn) -> None:
        store = sqlite_backend.connect()
        await store.get("/a")
        holder = lock(spawn, sqlite_backend.path, "begin exclusive")
        waiting = asyncio.create_task(store.txn([], [Put("/a", b"2")]))
        async with loop_stays_free():
            await asyncio.wait([waiting], timeout=0.2)
            assert not waiting.done()
        release(holder)
        assert (await waiting).succeeded

    async def test_against_readers_too(self, sqlite_backend: SqliteBackend, spawn: Spawn) -> None:
        await sqlite_backend.connect().get("/a")
        await sqlite_backend.connections.pop().close()
        holder = lock(
            spawn, sqlite_backend.path, "pragma locking_mode = exclusive", "begin exclusive", "select * from kv"
        )
        store = sqlite_backend.connect(patience_s=0.3)
        async with loop_stays_free():
            with pytest.raises(Unavailable, match="locked"):
                await store.list("")
        release(holder)
        assert (await store.list("")).items == []


class TestNotAStore:
    async def test_directory_missing(self, directory: Path) -> None:
        await refused(directory / "no" / "tortie.db", NoStore, f"{directory}/no does not exist")

    async def test_file_missing(self, directory: Path) -> None:
        path = directory / "tortie.db"
        await refused(path, NoStore, "tortie.db does not exist")
        assert not path.exists()

    async def test_directory_in_its_place(self, directory: Path) -> None:
        (directory / "tortie.db").mkdir()
        await refused(directory / "tortie.db", Unavailable, "is not a file")

    async def test_file_in_place_of_the_directory(self, directory: Path) -> None:
        (directory / "file").write_text("")
        await refused(directory / "file" / "tortie.db", Unavailable, "Not a directory", create=True)

    async def test_not_a_database(self, directory: Path) -> None:
        path = directory / "tortie.db"
        path.write_text("{}" * 500)
        await refused(path, DatastoreError, "is damaged")
        assert path.read_text() == "{}" * 500

    async def test_database_of_another_program(self, directory: Path) -> None:
        path = directory / "tortie.db"
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("create table songs(title text)")
        before = path.read_bytes()
        await refused(path, DatastoreError, "database of another program")
        assert path.read_bytes() == before

    async def test_newer_format(self, sqlite_backend: SqliteBackend) -> None:
        await sqlite_backend.connect().get("/a")
        await sqlite_backend.connections.pop().close()
        sqlite_backend.execute("pragma user_version = 99")
        before = sqlite_backend.path.read_bytes()
        await refused(sqlite_backend.path, FormatTooNew, "format 99, .* up to 1: upgrade tortie")
        assert sqlite_backend.path.read_bytes() == before

    async def test_empty_file_becomes_a_store(self, directory: Path) -> None:
        (directory / "tortie.db").touch()
        store = SqliteDatastore(directory / "tortie.db")
        assert (await store.list("")).items == []
        await store.close()


async def refused(path: Path, kind: type[DatastoreError], sentence: str, *, create: bool = False) -> None:
    """All verbs fail alike, whichever comes first."""
    store = SqliteDatastore(path, create=create)
    verbs: list[Callable[[], Awaitable[object]]] = [
        lambda: store.get("/a"),
        lambda: store.list(""),
        lambda: store.txn([], [Put("/a", b"")]),
        lambda: anext(store.watch("", 1)),
    ]
    for verb in verbs:
        with pytest.raises(kind, match=f"datastore {path}.*{sentence}") as caught:
            await verb()
        assert type(caught.value) is kind
    await store.close()


class TestWhileInUse:
    async def test_damaged_until_a_backup_is_in_its_place(self, sqlite_backend: SqliteBackend) -> None:
        await sqlite_backend.connect().txn([], [Put(f"/{n}", b"x" * 1000) for n in range(100)])
        await sqlite_backend.connections.pop().close()
        path, backup = sqlite_backend.path, sqlite_backend.path.with_name("backup")
        shutil.copy(path, backup)
        path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 8192 + path.read_bytes()[12288:])
        store = sqlite_backend.connect()
        with pytest.raises(DatastoreError, match=rf"datastore {path} is damaged"):
            await store.list("")
        backup.rename(path)
        assert len((await store.list("")).items) == 100

    async def test_backup_without_write_ahead_log(self, sqlite_backend: SqliteBackend) -> None:
        await sqlite_backend.connect().txn([], [Put("/a", b"")])
        await sqlite_backend.connections.pop().close()
        backup = sqlite_backend.path.with_name("backup")
        sqlite_backend.execute(f"vacuum into '{backup}'")
        backup.rename(sqlite_backend.path)
        assert len((await sqlite_backend.connect().list("")).items) == 1
        with closing(sqlite3.connect(sqlite_backend.path)) as db:
            assert db.execute("pragma journal_mode").fetchone() == ("wal",)

    async def test_removed_is_not_made_anew(self, sqlite_backend: SqliteBackend) -> None:
        store = sqlite_backend.connect()
        await store.txn([], [Put("/a", b"")])
        aside = sqlite_backend.path.with_name("aside")
        sqlite_backend.path.rename(aside)
        with pytest.raises(Unavailable, match="does not exist"):
            await store.list("")
        assert not sqlite_backend.path.exists()
        aside.rename(sqlite_backend.path)
        assert len((await store.list("")).items) == 1

    async def test_replaced_is_refused(self, sqlite_backend: SqliteBackend, directory: Path) -> None:
        store = sqlite_backend.connect()
        await store.txn([], [Put("/a", b"")])
        other = SqliteBackend(directory / "other.db")
        await other.connect().get("/a")
        await other.connections.pop().close()
        other.path.rename(sqlite_backend.path)
        before = sqlite_backend.path.read_bytes()
        with pytest.raises(Unavailable, match="was replaced while in use"):
            await store.list("")
        with pytest.raises(Unavailable, match="was replaced while in use"):
            await store.txn([Compare("/a", 0)], [Put("/a", b"")])
        await store.close()
        assert sqlite_backend.path.read_bytes() == before

    async def test_an_older_state_restored_ends_the_watch(self, sqlite_backend: SqliteBackend) -> None:
        store = sqlite_backend.connect()
        await store.txn([], [Put("/a", b"")])
        with closing(sqlite3.connect(":memory:")) as backup, closing(sqlite3.connect(sqlite_backend.path)) as db:
            db.backup(backup)
            revision = (await store.txn([], [Put("/b", b"")])).revision
            async with asyncio.timeout(5), aclosing(store.watch("/", revision + 1)) as watch:
                await anext(watch)
                backup.backup(db)
                with pytest.raises(Compacted):
                    await anext(watch)
        assert [item.key for item in (await store.list("")).items] == ["/a"]

    async def test_disk_full(self, sqlite_backend: SqliteBackend) -> None:
        store = StoreFile(sqlite_backend.path, create=True)
        store.write(lambda db: db.execute("pragma max_page_count = 20").fetchall())
        with pytest.raises(Unavailable, match=rf"datastore {sqlite_backend.path}: the disk is full, nothing was"):
            store.write(lambda db: db.execute("insert into kv values('/a', zeroblob(1000000), 2, 2, 0)"))
        # The connection stays: to read, no space is needed.
        assert store.read(lambda db: db.execute("select count(*) from kv").fetchone()) == (0,)
        store.write(lambda db: db.execute("pragma max_page_count = 10000").fetchall())
        store.write(lambda db: db.execute("insert into kv values('/a', zeroblob(1000000), 2, 2, 0)"))
        store.close()

    async def test_closed(self, sqlite_backend: SqliteBackend) -> None:
        store = sqlite_backend.connect()
        async with asyncio.timeout(5), aclosing(store.watch("/", 1)) as watch:
            await anext(watch)
            waiting = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
            await store.close()
            with pytest.raises(Unavailable, match="closed"):
                await waiting
        with pytest.raises(Unavailable, match="closed"):
            await store.get("/a")

    async def test_no_inotify_left(self, sqlite_backend: SqliteBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tortie.datastore.sqlite.bell._libc.inotify_init1", lambda _: -1)
        store = sqlite_backend.connect()
        async with asyncio.timeout(5), aclosing(store.watch("/", 1)) as watch:
            await anext(watch)
            await store.txn([], [Put("/a", b"")])
            assert len((await anext(watch)).events) == 1


class TestPermissions:
    READER = """
import asyncio, os, sys
from pathlib import Path
from tortie.datastore.api import Put
from tortie.datastore.sqlite import SqliteDatastore
from tortie.errors import DatastoreError

if os.geteuid() == 0:
    os.seteuid(65534)

async def attempt(work):
    try:
        print("ok", await work, flush=True)
    except DatastoreError as error:
        print(type(error).__name__, error, flush=True)

async def main():
    store = SqliteDatastore(Path(sys.argv[1]))
    await attempt(store.get("/a"))
    await attempt(store.txn([], [Put("/a", b"2")]))
    await store.close()
asyncio.run(main())
"""

    def answers(self, spawn: Spawn, path: Path) -> list[str]:
        """What a get and a put tell a user who may not write the file."""
        out, _ = spawn(self.READER, path).communicate(timeout=20)
        return out.splitlines()

    async def test_modes(self, sqlite_backend: SqliteBackend) -> None:
        umask = os.umask(0o022)
        try:
            await sqlite_backend.connect().get("/a")
        finally:
            os.umask(umask)
        assert oct(sqlite_backend.path.parent.stat().st_mode & 0o7777) == "0o750"
        for file in sqlite_backend.path.parent.iterdir():
            assert oct(file.stat().st_mode & 0o7777) == "0o640"

    async def test_reader_beside_the_owner(self, sqlite_backend: SqliteBackend, spawn: Spawn) -> None:
        await sqlite_backend.connect().txn([], [Put("/a", b"1")])
        sqlite_backend.path.chmod(0o440)
        read, write = self.answers(spawn, sqlite_backend.path)
        assert read.startswith("ok Item(key='/a', value=b'1'")
        assert write.startswith(f"DatastoreError datastore {sqlite_backend.path} is read-only for user ")

    async def test_reader_alone(self, sqlite_backend: SqliteBackend, spawn: Spawn) -> None:
        await sqlite_backend.connect().txn([], [Put("/a", b"1")])
        await sqlite_backend.connections.pop().close()
        sqlite_backend.path.chmod(0o440)
        sqlite_backend.path.parent.chmod(0o550)
        read, write = self.answers(spawn, sqlite_backend.path)
        sqlite_backend.path.parent.chmod(0o750)
        assert read == write
        assert read.startswith(f"Unavailable datastore {sqlite_backend.path}: user ")
        assert "start the agent, or run this as the owner" in read

    @pytest.mark.parametrize("closed", ["store", "store/tortie.db"])
    async def test_no_access(self, sqlite_backend: SqliteBackend, directory: Path, spawn: Spawn, closed: str) -> None:
        await sqlite_backend.connect().txn([], [Put("/a", b"1")])
        (directory / closed).chmod(0)
        read, write = self.answers(spawn, sqlite_backend.path)
        (directory / closed).chmod(0o700)
        assert read == write
        assert read.startswith(f"Unavailable datastore {sqlite_backend.path} ")
