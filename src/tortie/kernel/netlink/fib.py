"""What the kernel would do with a packet, asked of the kernel itself.

The answer goes through rules and all tables, so it also tells when somebody else's route or rule stands
before ours. Linux >= 4.13 (IPv6: 4.16) names the matched route; before, the flag is ignored.
"""

from __future__ import annotations

import socket
import struct

from tortie.errors import Gone, Refused
from tortie.kernel.netlink.message import attribute, u32
from tortie.kernel.netlink.route import GET_ROUTE, NEW_ROUTE, Route, parse
from tortie.kernel.netlink.socket import NetlinkSocket

_ROUTE_MESSAGE = struct.Struct("=BBBBBBBBI")
_DESTINATION = 1
_MARK = 16
_FIB_MATCH = 0x2000  # RTM_F_FIB_MATCH: the row of the table, not the cached path made from it
_LOOKUP_TABLE = 0x1000  # RTM_F_LOOKUP_TABLE: IPv4 says "main" without it; IPv6 does not know the flag


def lookup(sock: NetlinkSocket, address: bytes, mark: int = 0) -> Route | None:
    """The route that a packet of this host to `address` would take, with that mark; None when there is none. O(1)."""
    if len(address) == 4:
        family, flags = socket.AF_INET, _FIB_MATCH | _LOOKUP_TABLE
    else:
        family, flags = socket.AF_INET6, _FIB_MATCH
    body = _ROUTE_MESSAGE.pack(family, 8 * len(address), 0, 0, 0, 0, 0, 0, flags)
    body += attribute(_DESTINATION, address)
    if mark:
        body += u32(_MARK, mark)
    try:
        answers = sock.request(GET_ROUTE, 0, body, "look up a route")
    except (Gone, Refused):
        return None  # no route, or one that says unreachable or prohibited
    return next((parse(message) for message in answers if message.type == NEW_ROUTE), None)
