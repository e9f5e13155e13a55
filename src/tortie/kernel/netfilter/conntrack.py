"""Tracked connections: list, count, delete.

Only the entries of the socket's network namespace are seen and touched. The kernel's delete without a tuple is a flush
of everything; nothing here sends that.

Deleting an entry does not cut a flow by itself: the peer's next segment opens a new one if the rules let it (measured
with TCP, 12 of 12 bytes arrived).
"""

from __future__ import annotations

import enum
import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import NamedTuple

from tortie.errors import Gone, KernelError
from tortie.kernel.netfilter.message import CONNTRACK, GENERIC, be16, be32, message_type, nest, number
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netlink.message import (
    ATTRIBUTE,
    Message,
    attribute,
    malformed,
    parse_attributes,
    u8,
    u32,
    unpack_fixed,
)
from tortie.kernel.netlink.socket import one_by_one

# enum cntl_msg_types
_GET = message_type(CONNTRACK, 1)
_DELETE = message_type(CONNTRACK, 2)
_STATISTICS = message_type(CONNTRACK, 5)

# enum ctattr_type
_ORIGINAL = 1
_REPLY = 2
_STATUS = 3
_TIMEOUT = 7
_MARK = 8
_ID = 12
_MASTER = 14
_ZONE = 18
_MARK_MASK = 21
_FILTER = 25
_STATUS_MASK = 26
_ENTRIES = 1

# enum ctattr_filter, and the bits of its value
_ORIGINAL_BITS = 1
_SOURCE_BIT, _DESTINATION_BIT = 1, 2

# enum ctattr_tuple, ctattr_ip, ctattr_l4proto
_ADDRESSES = 1
_TRANSPORT = 2
_SOURCE = {4: 1, 16: 3}
_DESTINATION = {4: 2, 16: 4}
_PROTOCOL = 1
_SOURCE_PORT = 2
_DESTINATION_PORT = 3
_ICMP_ID = {socket.IPPROTO_ICMP: 4, socket.IPPROTO_ICMPV6: 7}  # type and code follow

_FAMILY = {4: socket.AF_INET, 16: socket.AF_INET6}

_NESTED = 0x8000  # NLA_F_NESTED


class Status(enum.IntFlag):
    """IPS_*"""

    EXPECTED = 1
    SEEN_REPLY = 2
    ASSURED = 4
    CONFIRMED = 8
    SOURCE_NAT = 16
    DESTINATION_NAT = 32
    DYING = 512


class Tuple(NamedTuple):
    """One direction of a connection. Ports of protocols without are 0; GRE's are its keys."""

    source: bytes
    destination: bytes
    protocol: int
    source_port: int = 0
    destination_port: int = 0
    icmp_id: int = 0
    icmp_type: int = 0
    icmp_code: int = 0

    def __str__(self) -> str:
        source, destination = ip_address(self.source), ip_address(self.destination)
        return f"{source} {self.source_port} -> {destination} {self.destination_port} proto {self.protocol}"


class Connection(NamedTuple):
    """An entry. `id` tells it from a later one of the same tuple.

    `master` began the connection that this one belongs to (Status.EXPECTED), as the data of FTP do.
    """

    original: Tuple
    reply: Tuple
    status: int = 0  # Status, as a plain number: there are many
    mark: int = 0
    timeout_s: int = 0
    id: int = 0
    zone: int = 0
    master: Tuple | None = None

    def __str__(self) -> str:
        return str(self.original)


class Filter(NamedTuple):
    """Which connections: of the bits in a mask, those that are set in the value. None is no condition.

    `ends` are the addresses that the first packet came from and went to.
    """

    family: int = socket.AF_UNSPEC
    mark: int = 0
    mark_mask: int = 0
    status: int = 0
    status_mask: int = 0
    zone: int | None = None
    ends: tuple[bytes, bytes] | None = None

    def matches(self, connection: Connection) -> bool:
        return (
            connection.mark & self.mark_mask == self.mark
            and connection.status & self.status_mask == self.status
            and self.zone in (None, connection.zone)
            and self.ends in (None, connection.original[:2])
        )


ALL = Filter()


def walk(sock: NetfilterSocket, wanted: Filter = ALL) -> Iterator[list[Connection]]:
    """The connections in pieces of a hundred or so, so that a caller may do other things in between.

    The table moves meanwhile: a connection may come twice, and one that began meanwhile not at all. Come to the
    end before the next walk with this socket.
    """
    family = wanted.family if wanted.ends is None else _FAMILY[len(wanted.ends[0])]
    body = GENERIC.pack(family, 0, 0)
    if wanted.mark_mask:
        body += be32(_MARK, wanted.mark) + be32(_MARK_MASK, wanted.mark_mask)
    if wanted.status_mask:
        body += be32(_STATUS, wanted.status) + be32(_STATUS_MASK, wanted.status_mask)
    if wanted.zone is not None:
        body += be16(_ZONE, wanted.zone)
    if wanted.ends is not None and family == socket.AF_INET:
        # Of IPv6 the kernel picks out those with other addresses (Linux 6.18, ctnetlink_filter_match_tuple).
        source, destination = wanted.ends
        addresses = attribute(_SOURCE[4], source) + attribute(_DESTINATION[4], destination)
        body += nest(_ORIGINAL, nest(_ADDRESSES, addresses))
        body += attribute(_FILTER | _NESTED, u32(_ORIGINAL_BITS, _SOURCE_BIT | _DESTINATION_BIT))
    for piece in sock.walk(_GET, body, parse, "list connections"):
        # Older kernels do not look at the addresses (before 5.8), the status (before 5.15) nor the zone (before 6.8).
        yield piece if wanted == ALL else [connection for connection in piece if wanted.matches(connection)]


