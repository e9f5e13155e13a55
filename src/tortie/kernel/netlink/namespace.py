"""The numbers by which one network namespace knows others: `Link.peer_netns_id` is one."""

from __future__ import annotations

import struct

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
