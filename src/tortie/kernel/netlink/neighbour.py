"""Neighbour entries: permanent ones written in bulk, all read back.

(ifindex, address) is the kernel's key and holds one entry, whoever made it: an entry that traffic made
(stale, reachable, failed) stands in the way of `add` just as one that an administrator made. Which of them
may be replaced is the caller's decision, by `state` and `protocol` as read.

Setting a link down removes all its entries, permanent ones too, with an event for each. Ours may be added before the
link is up.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from ipaddress import ip_address
from typing import NamedTuple

from tortie.errors import Gone, KernelError
from tortie.kernel.netlink.message import (
    CREATE,
    EXCLUSIVE,
    REPLACE,
    Message,
    attribute,
    mac_bytes,
    mac_text,
    malformed,
    parse_attributes,
    u8,
    u32,
    unpack_fixed,
)
from tortie.kernel.netlink.socket import NetlinkSocket, one_by_one

# include/uapi/linux/rtnetlink.h, neighbour.h
NEW_NEIGHBOUR = 28
DELETE_NEIGHBOUR = 29
GET_NEIGHBOUR = 30

STATE_INCOMPLETE = 0x01
STATE_REACHABLE = 0x02
STATE_STALE = 0x04
STATE_DELAY = 0x08
STATE_PROBE = 0x10
STATE_FAILED = 0x20
STATE_NOARP = 0x40
STATE_PERMANENT = 0x80

_DESTINATION = 1
_MAC = 2
_IFINDEX = 8
_PROTOCOL = 12

# family, pad, pad, index, state, flags, type
_NEIGHBOUR_MESSAGE = struct.Struct("=BBHiHBB")
_FAMILY = {4: socket.AF_INET, 16: socket.AF_INET6}


class Neighbour(NamedTuple):
    ifindex: int
    address: bytes
    mac: str  # empty while unresolved
    state: int = STATE_PERMANENT
    protocol: int = 0

    @property
    def family(self) -> int:
        return _FAMILY[len(self.address)]

    def __str__(self) -> str:
        return f"{ip_address(self.address)} lladdr {self.mac} dev {self.ifindex} proto {self.protocol}"


def add(sock: NetlinkSocket, neighbours: Iterable[Neighbour]) -> dict[Neighbour, KernelError]:
    """Creates the entries, returns those that failed: `Exists` where the address has an entry of any kind."""
    return sock.batch(NEW_NEIGHBOUR, CREATE | EXCLUSIVE, neighbours, one_by_one(encode), "add neighbour")


def replace(sock: NetlinkSocket, neighbours: Iterable[Neighbour]) -> dict[Neighbour, KernelError]:
    """Creates the entries or overwrites what is there, and returns those that failed."""
    return sock.batch(NEW_NEIGHBOUR, CREATE | REPLACE, neighbours, one_by_one(encode), "replace neighbour")


def delete(sock: NetlinkSocket, neighbours: Iterable[Neighbour]) -> dict[Neighbour, KernelError]:
    """Removes the entries of these keys and returns those that failed; what is not there is no failure.

    The kernel matches neither MAC nor protocol.
    """
    failed = sock.batch(DELETE_NEIGHBOUR, 0, neighbours, one_by_one(_deletion), "delete neighbour")
    return {row: error for row, error in failed.items() if not isinstance(error, Gone)}


def dump(sock: NetlinkSocket, family: int = socket.AF_UNSPEC, ifindex: int = 0, protocol: int = 0) -> list[Neighbour]:
    """The entries of any state, without proxy entries; 0 means any. The kernel filters by interface only."""
    body = _NEIGHBOUR_MESSAGE.pack(family, 0, 0, 0, 0, 0, 0)
    if ifindex:
        body += u32(_IFINDEX, ifindex)
    try:
        entries = sock.dump(GET_NEIGHBOUR, body, parse, "list neighbours")
    except Gone:
        return []  # the link vanished, and its neighbours with it
    return [entry for entry in entries if protocol in (0, entry.protocol)]


def parse(message: Message) -> Neighbour | None:
    """The entry of an RTM_NEWNEIGH or RTM_DELNEIGH message; None if it is not an IP neighbour."""
    family, _, _, ifindex, state, _, _ = unpack_fixed(_NEIGHBOUR_MESSAGE, message.payload)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None  # AF_BRIDGE: the forwarding table of a bridge
    attributes = parse_attributes(message.payload, _NEIGHBOUR_MESSAGE.size)
    address = attributes.get(_DESTINATION, b"")
    if _FAMILY.get(len(address)) != family:
        raise malformed(f"a neighbour address of {len(address)} bytes")
    return Neighbour(ifindex, address, mac_text(attributes.get(_MAC, b"")), state, attributes.u8(_PROTOCOL))


def encode(neighbour: Neighbour) -> bytes:
    body = (
        _NEIGHBOUR_MESSAGE.pack(neighbour.family, 0, 0, neighbour.ifindex, neighbour.state, 0, 0)
        + attribute(_DESTINATION, neighbour.address)
        + attribute(_MAC, mac_bytes(neighbour.mac))
    )
    return body + u8(_PROTOCOL, neighbour.protocol) if neighbour.protocol else body


def _deletion(neighbour: Neighbour) -> bytes:
    return _NEIGHBOUR_MESSAGE.pack(neighbour.family, 0, 0, neighbour.ifindex, 0, 0, 0) + attribute(
        _DESTINATION, neighbour.address
    )
