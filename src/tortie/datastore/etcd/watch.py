"""A watch: one stream of etcd's, and a pulse beside it.

A half-open connection says nothing, and neither does a quiet store. So while a stream is silent a linearizable read,
which asks a majority, is made on the same connection every few seconds: if it fails, the stream counts as lost.

Bookmarks come from the server alone (`progress_notify`; etcd sends one every ten minutes unless it is told
`--experimental-watch-progress-notify-interval`): what another call says of the revision is in no order with the
stream, and a request for progress ends etcd's gRPC proxy of version 3.4. Before 3.4.25 and 3.5.8 etcd may send a
progress that overtakes events (etcd issue 15220). So a bookmark is handed on only when the next message comes, and
with the revision of the one before: by then the overtaken events have come.

Nor does etcd say where history ends and news begins: whoever watches from the past gets what there is to get, or
that it is compacted, by a task that runs each 100 ms (server/mvcc/watchable_store.go), and nothing when nothing of
the range was written. So what was missed is what comes until the store's revision is reached, or `SYNC_S` pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import grpc

from tortie.datastore.api import Batch, Event
from tortie.datastore.etcd import wire
from tortie.datastore.etcd.connection import CALL_TIMEOUT_S, Connection, Connector, Stream, failures
from tortie.datastore.etcd.failure import Rejected
from tortie.datastore.etcd.history import History
from tortie.errors import Compacted

PULSE_S = 3.0  # and a call may take 5 s: silence is noticed within 8
SYNC_S = 0.5


async def watch(connector: Connector, history: History, prefix: str, from_revision: int) -> AsyncGenerator[Batch, None]:
    """See `Datastore.watch`. An outage ends it with `Unavailable`; the next watch may reach another member."""
    connection: Connection | None = None
    messages: _Messages | None = None
    try:
        connection = await connector.connection()
        revision = await _check_history(connector, connection, history, prefix, from_revision)
        messages = _Messages(connection.stream(wire.WATCH))
        await messages.create(prefix, from_revision)
        missed = await _missed(messages, from_revision - 1, revision)
        async for batch in _batches(connection, prefix, messages, missed):
            if batch.events:
                history.changed(prefix, batch.events[-1], connection)
            yield batch
    except Rejected as error:
        if connection is not None and error.is_outage:
            await connector.drop(connection)
        raise error.for_user(connector.url) from None
    finally:
        if messages is not None:
            await messages.close()


async def _check_history(
    connector: Connector, connection: Connection, history: History, prefix: str, from_revision: int
) -> int:
    """The store's revision. Raises `Compacted` when the store never had what the caller has seen."""
    try:
        revision = await _pulse(connection, prefix, from_revision - 1)
    except Rejected as error:
        if not error.token_refused:
            raise
        await connector.renew_token(connection)
        revision = await _pulse(connection, prefix, from_revision - 1)
    try:
        continued = await history.is_continued(prefix, connection)
    except Rejected as error:
        if not error.is_compacted:
            raise
        continued = False
    if not continued:
        raise Compacted(from_revision - 1)
    return revision


async def _pulse(connection: Connection, prefix: str, seen: int) -> int:
    """A read of a majority, and the store's revision; the keys are those that the caller may read anyway.

    Raises `Compacted` when the store has not come to the revision that was seen.
    """
    request = wire.RangeRequest(**wire.key_range(prefix), limit=1, keys_only=True)
    answer = await connection.call(wire.RANGE, request)
    revision: int = answer.header.revision
    if revision < seen:
        raise Compacted(revision)
    return revision


async def _missed(messages: _Messages, seen: int, revision: int) -> Batch:
    """What happened after `seen` and until the store came to `revision`, as one batch."""
    events: list[Event] = []
    while seen < revision and (message := await messages.next(SYNC_S)):
        if message.events:
            events += map(_event, message.events)
            seen = events[-1].revision
    return Batch(tuple(events), seen)


async def _batches(
    connection: Connection, prefix: str, messages: _Messages, missed: Batch
) -> AsyncGenerator[Batch, None]:
    yield missed
    seen, bookmark = missed.revision, 0
    while True:
        message = await messages.next(PULSE_S)
        if message is None:
            try:
                await _pulse(connection, prefix, seen)
            except Rejected as error:
                # A token may end while the stream that it opened goes on.
                if error.is_outage:
                    raise
        elif message.events:
            events = tuple(map(_event, message.events))
            seen = events[-1].revision
            yield Batch(events, seen)
        else:
            if bookmark:
                yield Batch((), bookmark)
            bookmark = message.header.revision


class _Messages:
    """What the server says on one stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reading: asyncio.Future[Any] | None = None

    async def create(self, prefix: str, from_revision: int) -> None:
        create = wire.WatchCreateRequest(**wire.key_range(prefix), start_revision=from_revision, progress_notify=True)
        with failures():
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._stream.write(wire.WatchRequest(create=create))
                _check_end(await self._read())

    async def next(self, wait_s: float) -> Any:
        """The next message, or None when none came in time. Raises `Rejected`, and `Compacted`."""
        self._reading = self._reading or asyncio.ensure_future(self._read())
        if not (await asyncio.wait([self._reading], timeout=wait_s))[0]:
            return None
        reading, self._reading = self._reading, None
        message = reading.result()
        _check_end(message)
        return message

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError, Rejected):
                await self._reading
        self._stream.cancel()

    async def _read(self) -> Any:
        with failures():
            message = await self._stream.read()
        if message is grpc.aio.EOF:
            reason = await self._stream.details() or "the server ended the watch"
            raise Rejected(await self._stream.code(), reason)
        return message


def _check_end(message: Any) -> None:
    if message.compact_revision:
        raise Compacted(message.compact_revision)
    if message.canceled:
        raise Rejected(grpc.StatusCode.UNAVAILABLE, message.cancel_reason or "the server cancelled the watch")


def _event(event: Any) -> Event:
    key = event.kv.key.decode()
    return Event(key, None if event.type == wire.DELETED else event.kv.value, event.kv.mod_revision)