def delete(sock: NetfilterSocket, connections: Iterable[Connection]) -> dict[Connection, KernelError]:
    """Deletes these entries and returns those that the kernel would not; one that is gone already is no error."""
    failed = sock.batch(_DELETE, 0, connections, one_by_one(_encode_key), "delete connection")
    return {connection: error for connection, error in failed.items() if not isinstance(error, Gone)}


def count(sock: NetfilterSocket) -> int:
    """How many entries there are."""
    answers = sock.request(_STATISTICS, 0, GENERIC.pack(0, 0, 0), "count connections")
    return number(parse_attributes(answers[0].payload, GENERIC.size), _ENTRIES)


def parse(message: Message) -> Connection:
    unpack_fixed(GENERIC, message.payload)
    attributes = parse_attributes(message.payload, GENERIC.size)
    return Connection(
        parse_tuple(attributes.get(_ORIGINAL, b"")),
        parse_tuple(attributes.get(_REPLY, b"")),
        number(attributes, _STATUS),
        number(attributes, _MARK),
        number(attributes, _TIMEOUT),
        number(attributes, _ID),
        number(attributes, _ZONE),
        parse_tuple(attributes[_MASTER]) if _MASTER in attributes else None,
    )


def parse_tuple(data: bytes) -> Tuple:
    usual = _USUAL.get(len(data))
    if usual is not None:
        # A fraction of the time that looking closely takes, and nearly all are so.
        form, headers = usual
        first, source, second, destination, third, protocol, fourth, port, fifth, other_port = form.unpack(data)
        if (first, second, third, fourth, fifth) == headers:
            return Tuple(source, destination, protocol, port, other_port)
    attributes = parse_attributes(data)
    addresses, transport = attributes.nested(_ADDRESSES), attributes.nested(_TRANSPORT)
    protocol = transport.u8(_PROTOCOL)
    source = addresses.get(_SOURCE[4]) or addresses.get(_SOURCE[16], b"")
    destination = addresses.get(_DESTINATION[4]) or addresses.get(_DESTINATION[16], b"")
    if len(source) not in _FAMILY or len(source) != len(destination):
        raise malformed(f"a connection between addresses of {len(source)} and {len(destination)} bytes")
    icmp = _ICMP_ID.get(protocol)
    if icmp is None:
        ports = number(transport, _SOURCE_PORT), number(transport, _DESTINATION_PORT)
        return Tuple(source, destination, protocol, *ports)
    kind, code = transport.u8(icmp + 1), transport.u8(icmp + 2)
    return Tuple(source, destination, protocol, 0, 0, number(transport, icmp), kind, code)


def _usual(size: int) -> tuple[struct.Struct, tuple[bytes, ...]]:
    """A tuple with ports and addresses of that size, as kernels from 5.3 on write it: its form, and its headers."""
    address, header = size + 4, ATTRIBUTE.pack
    return struct.Struct(f">8s{size}s4s{size}s8sB3x4sH2x4sH2x"), (
        header(2 * address + 4, _ADDRESSES | _NESTED) + header(address, _SOURCE[size]),
        header(address, _DESTINATION[size]),
        header(28, _TRANSPORT | _NESTED) + header(5, _PROTOCOL),
        header(6, _SOURCE_PORT),
        header(6, _DESTINATION_PORT),
    )


_USUAL = {form.size: (form, headers) for form, headers in (_usual(4), _usual(16))}


def encode_tuple(kind: int, wanted: Tuple) -> bytes:
    size = len(wanted.source)
    icmp = _ICMP_ID.get(wanted.protocol)
    if icmp:
        transport = be16(icmp, wanted.icmp_id) + u8(icmp + 1, wanted.icmp_type) + u8(icmp + 2, wanted.icmp_code)
    else:
        transport = be16(_SOURCE_PORT, wanted.source_port) + be16(_DESTINATION_PORT, wanted.destination_port)
    return nest(
        kind,
        nest(_ADDRESSES, attribute(_SOURCE[size], wanted.source), attribute(_DESTINATION[size], wanted.destination)),
        nest(_TRANSPORT, u8(_PROTOCOL, wanted.protocol), transport),
    )


def _encode_key(connection: Connection) -> bytes:
    family = _FAMILY[len(connection.original.source)]
    body = GENERIC.pack(family, 0, 0) + encode_tuple(_ORIGINAL, connection.original)
    body += be32(_ID, connection.id) if connection.id else b""
    return body + be16(_ZONE, connection.zone) if connection.zone else body
