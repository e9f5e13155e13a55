"""Packets as bytes: what a verdict is asked about, as a frame on a wire, and back."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from tortie.intent.packet import ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE, Packet
from tortie.intent.policy import Address

GRE = 47
MARK = struct.Struct("!8sI")
MAGIC = b"tortie!!"


_ERRORS_V4 = (3, 5, 11, 12)


class Frame(NamedTuple):
    """A marked packet that came out of the host."""

    source: Address
    destination: Address
    mark: int


def build(packet: Packet, to_mac: str, mark: int) -> bytes:
    """The packet in an Ethernet frame, with the mark as what it carries."""
    payload = _transport(packet, MARK.pack(MAGIC, mark))
    head, protocol = (_ipv4, 0x0800) if packet.family == 4 else (_ipv6, 0x86DD)
    ethernet = _mac(to_mac) + _mac(packet.source_mac or "02:00:00:00:00:77") + struct.pack("!H", protocol)
    return ethernet + head(packet, payload) + payload


def parse(raw: bytes) -> Frame | None:
    """None for a frame that is not ours: the host speaks by itself too."""
    at = raw.find(MAGIC)
    (protocol,) = struct.unpack_from("!H", raw, 12)
    if at < 0 or protocol not in (0x0800, 0x86DD):
        return None
    offset, size, body, number = (26, 4, 34, raw[23]) if protocol == 0x0800 else (22, 16, 54, raw[20])
    if (number == ICMP and raw[body] in _ERRORS_V4) or (number == ICMPV6 and raw[body] < 128):
        return None  # a router's complaint, which quotes the packet
    source, destination = (ip_address(raw[start : start + size]) for start in (offset, offset + size))
    return Frame(source, destination, MARK.unpack_from(raw, at)[1])


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _ipv4(packet: Packet, payload: bytes) -> bytes:
    length = 20 + len(payload)
    assert isinstance(packet.source, IPv4Address)
    ends = packet.source.packed + packet.destination.packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0, 64, packet.protocol, 0) + ends
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:]


def _ipv6(packet: Packet, payload: bytes) -> bytes:
    assert isinstance(packet.source, IPv6Address)
    head = struct.pack("!IHBB", 6 << 28, len(payload), packet.protocol, 64)
    return head + packet.source.packed + packet.destination.packed


def _transport(packet: Packet, carried: bytes) -> bytes:
    ports = struct.pack("!HH", packet.source_port or 0, packet.destination_port or 0)
    match packet.protocol:
        case p if p == TCP:
            segment = ports + struct.pack("!IIBBHHH", 1, 0, 5 << 4, packet.tcp_flags or 0, 8192, 0, 0) + carried
            return _summed(packet, segment, 16)
        case p if p in (UDP, UDPLITE):
            datagram = ports + struct.pack("!HH", 8 + len(carried), 0) + carried
            return _summed(packet, datagram, 6)
        case p if p == SCTP:
            # An INIT chunk, alone, under tag 0 (RFC 9260); what it carries is a parameter that nobody knows.
            parameter = struct.pack("!HH", 0x8888, 4 + len(carried)) + carried
            chunk = struct.pack("!BBHIIHHI", 1, 0, 20 + len(parameter), 1, 65535, 1, 1, 1) + parameter
            body = ports + struct.pack("!II", 0, 0) + chunk
            return body[:8] + struct.pack("<I", _crc32c(body)) + body[12:]
        case p if p in (ICMP, ICMPV6):
            head = struct.pack("!BBHHH", packet.icmp_type or 0, packet.icmp_code or 0, 0, 7, 7)
            return _summed(packet, head + carried, 2)
        case p if p == GRE:
            # Version 0 (RFC 2784): one that nobody knows the kernel drops instead of translating it.
            return struct.pack("!HH", 0, 0x0800) + carried
    return carried


def _summed(packet: Packet, segment: bytes, at: int) -> bytes:
    pseudo = b""
    if packet.protocol != ICMP:
        ends = packet.source.packed + packet.destination.packed
        pseudo = ends + struct.pack("!II", len(segment), packet.protocol)
    value = _checksum(pseudo + segment) or 0xFFFF
    return segment[:at] + struct.pack("!H", value) + segment[at + 2 :]


def _checksum(data: bytes) -> int:
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 * (value & 1)
    return value ^ 0xFFFFFFFF
