"""Ethernet frames of ARP and neighbour discovery, built and read field by field."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

BROADCAST = "ff:ff:ff:ff:ff:ff"
ALL_NODES = ip_address("ff02::1")
ALL_NODES_MAC = "33:33:00:00:00:01"

ARP = 0x0806
IPV6 = 0x86DD
ARP_REQUEST = 1
ARP_REPLY = 2
SOLICITATION = 135
ADVERTISEMENT = 136
OPTION_SOURCE_MAC = 1
OPTION_TARGET_MAC = 2
OPTION_NONCE = 14
ROUTER, SOLICITED, OVERRIDE = 0x80000000, 0x40000000, 0x20000000

Ip = IPv4Address | IPv6Address


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def ethernet(destination: str, source: str, protocol: int, payload: bytes) -> bytes:
    return mac_bytes(destination) + mac_bytes(source) + struct.pack("!H", protocol) + payload


class ArpFrame(NamedTuple):
    destination: str
    source: str
    operation: int
    sender_mac: str
    sender: Ip
    target_mac: str
    target: Ip

    def packed(
        self, hardware: int = 1, protocol: int = 0x0800, hardware_bytes: int = 6, protocol_bytes: int = 4
    ) -> bytes:
        payload = (
            struct.pack("!HHBBH", hardware, protocol, hardware_bytes, protocol_bytes, self.operation)
            + mac_bytes(self.sender_mac)
            + self.sender.packed
            + mac_bytes(self.target_mac)
            + self.target.packed
        )
        return ethernet(self.destination, self.source, ARP, payload)

    @classmethod
    def parse(cls, frame: bytes) -> ArpFrame:
        assert struct.unpack_from("!HHHBB", frame, 12) == (ARP, 1, 0x0800, 6, 4)
        return cls(
            frame[:6].hex(":"),
            frame[6:12].hex(":"),
            int.from_bytes(frame[20:22], "big"),
            frame[22:28].hex(":"),
            ip_address(frame[28:32]),
            frame[32:38].hex(":"),
            ip_address(frame[38:42]),
        )


class NdFrame(NamedTuple):
    """A solicitation or advertisement; `options` as packed bytes."""

    destination: str
    source: str
    ip_source: Ip
    ip_destination: Ip
    type: int
    flags: int
    target: Ip
    options: bytes = b""
    hop_limit: int = 255
    code: int = 0

    def packed(self) -> bytes:
        message = struct.pack("!BBHI", self.type, self.code, 0, self.flags) + self.target.packed + self.options
        checksum = self.checksum(message)
        message = message[:2] + struct.pack("!H", checksum) + message[4:]
        header = struct.pack("!IHBB", 6 << 28, len(message), socket.IPPROTO_ICMPV6, self.hop_limit)
        ip = header + self.ip_source.packed + self.ip_destination.packed
        return ethernet(self.destination, self.source, IPV6, ip + message)

    def checksum(self, message: bytes) -> int:
        """RFC 1071 over the pseudo-header of RFC 8200 8.1 and the message."""
        pseudo = struct.pack("!II", len(message), socket.IPPROTO_ICMPV6)
        data = self.ip_source.packed + self.ip_destination.packed + pseudo + message
        total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return ~total & 0xFFFF

    @classmethod
    def parse(cls, frame: bytes) -> NdFrame:
        """Reads a frame of exactly one such message and asserts that its lengths and checksum are right."""
        version, length, protocol, hop_limit = struct.unpack_from("!IHBB", frame, 14)
        assert frame[12:14] == struct.pack("!H", IPV6)
        assert (version >> 28, protocol, length) == (6, socket.IPPROTO_ICMPV6, len(frame) - 54)
        kind, code, checksum, flags = struct.unpack_from("!BBHI", frame, 54)
        found = cls(
            frame[:6].hex(":"),
            frame[6:12].hex(":"),
            ip_address(frame[22:38]),
            ip_address(frame[38:54]),
            kind,
            flags,
            ip_address(frame[62:78]),
            frame[78:],
            hop_limit,
            code,
        )
        assert checksum == found.checksum(frame[54:56] + bytes(2) + frame[58:]), "wrong checksum"
        return found


def option(kind: int, value: bytes) -> bytes:
    """An option of neighbour discovery; its length counts units of 8 bytes."""
    assert (len(value) + 2) % 8 == 0
    return bytes((kind, (len(value) + 2) // 8)) + value


def solicited_node(target: Ip) -> tuple[str, Ip]:
    """MAC and address of the group that a target listens to (RFC 4291 2.7.1)."""
    low = target.packed[13:]
    return f"33:33:ff:{low.hex(':')}", ip_address(ip_address("ff02::1:ff00:0").packed[:13] + low)


def arp_request(asker_mac: str, asker: Ip, target: Ip, to: str = BROADCAST) -> ArpFrame:
    return ArpFrame(to, asker_mac, ARP_REQUEST, asker_mac, asker, "00:00:00:00:00:00", target)


def arp_reply(host_mac: str, target: Ip, asker_mac: str, asker: Ip) -> ArpFrame:
    return ArpFrame(asker_mac, host_mac, ARP_REPLY, host_mac, target, asker_mac, asker)


def solicitation(asker_mac: str, asker: Ip, target: Ip) -> NdFrame:
    """As the guest's kernel asks: to the group, with its MAC."""
    mac, group = solicited_node(target)
    options = option(OPTION_SOURCE_MAC, mac_bytes(asker_mac))
    return NdFrame(mac, asker_mac, asker, group, SOLICITATION, 0, target, options)


def probe6(asker_mac: str, target: Ip) -> NdFrame:
    """Duplicate address detection, with the nonce that Linux adds (RFC 7527)."""
    mac, group = solicited_node(target)
    options = option(OPTION_NONCE, b"nonce!")
    return NdFrame(mac, asker_mac, ip_address("::"), group, SOLICITATION, 0, target, options)


def advertisement(host_mac: str, target: Ip, asker_mac: str, asker: Ip) -> NdFrame:
    """The answer to a solicitation from an address."""
    return NdFrame(
        asker_mac,
        host_mac,
        target,
        asker,
        ADVERTISEMENT,
        ROUTER | SOLICITED | OVERRIDE,
        target,
        option(OPTION_TARGET_MAC, mac_bytes(host_mac)),
    )


def defence(host_mac: str, target: Ip) -> NdFrame:
    """The answer to a probe for an address that the host holds."""
    answer = advertisement(host_mac, target, ALL_NODES_MAC, ALL_NODES)
    return answer._replace(flags=ROUTER | OVERRIDE)
