"""The numbers by which one network namespace knows others: `Link.peer_netns_id` is one."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress

from tortie.errors import KernelError
from tortie.kernel import netns
from tortie.kernel.failure import mapped
from tortie.kernel.netlink.message import parse_attributes, u32
from tortie.kernel.netlink.socket import NetlinkSocket

# include/uapi/linux/rtnetlink.h, net_namespace.h
_GET_NAMESPACE_ID = 90
_NUMBER = 1
_DESCRIPTOR = 3
_NONE = -1

_MESSAGE = struct.Struct("=B3x")  # family


def number(sock: NetlinkSocket, descriptor: int) -> int | None:
    """What the socket's namespace calls the one of the descriptor; None: it has no link there."""
    body = _MESSAGE.pack(0) + u32(_DESCRIPTOR, descriptor)
    for message in sock.request(_GET_NAMESPACE_ID, 0, body, "look up the number of a network namespace"):
        found = parse_attributes(message.payload, _MESSAGE.size).i32(_NUMBER)
        return None if found == _NONE else found
    return None


def numbered(sock: NetlinkSocket) -> Iterator[tuple[int, str]]:
    """The number and a path of each namespace that the socket's has a link to, as far as this user may enter it.

    Blocking: it looks at all of the host's processes.
    """
    for path in netns.known():
        with suppress(KernelError):  # it ended meanwhile
            with mapped(f"open network namespace {path}"):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                found = number(sock, descriptor)
            finally:
                os.close(descriptor)
            if found is not None:
                yield found, path
