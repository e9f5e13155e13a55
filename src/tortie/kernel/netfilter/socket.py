"""The socket of netfilter: requests and dumps as any netlink socket has them, and batches that take effect as one."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tortie.errors import Busy, Refused
from tortie.kernel.failure import mapped
from tortie.kernel.netfilter.message import (
    BATCH_BEGIN,
    BATCH_END,
    BATCH_GENERATION,
    GENERIC,
    NETLINK_NETFILTER,
    be32,
)
from tortie.kernel.netlink.message import ACK, ERROR, HEADER, REQUEST, Message, parse_messages
from tortie.kernel.netlink.socket import NetlinkSocket

SO_SNDBUFFORCE = 32

# A batch is one datagram, which the kernel copies whole; 50,000 rules of ten expressions take 17 MB.
BATCH_BYTES = 128 * 1024 * 1024
_KEPT_BYTES = 32  # of the send buffer, net/netlink/af_netlink.c, netlink_sendmsg


class Part(NamedTuple):
    """A message of a batch."""

    type: int
    flags: int
    payload: bytes


class NetfilterSocket(NetlinkSocket):
    """A socket in the network namespace of the calling thread. A table with an owner is owned by this socket."""

    PROTOCOL = NETLINK_NETFILTER
    # Every failing message of a batch is answered, 1 KiB each, and every rule whose handle is asked for.
    RECEIVE_BUFFER_BYTES = 64 * 1024 * 1024

    def transact(self, subsystem: int, parts: Sequence[Part], generation: int | None, doing: str) -> list[Message]:
        """Sends all parts as one batch and returns all that the kernel has to say.

        The messages' sequence is the part's index, or -1 for the batch itself. The last part asks for an
        acknowledgement. `Busy` if what became of the batch cannot be told, as the answers got lost.
        """
        first = self._sequence + 2
        self._sequence += len(parts) + 2
        opening = GENERIC.pack(0, 0, subsystem)
        begin = opening if generation is None else opening + be32(BATCH_GENERATION, generation)
        last = len(parts) - 1
        pieces = [HEADER.pack(HEADER.size + len(begin), BATCH_BEGIN, REQUEST, first - 1 & 0xFFFFFFFF, 0), begin]
        for index, (kind, flags, payload) in enumerate(parts):
            flags |= REQUEST | ACK if index == last else REQUEST
            pieces.append(HEADER.pack(HEADER.size + len(payload), kind, flags, first + index & 0xFFFFFFFF, 0))
            pieces.append(payload)
        end = HEADER.size + len(opening)
        pieces += [HEADER.pack(end, BATCH_END, REQUEST, self._sequence & 0xFFFFFFFF, 0), opening]
        datagram = b"".join(pieces)
        self._make_room(len(datagram), doing)
        with mapped(doing):
            self._socket.send(datagram)
        answers = []
        for message in self._drain(doing):
            index = (message.sequence - first + 1 & 0xFFFFFFFF) - 1
            if index < len(parts):
                answers.append(message._replace(sequence=index))
        if not any(message.type == ERROR for message in answers):
            raise Busy(f"{doing}: the kernel's answer is lost", errno.ENOBUFS)
        return answers

    def _make_room(self, size: int, doing: str) -> None:
        if size > BATCH_BYTES:
            raise Refused(
                f"{doing}: {size} bytes are more than one transaction may have, {BATCH_BYTES}", errno.EMSGSIZE
            )
        # Never less than it has: a smaller buffer would be too small for what others send with this socket.
        if size > self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - _KEPT_BYTES:
            with mapped(f"{doing}: make room for {size} bytes"):
                self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, size)

    def _drain(self, doing: str) -> Iterator[Message]:
        """All that is queued. Where more was to come than the buffer holds, the first of it, in order."""
        while True:
            try:
                length = self._socket.recv_into(self._buffer, 0, socket.MSG_DONTWAIT | socket.MSG_TRUNC)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    with mapped(f"{doing}: read the answer"):
                        raise
                continue
            yield from parse_messages(bytes(self._buffer[:length]))
