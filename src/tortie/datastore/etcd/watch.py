"""A watch: one stream of etcd's, and a pulse beside it.

A half-open connection says nothing, and neither does a quiet store. So while a stream is silent a linearizable read,
which asks a majority, is made on the same connection every few seconds: if it fails, the stream counts as lost.

Bookmarks come from the server alone (`progress_notify`; etcd sends one every ten minutes unless it is told
`--experimental-watch-progress-notify-interval`): what another call says of the revision is in no order with the
stream, and a request for progress ends etcd's gRPC proxy of version 3.4. Before 3.4.25 and 3.5.8 etcd may send a
progress that overtakes events (etcd issue 15220). So a bookmark is handed on only when the next message comes, and
with the revision of the one before: by then the overtaken events have come.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from itertools import groupby
from typing import Any

import grpc

from tortie.datastore.api import Batch, Event
from tortie.datastore.etcd import wire
from tortie.datastore.etcd.connection import Connection, Connector, Stream, being_cancelled, closed
from tortie.datastore.etcd.failure import Rejected, rejected
from tortie.datastore.etcd.history import History
from tortie.errors import Compacted

PULSE_S = 3.0  # and a call may take 5 s: silence is noticed within 8


async def watch(connector: Connector, history: History, prefix: str, from_revision: int) -> AsyncGenerator[Batch, None]:
    """See `Datastore.watch`. An outage ends it with `Unavailable`; the next watch may reach another member."""
    connection: Connection | None = None
    stream: Stream = None
    try:
        connection = await connector.connection()
        await _check_history(connector, connection, history, prefix, from_revision)
        stream = connection.stream(wire.WATCH)
        await _create(stream, prefix, from_revision)
        yield Batch((), from_revision - 1)
        async for batch in _batches(connection, prefix, stream, from_revision - 1):
            if batch.events:
                history.changed(prefix, batch.events[-1], connection)
            yield batch
    except Rejected as error:
        if connection is not None and error.is_outage:
            await connector.drop(connection)
        raise error.for_user(connector.url) from None
    finally:
        if stream is not None:
            stream.cancel()


async def _check_history(
    connector: Connector, connection: Connection, history: History, prefix: str, from_revision: int
) -> None:
    """Raises `Compacted` when the store never had what the caller has seen."""
    try:
        await _pulse(connection, prefix, from_revision - 1)
    except Rejected as error:
        if not error.token_refused:
            raise
        await connector.renew_token(connection)
        await _pulse(connection, prefix, from_revision - 1)
    try:
        continued = await history.is_continued(prefix, connection)
    except Rejected as error:
        if not error.is_compacted:
            raise
        continued = False
    if not continued:
        raise Compacted(from_revision - 1)


async def _pulse(connection: Connection, prefix: str, seen: int) -> None:
    """A read of a majority; the keys are those that the caller may read anyway.

    Raises `Compacted` when the store has not come to the revision that was seen.
    """
    request = wire.RangeRequest(**wire.key_range(prefix), limit=1, keys_only=True)
    answer = await connection.call(wire.RANGE, request)
    if answer.header.revision < seen:
        raise Compacted(answer.header.revision)


async def _create(stream: Stream, prefix: str, from_revision: int) -> None:
    create = wire.WatchCreateRequest(**wire.key_range(prefix), start_revision=from_revision, progress_notify=True)
    try:
        await stream.write(wire.WatchRequest(create=create))
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
        raise _reason(error) from None
    first = await _read(stream)
    _check_end(first)


async def _batches(connection: Connection, prefix: str, stream: Stream, seen: int) -> AsyncGenerator[Batch, None]:
    bookmark = 0
    while True:
        message = await _next(connection, prefix, stream, seen)
        _check_end(message)
        if message.events:
            for revision, events in groupby(message.events, key=lambda event: event.kv.mod_revision):
                seen = revision
                yield Batch(tuple(map(_event, events)), revision)
            continue
        if bookmark:
            yield Batch((), bookmark)
        bookmark = message.header.revision


async def _next(connection: Connection, prefix: str, stream: Stream, seen: int) -> Any:
    """The next message, however long it takes for as long as the connection lives."""
    reading = asyncio.ensure_future(_read(stream))
    try:
        while not (await asyncio.wait([reading], timeout=PULSE_S))[0]:
            try:
                await _pulse(connection, prefix, seen)
            except Rejected as error:
                # A token may end while the stream that it opened goes on.
                if error.is_outage:
                    raise
        return reading.result()
    finally:
        if not reading.done():
            reading.cancel()
            with suppress(asyncio.CancelledError, Rejected):
                await reading


async def _read(stream: Stream) -> Any:
    try:
        message = await stream.read()
    except grpc.aio.AioRpcError as error:
        raise rejected(error) from None
    except asyncio.CancelledError:
        if being_cancelled():
            raise
        raise closed() from None
    if message is grpc.aio.EOF:
        raise Rejected(await stream.code(), await stream.details() or "the server ended the watch")
    return message


def _check_end(message: Any) -> None:
    if message.compact_revision:
        raise Compacted(message.compact_revision)
    if message.canceled:
        raise Rejected(grpc.StatusCode.UNAVAILABLE, message.cancel_reason or "the server cancelled the watch")


def _reason(error: Exception) -> Rejected:
    return rejected(error) if isinstance(error, grpc.aio.AioRpcError) else closed()


def _event(event: Any) -> Event:
    key = event.kv.key.decode()
    return Event(key, None if event.type == wire.DELETED else event.kv.value, event.kv.mod_revision)
