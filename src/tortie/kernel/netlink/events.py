"""A socket on which the kernel sends events, bounded in what it holds and honest about what it lost.

Invariants:
* One wake-up costs bounded work: `receive(limit)` takes at most `limit` datagrams.
* When the kernel had to drop events, those still queued are thrown away, and the loss is told once, after them.
"""

from __future__ import annotations

import errno
import socket
from types import TracebackType
from typing import Self

from tortie.kernel.failure import mapped
from tortie.kernel.netlink.message import Message, parse_messages
from tortie.kernel.netlink.socket import DATAGRAM_BYTES, force_receive_buffer


class EventSocket:
    """Member of multicast `groups` (a bit each) of the netlink `protocol`, in the caller's network namespace."""

    def __init__(self, protocol: int, groups: int, buffer_bytes: int) -> None:
        with mapped("open a socket for netlink events"):
            flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_NETLINK, flags, protocol)
            try:
                force_receive_buffer(self._socket, buffer_bytes)
                self._socket.bind((0, groups))
            except OSError:
                self._socket.close()
                raise
        self._buffer = memoryview(bytearray(DATAGRAM_BYTES))
        self._losing = False

    def fileno(self) -> int:
        """Readable when there is something to read."""
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def losing(self) -> bool:
        """Some were lost, and what is queued is older: not all of that has been thrown away yet."""
        return self._losing

    def receive(self, limit: int) -> tuple[list[Message], bool]:
        """The messages that are there, at once, and whether some before the next ones are lost."""
        messages: list[Message] = []
        for _ in range(limit):
            try:
                length = self._socket.recv_into(self._buffer)
            except BlockingIOError:
                lost, self._losing = self._losing, False
                return messages, lost
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    with mapped("read netlink events"):
                        raise
                # The kernel reports the loss ahead of what is still queued, which is older than the loss.
                self._losing = True
                continue
            if not self._losing:
                messages += parse_messages(bytes(self._buffer[:length]))
        return messages, False
