"""Packets that no well-behaved workload sends, field by field: fragments, extension headers, things inside things."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from ipaddress import ip_address
from itertools import pairwise

from tests.netns.kernel.frames import ethernet

HOST_END = "ee:ee:ee:ee:ee:ee"
GRE, IPIP, IPV6_INSIDE = 47, 4, 41
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60

_PROTOCOL = {4: 0x0800, 6: 0x86DD}


def frame(packet: bytes, source: str, to: str = HOST_END) -> bytes:
    """The packet on the attacker's wire."""
    return ethernet(to, source, _PROTOCOL[packet[0] >> 4], packet)


def tagged(packet: bytes, source: str, *vlans: int) -> bytes:
    """The same behind tags of VLANs (IEEE 802.1Q)."""
    tags = b"".join(struct.pack("!HH", vlan, 0x8100) for vlan in vlans[:-1]) + struct.pack("!H", vlans[-1])
    return ethernet(HOST_END, source, 0x8100, tags + struct.pack("!H", _PROTOCOL[packet[0] >> 4]) + packet)


def ip(source: str, destination: str, protocol: int, payload: bytes, **fields: int | bytes) -> bytes:
    """A packet of the family of its addresses; `fragment` is the field of that name (IPv4)."""
    ends = ip_address(source).packed + ip_address(destination).packed
    if ":" in source:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, int(fields.get("hops", 64))) + ends + payload
    options = bytes(fields.get("options", b""))
    words, length = 5 + len(options) // 4, 20 + len(options) + len(payload)
    identity, fragment = int(fields.get("identity", 0)), int(fields.get("fragment", 0))
    head = struct.pack("!BBHHHBBH", 0x40 | words, 0, length, identity, fragment, 64, protocol, 0) + ends + options
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + payload


def udp(source: str, destination: str, ports: tuple[int, int], carried: bytes) -> bytes:
    """A datagram with its checksum, without an IP header."""
    datagram = struct.pack("!HHHH", *ports, 8 + len(carried), 0) + carried
    return _summed(source, destination, socket.IPPROTO_UDP, datagram, 6)


def syn(source: str, destination: str, ports: tuple[int, int], carried: bytes) -> bytes:
    """The first segment of a connection, with data in it."""
    segment = struct.pack("!HHIIBBHHH", *ports, 1, 0, 5 << 4, 2, 8192, 0, 0) + carried
    return _summed(source, destination, socket.IPPROTO_TCP, segment, 16)


def icmp(source: str, destination: str, kind: int, carried: bytes) -> bytes:
    """A message of ICMP or ICMPv6, as the addresses say; the field behind the checksum is 0."""
    message = struct.pack("!BBHI", kind, 0, 0, 0) + carried
    if ":" in source:
        return _summed(source, destination, socket.IPPROTO_ICMPV6, message, 2)
    return message[:2] + struct.pack("!H", _checksum(message)) + message[4:]


def datagram(source: str, destination: str, ports: tuple[int, int], carried: bytes) -> bytes:
    """A whole packet of UDP."""
    return ip(source, destination, socket.IPPROTO_UDP, udp(source, destination, ports, carried))


def fragments(source: str, destination: str, protocol: int, payload: bytes, cuts: Sequence[int]) -> list[bytes]:
    """The payload in pieces that begin at 0 and at each cut, which are multiples of 8."""
    found = []
    bounds = [0, *cuts, len(payload)]
    for begin, end in pairwise(bounds):
        found.append(piece(source, destination, protocol, payload[begin:end], begin, more=end != len(payload)))
    return found


def piece(
    source: str, destination: str, protocol: int, part: bytes, at: int, *, more: bool, identity: int = 7
) -> bytes:
    """One fragment."""
    if ":" in source:
        header = struct.pack("!BBHI", protocol, 0, at | more, identity)
        return ip(source, destination, FRAGMENT, header + part)
    return ip(source, destination, protocol, part, fragment=at >> 3 | more << 13, identity=identity)


def behind(
    headers: Sequence[int], source: str, destination: str, protocol: int, payload: bytes, hops: int = 64
) -> bytes:
    """The payload behind extension headers (RFC 8200), each of them empty."""
    chain = [*headers, protocol]
    parts = b""
    for kind, following in pairwise(chain):
        # Eight bytes each: padding; a routing header with no segments left; a fragment that is the whole.
        body = {
            ROUTING: struct.pack("!BBBBI", following, 0, 253, 0, 0),
            FRAGMENT: struct.pack("!BBHI", following, 0, 0, 9),
        }
        parts += body.get(kind, struct.pack("!BBBB4s", following, 0, 1, 4, b""))
    return ip(source, destination, chain[0], parts + payload, hops=hops)


def _summed(source: str, destination: str, protocol: int, message: bytes, at: int) -> bytes:
    ends = ip_address(source).packed + ip_address(destination).packed
    value = _checksum(ends + struct.pack("!II", len(message), protocol) + message) or 0xFFFF
    return message[:at] + struct.pack("!H", value) + message[at + 2 :]


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
