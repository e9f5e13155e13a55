"""Clusters from store to file, from file to store and from store to store, for `tortie datastore`."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from tortie import bootstrap
from tortie.access import Access
from tortie.bootstrap import Bootstrap
from tortie.cli.progress import Progress
from tortie.cli.store import connected, opened_store
from tortie.cli.whole_file import whole_file
from tortie.datastore.api import Datastore
from tortie.datastore.cluster import guid_of
from tortie.datastore.transfer import archive
from tortie.datastore.transfer.archive import Archive, Header
from tortie.datastore.transfer.content import counted, is_ready
from tortie.datastore.transfer.copying import ArchiveSource, Copied, Source, StoreSource, copy
from tortie.datastore.transfer.lock import information_of, locked
from tortie.errors import TortieError, UsageError

T = TypeVar("T")

STANDARD = "-"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(TortieError):
    """Somebody asked for the end."""


class FileError(TortieError):
    """A file cannot be read or written."""


def export_to(access: Access, file: str, *, lock: bool) -> str:
    """Writes the store's cluster to a file; says what was done."""
    return _until_interrupted(_export(access, file, lock))


def import_from(access: Access, file: str, *, replace: bool) -> str:
    """Fills the store from a file; says what was done."""
    with _readable(file) as opened:
        source = ArchiveSource(Archive(opened, "standard input" if file == STANDARD else file))
        return _until_interrupted(_import(access, source, replace))


def copy_from(settings: Bootstrap, source: str, target: str, *, lock: bool, replace: bool) -> str:
    """Fills a store from another; says what was done."""
    here, there = _access(settings, source), _access(settings, target)
    if here.url == there.url:
        raise UsageError(f"source and target are one: {here.url}")
    return _until_interrupted(_copy(here, there, lock, replace))


async def _export(access: Access, file: str, lock: bool) -> str:
    async with opened_store(access) as datastore, _source(datastore, lock) as source:
        cluster = guid_of(source.information)
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        header = Header(format=archive.FORMAT, cluster=cluster, source=datastore.url, created=created)
        with Progress(await _total(source), f"Writing to {file}") as progress, _writable(file) as opened:
            digest = await archive.write(opened, header, source.entries(), progress.advance)
        to = "standard output" if file == STANDARD else file
        return f"Exported cluster {cluster} from {datastore.url} to {to}: {digest}."


async def _import(access: Access, source: ArchiveSource, replace: bool) -> str:
    async with opened_store(access, create=True) as datastore:
        with Progress(source.keys, f"Writing to {datastore.url}") as progress:
            copied = await copy(source, datastore, replace=replace, advance=progress.advance)
        return _done("Imported", source, copied, datastore.url)


async def _copy(here: Access, there: Access, lock: bool, replace: bool) -> str:
    async with connected(here) as first, connected(there, create=True) as target, _source(first, lock) as source:
        with Progress(await _total(source), f"Copying to {target.url}") as progress:
            copied = await copy(source, target, replace=replace, advance=progress.advance)
        return _done("Copied", source, copied, target.url)


def _done(what: str, source: Source, copied: Copied, target: str) -> str:
    already = copied.digest.keys - copied.written
    parts = [f"{copied.written} keys written"]
    if already:
        parts.append(f"{already} skipped, which were there already")
    if copied.deleted:
        parts.append(f"{copied.deleted} deleted")
    resumed = " It went on where an earlier one was interrupted." if copied.resumed else ""
    still = "" if is_ready(source.information) else " The target is locked, as the source was: tortie datastore unlock."
    return (
        f"{what} cluster {guid_of(source.information)} from {source.place} to {target}: {', '.join(parts)}. "
        f"Both hold {copied.digest}.{resumed}{still}"
    )


@asynccontextmanager
async def _source(datastore: Datastore, lock: bool) -> AsyncIterator[StoreSource]:
    if not lock:
        yield StoreSource(datastore, await information_of(datastore))
        return
    async with locked(datastore) as information:
        yield StoreSource(datastore, information)


async def _total(source: StoreSource) -> int:
    """How many keys there are, where somebody looks at a progress bar."""
    return await counted(source.entries()) if sys.stderr.isatty() else 0


def _access(settings: Bootstrap, place: str) -> Access:
    if "://" in place:
        return Access(url=place, credentials=settings.etcd, named_by="the command line")
    return bootstrap.load(Path(place)).settings.access


@contextmanager
def _readable(file: str) -> Iterator[BinaryIO]:
    """The file, so that it can be read more than once."""
    with _explained(file):
        if file != STANDARD:
            with Path(file).open("rb") as opened:
                yield opened
            return
        with tempfile.TemporaryFile() as kept:
            shutil.copyfileobj(sys.stdin.buffer, kept)
            yield kept


@contextmanager
def _writable(file: str) -> Iterator[BinaryIO]:
    with _explained(file):
        if file != STANDARD:
            with whole_file(Path(file)) as opened:
                yield opened
            return
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()


@contextmanager
def _explained(file: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(f"{file}: {error.strerror}") from error


def _until_interrupted(work: Coroutine[Any, Any, T]) -> T:
    """What the work returns. A signal that asks for the end lets it clean up first, which unlocks what it locked."""
    received: list[int] = []

    async def run() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)

        def cancel(number: int) -> None:
            received.append(number)
            task.cancel()

        for number in _SIGNALS:
            loop.add_signal_handler(number, cancel, number)
        return await task

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        if not received:
            raise
        name = signal.Signals(received[0]).name
        raise Interrupted(f"interrupted by {name}: the source is as it was before; the same command goes on") from None
