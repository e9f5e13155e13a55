"""The bytes of a packet, from its network header on, as the packet that a verdict is asked about.

Bytes may be missing at the end, since only the first are copied, and lie, since anybody may have sent them: what cannot
be read is None, and nothing is read beyond what is there.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from tortie.intent.packet import ICMP, ICMPV6, TCP, WITH_PORTS, Packet
from tortie.intent.policy import Address

# Of IPv6 (RFC 8200, 4302, 7401, 5533): those whose second byte is their length in units of eight bytes, less one.
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _OPTIONS = 0, 43, 44, 51, 60
_IN_EIGHTS = frozenset({_HOP_BY_HOP, _ROUTING, _OPTIONS, 135, 139, 140})
_FRAGMENT_BYTES = 8
# A longer chain of headers is no packet that anybody means.
_MOST_HEADERS = 16


class _Network(NamedTuple):
    """What the network header says."""

    source: Address
    destination: Address
    protocol: int
    transport: bytes  # empty of a fragment that is not the first


def parse(data: bytes, interface: str = "", source_mac: str = "") -> Packet | None:
    """None for what has no whole IP header."""
    network = _ipv4(data) if data[:1] and data[0] >> 4 == 4 else _ipv6(data)
    if network is None:
        return None
    source, destination, protocol, transport = network
    has_ports = protocol in WITH_PORTS and len(transport) >= 4
    is_icmp = protocol == (ICMP if source.version == 4 else ICMPV6) and len(transport) >= 2
    return Packet(
        source=source,
        destination=destination,
        protocol=protocol,
        source_port=int.from_bytes(transport[:2], "big") if has_ports else None,
        destination_port=int.from_bytes(transport[2:4], "big") if has_ports else None,
        icmp_type=transport[0] if is_icmp else None,
        icmp_code=transport[1] if is_icmp else None,
        tcp_flags=transport[13] if protocol == TCP and len(transport) > 13 else None,
        interface=interface,
        source_mac=source_mac,
    )


def _ipv4(data: bytes) -> _Network | None:
    if len(data) < 20:
        return None
    length = (data[0] & 0x0F) * 4
    is_first = not int.from_bytes(data[6:8], "big") & 0x1FFF
    transport = data[length:] if is_first and length >= 20 else b""
    return _Network(IPv4Address(data[12:16]), IPv4Address(data[16:20]), data[9], transport)


def _ipv6(data: bytes) -> _Network | None:
    if len(data) < 40 or data[0] >> 4 != 6:
        return None
    protocol, offset = data[6], 40
    is_first = True
    for _ in range(_MOST_HEADERS):
        if protocol not in _IN_EIGHTS and protocol not in (_FRAGMENT, _AUTHENTICATION):
            break
        if offset + 4 > len(data) or not is_first:
            break
        following, length = data[offset], data[offset + 1]
        if protocol == _FRAGMENT:
            is_first = not int.from_bytes(data[offset + 2 : offset + 4], "big") & 0xFFF8
            offset += _FRAGMENT_BYTES
        else:
            offset += (length + 2) * 4 if protocol == _AUTHENTICATION else (length + 1) * 8
        protocol = following
    transport = data[offset:] if is_first else b""
    return _Network(IPv6Address(data[8:24]), IPv6Address(data[24:40]), protocol, transport)
