"""Addresses of links: add, delete, dump.

The kernel marks an address with its maker, IFA_PROTO, from 5.18 on; before it takes the mark and forgets it.
`stores_protocol` tells which kernel this is.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address
from typing import NamedTuple

from tortie.errors import Gone
from tortie.kernel.netlink.message import (
    CREATE,
    EXCLUSIVE,
    Message,
    attribute,
    malformed,
    parse_attributes,
    u8,
    u32,
    unpack_fixed,
)
from tortie.kernel.netlink.socket import NetlinkSocket
from tortie.kernel.netns import run_in_new

# include/uapi/linux/rtnetlink.h, if_addr.h
NEW_ADDRESS = 20
DELETE_ADDRESS = 21
GET_ADDRESS = 22

FLAG_NODAD = 0x02
FLAG_DAD_FAILED = 0x08
FLAG_TENTATIVE = 0x40
FLAG_PERMANENT = 0x80
FLAG_NOPREFIXROUTE = 0x200

_ADDRESS = 1
_LOCAL = 2
_FLAGS = 8
_PROTOCOL = 11

# family, prefix length, flags (8 bits, obsolete), scope, index
_ADDRESS_MESSAGE = struct.Struct("=BBBBI")
_FAMILY = {4: socket.AF_INET, 16: socket.AF_INET6}

_LOOPBACK_INDEX = 1


class Address(NamedTuple):
    """An address of a link. (ifindex, address, prefix_length) is the key.

    In IPv6 the kernel sets the scope by the address itself. FLAG_PERMANENT is set by the kernel on what is read.
    """

    ifindex: int
    address: bytes
    prefix_length: int
    scope: int = 0
    flags: int = 0
    protocol: int = 0

    @property
    def family(self) -> int:
        return _FAMILY[len(self.address)]

    def __str__(self) -> str:
        return f"{ip_address(self.address)}/{self.prefix_length} dev {self.ifindex}"


def add(sock: NetlinkSocket, address: Address) -> None:
    """Puts the address on its link; `Exists` if it is there, whoever put it."""
    sock.request(NEW_ADDRESS, CREATE | EXCLUSIVE, encode(address), f"add address {address}")


def delete(sock: NetlinkSocket, address: Address) -> None:
    """Takes the address off its link, whatever its protocol; one that is not there is no error."""
    try:
        sock.request(DELETE_ADDRESS, 0, encode(address), f"delete address {address}")
    except Gone:
        return


def dump(sock: NetlinkSocket, family: int = socket.AF_UNSPEC, ifindex: int = 0) -> list[Address]:
    """The addresses of both families or one, of all links or one."""
    body = _ADDRESS_MESSAGE.pack(family, 0, 0, 0, ifindex)
    try:
        return sock.dump(GET_ADDRESS, body, parse, "list addresses")
    except Gone:
        return []  # the link vanished, and its addresses with it


def stores_protocol() -> bool:
    """Whether this kernel keeps `protocol`, found by trying it in a network namespace made for that."""

    def probe() -> bool:
        mark = 116
        with NetlinkSocket() as sock:
            add(sock, Address(_LOOPBACK_INDEX, bytes((127, 0, 0, 1)), 8, protocol=mark))
            return any(address.protocol == mark for address in dump(sock))

    return run_in_new(probe)


def parse(message: Message) -> Address | None:
    """The address of an RTM_NEWADDR or RTM_DELADDR message; None if it is not an IP address."""
    family, prefix_length, flags, scope, ifindex = unpack_fixed(_ADDRESS_MESSAGE, message.payload)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    attributes = parse_attributes(message.payload, _ADDRESS_MESSAGE.size)
    # With a peer, ADDRESS is the peer and LOCAL the link's own; IPv6 without a peer sends ADDRESS alone.
    address = attributes.get(_LOCAL) or attributes.get(_ADDRESS, b"")
    if _FAMILY.get(len(address)) != family or prefix_length > 8 * len(address):
        raise malformed(f"an address of {len(address)} bytes")
    return Address(ifindex, address, prefix_length, scope, attributes.u32(_FLAGS, flags), attributes.u8(_PROTOCOL))


def encode(address: Address) -> bytes:
    body = (
        _ADDRESS_MESSAGE.pack(address.family, address.prefix_length, 0, address.scope, address.ifindex)
        + attribute(_LOCAL, address.address)
        + attribute(_ADDRESS, address.address)
        + u32(_FLAGS, address.flags)
    )
    return body + u8(_PROTOCOL, address.protocol) if address.protocol else body
