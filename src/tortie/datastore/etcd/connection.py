"""The way to an etcd: one connection to one member at a time, another one when it fails.

Invariants:
* Certificates, keys and passwords are read when a connection is made, so they may be renewed under a running agent.
* A connection that failed once is closed and never used again: no back-off inside gRPC outlives a failure.
* Every call has an end: a member that is silent for `CALL_TIMEOUT_S` counts as lost.
* Several watches share a connection, and the first that finds it broken closes it under the others: whatever they are
  doing then fails with `Rejected`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from tortie.access import Credentials
from tortie.datastore.etcd import wire
from tortie.datastore.etcd.failure import Rejected, rejected
from tortie.datastore.etcd.members import Members
from tortie.errors import DatastoreError, Unavailable

CALL_TIMEOUT_S = 5.0

_OPTIONS = [
    # A page of a listing is larger than gRPC's limit of 4 MiB.
    ("grpc.max_receive_message_length", -1),
    # A connection of one's own: by default all channels to one address share one, and its back-off.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]

Stream = Any  # grpc.aio's call with `read` and `write`


class Connection:
    """A channel to one member, and the token that its login gave. No two of one datastore have the same number."""

    def __init__(self, number: int, channel: grpc.aio.Channel) -> None:
        self.number = number
        self._channel = channel
        self._token = ""

    async def call(self, method: wire.Method, request: Any) -> Any:
        """The response; raises `Rejected`."""
        remote = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        with failures():
            return await remote(request, timeout=CALL_TIMEOUT_S, metadata=self._metadata())

    async def call_by_stream(self, method: wire.Method, request: Any) -> Any:
        """The same for a method that etcd offers only as a stream."""
        stream = self.stream(method)
        try:
            with failures():
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await stream.write(request)
                    answer = await stream.read()
        finally:
            stream.cancel()
        if answer is grpc.aio.EOF:
            raise Rejected(await stream.code(), await stream.details())
        return answer

    def stream(self, method: wire.Method) -> Stream:
        """A call whose messages go both ways, until one end closes it. Raises `Rejected`."""
        remote = self._channel.stream_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        with failures():
            return remote(metadata=self._metadata())

    async def log_in(self, username: str, password: str) -> None:
        self._token = ""
        answer = await self.call(wire.AUTHENTICATE, wire.AuthenticateRequest(name=username, password=password))
        self._token = answer.token

    async def close(self) -> None:
        await self._channel.close()

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("token", self._token),) if self._token else ()


class Connector:
    """Hands out the connection in use, and makes another one when it is dropped."""

    def __init__(self, url: str, members: Members, credentials: Credentials) -> None:
        self.url = url
        self._members = members
        self._credentials = credentials
        self._connection: Connection | None = None
        self._making = asyncio.Lock()
        self._opened = 0
        self._closed = False

    async def connection(self) -> Connection:
        """The connection in use, logged in. Raises `Rejected` and DatastoreError."""
        async with self._making:
            if self._closed:
                raise DatastoreError(f"datastore {self.url}: it was closed")
            if self._connection is None:
                connection = self._open(await self._members.next())
                try:
                    await self._log_in(connection)
                except BaseException:
                    await connection.close()
                    raise
                self._connection = connection
            return self._connection

    async def drop(self, connection: Connection) -> None:
        """Gives a connection up: the next caller gets one to the next member."""
        if self._connection is connection:
            self._connection = None
        await connection.close()

    async def renew_token(self, connection: Connection) -> None:
        async with self._making:
            await self._log_in(connection)

    @property
    def members(self) -> int:
        """How many servers are known."""
        return self._members.count

    async def close(self) -> None:
        self._closed = True
        if self._connection is not None:
            await self.drop(self._connection)

    async def _log_in(self, connection: Connection) -> None:
        username, password = self._credentials.username, self._password()
        if username:
            await connection.log_in(username, password)

    def _open(self, address: str) -> Connection:
        self._opened += 1
        if not self._members.tls:
            return Connection(self._opened, grpc.aio.insecure_channel(address, options=_OPTIONS))
        given = self._credentials
        secured = grpc.ssl_channel_credentials(
            root_certificates=_pem(given.ca_cert, given.ca_cert_file) or _authorities(),
            private_key=_pem(given.key, given.key_file),
            certificate_chain=_pem(given.cert, given.cert_file),
        )
        return Connection(self._opened, grpc.aio.secure_channel(address, secured, options=_OPTIONS))

    def _password(self) -> str:
        given = self._credentials
        if not given.password_file:
            return given.password
        return (_read(given.password_file).decode().splitlines() or [""])[0]


@contextmanager
def failures() -> Iterator[None]:
    """What gRPC raises in this block, as `Rejected`: also when the connection is closed under a call.

    Then gRPC raises what it raises for a mistake of its caller's, or cancels what waits, of which an own cancellation
    is told apart.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise rejected(error) from None
    except TimeoutError:
        raise Rejected(grpc.StatusCode.DEADLINE_EXCEEDED, "") from None
    except (asyncio.InvalidStateError, grpc.aio.UsageError):
        raise _closed() from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise _closed() from None


def _closed() -> Rejected:
    return Rejected(grpc.StatusCode.UNAVAILABLE, "the connection was given up")


def _pem(text: str, file: str) -> bytes | None:
    return text.encode() if text else _read(file) if file else None


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        # It may be about to be renewed.
        raise Unavailable(f"credentials of the datastore: {file}: {error.strerror}") from error


def _authorities() -> bytes | None:
    """The authorities that this machine trusts; without a file of them gRPC's own."""
    file = ssl.get_default_verify_paths().openssl_cafile
    return Path(file).read_bytes() if Path(file).exists() else None
