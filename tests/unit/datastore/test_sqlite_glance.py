"""What is read on the event loop itself: little, at once, and with the same answer as the long way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing
from functools import partial
from pathlib import Path

import pytest

from tests.unit.datastore.backends import SqliteBackend
from tortie.datastore.api import Put
from tortie.datastore.sqlite import rows
from tortie.datastore.sqlite.file import StoreFile

SINCE_THE_START = partial(rows.few_events_since, prefix="/", from_revision=2)


@pytest.fixture
def file(directory: Path) -> Iterator[StoreFile]:
    made = StoreFile(directory / "s.db", create=True)
    yield made
    made.close()


def write(file: StoreFile, number: int) -> None:
    for _ in range(number):
        file.write(lambda db: rows.commit(db, [], [Put("/a", b"")]))


def test_what_it_sees_is_what_a_read_sees(file: StoreFile) -> None:
    write(file, 3)
    batch = file.glance(SINCE_THE_START)
    assert batch is not None
    assert batch == file.read(partial(rows.events_since, prefix="/", from_revision=2))
    assert len(batch.events) == 3


def test_a_file_that_is_not_open_yet_is_not_opened(file: StoreFile) -> None:
    assert file.glance(SINCE_THE_START) is None
    assert not file.path.exists()


def test_much_news_is_left_to_the_worker(file: StoreFile) -> None:
    write(file, rows.FEW)
    assert file.glance(SINCE_THE_START) is not None
    write(file, 1)
    assert file.glance(SINCE_THE_START) is None


def test_it_does_not_wait_for_the_worker(file: StoreFile) -> None:
    write(file, 1)
    busy, done = threading.Event(), threading.Event()

    def long_work(_: object) -> None:
        busy.set()
        assert done.wait(10)

    worker = threading.Thread(target=file.read, args=(long_work,))
    worker.start()
    assert busy.wait(10)
    assert file.glance(SINCE_THE_START) is None
    done.set()
    worker.join()
    assert file.glance(SINCE_THE_START) is not None


def test_a_file_that_is_gone_is_left_to_the_worker(file: StoreFile) -> None:
    write(file, 1)
    file.path.rename(file.path.with_name("aside"))
    assert file.glance(SINCE_THE_START) is None


async def test_a_watch_that_falls_behind_gets_everything(sqlite_backend: SqliteBackend) -> None:
    here, there = sqlite_backend.connect(), sqlite_backend.connect()
    start = (await here.list("")).revision
    many = 3 * rows.FEW
    async with asyncio.timeout(10), aclosing(here.watch("/", start + 1)) as watch:
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        await asyncio.gather(*(there.txn([], [Put(f"/{number}", b"")]) for number in range(many)))
        events = list((await waiting).events)
        while len(events) < many:
            events += (await anext(watch)).events
    assert [event.revision for event in events] == list(range(start + 1, start + 1 + many))
