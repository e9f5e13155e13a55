"""One netlink socket: requests, dumps and packed batches, each answered before the call returns.

Invariants:
* A call never waits. The kernel handles a request inside sendmsg(2) and has queued the answer when it returns, so an
  empty queue means that the answer was lost, which is `Busy`: read the state again before the next write.
* Answers are told apart by sequence number; those of an earlier, failed call are skipped.
* The socket stays in the network namespace where it was made and may be used from anywhere afterwards, but by
  one thread at a time.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Self, TypeVar

from tortie.errors import Busy, KernelError
from tortie.kernel.failure import kernel_error, mapped
from tortie.kernel.netlink.message import (
    ACK,
    DONE,
    DUMP,
    DUMP_INTERRUPTED,
    ERROR,
    HEADER,
    REQUEST,
    Message,
    malformed,
    parse_messages,
    parse_verdict,
)
from tortie.kernel.netns import run_in

Value = TypeVar("Value")
Row = TypeVar("Row")

Pack = Callable[[int, int, range, Sequence[Row]], bytes]
"""Makes whole messages of rows, one behind the other: of that type, with these flags, and a sequence number each.

Of no rows it makes nothing.
"""

# include/uapi/linux/netlink.h, asm-generic/socket.h; Python does not name them.
SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12
SO_RCVBUFFORCE = 33

# In one system call, which takes some 1.5 ms; more are not faster (measured). A send buffer of the usual size holds
# 350 bytes of each; a route takes 52.
ROWS_AT_ONCE = 600
LARGEST_NUMBER = 0xFFFFFFFF  # of a message
# The kernel builds dumps in pieces of at most 32 KiB; one link with many virtual functions may exceed that.
DATAGRAM_BYTES = 256 * 1024

DUMP_ATTEMPTS = 10


class NetlinkSocket:
    """A socket in the network namespace of the calling thread; what it speaks is rtnetlink unless a subclass says."""

    PROTOCOL = 0  # NETLINK_ROUTE
    # Each failing message of a batch is answered on its own, about 1 KiB of kernel memory: 700 must fit.
    RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024

    def __init__(self) -> None:
        with mapped("open a netlink socket"):
            flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC
            self._socket = socket.socket(socket.AF_NETLINK, flags, self.PROTOCOL)
            try:
                self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
                self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
                # Strict: the kernel filters dumps as asked, and refuses a filter it does not know.
                self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
                force_receive_buffer(self._socket, self.RECEIVE_BUFFER_BYTES)
                self._socket.bind((0, 0))
            except OSError:
                self._socket.close()
                raise
        self._sequence = 0
        self._buffer = memoryview(bytearray(DATAGRAM_BYTES))

    @classmethod
    def open_in(cls, netns_path: str) -> Self:
        """A socket in the network namespace of that path, for use from here."""
        return run_in(netns_path, cls)

    @property
    def port(self) -> int:
        """What the kernel calls this socket: the author of a change, the owner of a table."""
        port, _groups = self._socket.getsockname()
        return int(port)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def request(self, kind: int, flags: int, body: bytes, doing: str) -> list[Message]:
        """Sends one message and returns what the kernel sent back before it acknowledged."""
        answers = []
        for message in self._exchange(kind, flags | ACK, body, doing):
            if message.type == ERROR:
                verdict = parse_verdict(message)
                if verdict.errno:
                    raise kernel_error(verdict.errno, doing, verdict.text)
                break
            answers.append(message)
        return answers

    def dump(self, kind: int, body: bytes, parse: Callable[[Message], Value | None], doing: str) -> list[Value]:
        """All objects that the request selects; `parse` gives None for a message to leave out.

        A dump that the kernel calls interrupted (something changed meanwhile, a row may be missing) is
        repeated; `Busy` when it never came through whole.
        """
        for _ in range(DUMP_ATTEMPTS):
            values: list[Value] = []
            interrupted = False
            for message in self._exchange(kind, DUMP, body, doing):
                interrupted = interrupted or bool(message.flags & DUMP_INTERRUPTED)
                if message.type in (DONE, ERROR):
                    verdict = parse_verdict(message)
                    if not verdict.errno:
                        break
                    error = kernel_error(verdict.errno, doing, verdict.text)
                    if not isinstance(error, Busy):
                        raise error
                    interrupted = True
                    break
                value = parse(message)
                if value is not None:
                    values.append(value)
            if not interrupted:
                return values
        raise Busy(f"{doing}: interrupted {DUMP_ATTEMPTS} times by changes")

    def walk(self, kind: int, body: bytes, parse: Callable[[Message], Value], doing: str) -> Iterator[list[Value]]:
        """The objects that the request selects, piece by piece as the kernel hands them over.

        For tables that move all the time, where a dump that nothing interrupts would never come. A walk that is
        given up leaves the socket `Busy` for another.
        """
        self._sequence += 1
        sequence = self._sequence & 0xFFFFFFFF
        with mapped(doing):
            self._socket.send(HEADER.pack(HEADER.size + len(body), kind, DUMP | REQUEST, sequence, 0) + body)
        while True:
            values: list[Value] = []
            for message in self._answer(doing):
                if message.sequence != sequence:
                    continue
                if message.type in (DONE, ERROR):
                    verdict = parse_verdict(message)
                    if verdict.errno:
                        raise kernel_error(verdict.errno, doing, verdict.text)
                    yield values
                    return
                values.append(parse(message))
            yield values

    def batch(self, kind: int, flags: int, rows: Iterable[Row], pack: Pack[Row], doing: str) -> dict[Row, KernelError]:
        """Sends one message per row and returns the rows that failed, each with its own error.

        2-4 us per row, most of it the kernel's: a caller inside an event loop hands over some thousands at a time.
        Raises only if the answers themselves are lost; then any of the rows may have been done.
        """
        failed: dict[Row, KernelError] = {}
        left = iter(rows)
        while some := list(islice(left, ROWS_AT_ONCE)):
            failed.update(self._send_batch(kind, flags | REQUEST, some, pack, doing))
        return failed

    def _send_batch(
        self, kind: int, flags: int, rows: list[Row], pack: Pack[Row], doing: str
    ) -> dict[Row, KernelError]:
        numbers = self._numbers(len(rows))
        # Only the last message asks for an acknowledgement; failures are reported unasked. An acknowledgement
        # for each would overflow the receive buffer (measured), after which none could be read.
        messages = pack(kind, flags, numbers[:-1], rows[:-1]) + pack(kind, flags | ACK, numbers[-1:], rows[-1:])
        failed: dict[Row, KernelError] = {}
        with mapped(doing):
            self._socket.send(messages)
        for message in self._answers(doing):
            index = message.sequence - numbers.start
            if message.type != ERROR or not 0 <= index < len(rows):
                continue
            verdict = parse_verdict(message)
            if verdict.errno:
                failed[rows[index]] = kernel_error(verdict.errno, f"{doing} {rows[index]}", verdict.text)
            if index == len(rows) - 1:
                break
        return failed

    def _numbers(self, count: int) -> range:
        """Sequence numbers for so many messages; before they would be too long they begin anew."""
        if self._sequence + count > LARGEST_NUMBER:
            self._sequence = 0
        first = self._sequence + 1
        self._sequence += count
        return range(first, first + count)

    def _exchange(self, kind: int, flags: int, body: bytes, doing: str) -> Iterator[Message]:
        (sequence,) = self._numbers(1)
        with mapped(doing):
            self._socket.send(HEADER.pack(HEADER.size + len(body), kind, flags | REQUEST, sequence, 0) + body)
        for message in self._answers(doing):
            if message.sequence == sequence:
                yield message

    def _answers(self, doing: str) -> Iterator[Message]:
        while True:
            yield from self._answer(doing)

    def _answer(self, doing: str) -> list[Message]:
        with mapped(f"{doing}: read the answer"):
            length = self._socket.recv_into(self._buffer, 0, socket.MSG_DONTWAIT | socket.MSG_TRUNC)
        if length > DATAGRAM_BYTES:
            raise malformed(f"{length} bytes at once")
        return parse_messages(bytes(self._buffer[:length]))


def one_by_one(encode: Callable[[Row], bytes]) -> Pack[Row]:
    """Of a function that makes the body of a message."""

    def pack(kind: int, flags: int, numbers: range, rows: Sequence[Row]) -> bytes:
        bodies = zip(numbers, map(encode, rows), strict=True)
        return b"".join(
            [HEADER.pack(HEADER.size + len(body), kind, flags, number, 0) + body for number, body in bodies]
        )

    return pack


def force_receive_buffer(sock: socket.socket, size: int) -> None:
    """Sets the receive buffer beyond net.core.rmem_max; without CAP_NET_ADMIN it keeps its size."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:
        # Only bulk writes and the monitor need the size; they need the same privilege.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
