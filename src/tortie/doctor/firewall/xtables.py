"""Matches of xtables as the kernel keeps them for iptables-nft: structs of include/uapi/linux/netfilter/xt_*.h."""

from __future__ import annotations

import struct
import sys

from tortie.doctor.firewall.packet import Packet

# Targets that end a packet, also with a word to its sender.
DROPPING = ("DROP", "REJECT")

# Bits of states in xt_conntrack.h: 1 << (IP_CT_NEW + 1), of those of a new connection.
STATE_NEW = 1 << 3

_CONNTRACK_FLAGS = struct.Struct("=HHH")  # match_flags, invert_flags, state_mask of xt_conntrack_mtinfo2 and 3
_CONNTRACK_OFFSET = 146  # behind 8 addresses, 2 times and 5 numbers
_BY_STATE = 1
_STATE_ALIAS = 1 << 13  # it was written as `-m state`
_PORTS = struct.Struct("=HHHH")  # first and last source, first and last destination
_ALL_PORTS = 0xFFFF
_MULTIPORT = struct.Struct("=BB15H15BB")  # which of the packet's ports, how many, ports, marks of ranges, inverted
_DESTINATION = 1
_PROTOCOLS = {"tcp": 6, "udp": 17}


def matches(name: str, revision: int, info: bytes, packet: Packet) -> bool | None:
    """Whether a match of this name and content holds of the packet; None: it may or may not."""
    match name:
        case "comment":
            return True
        case "conntrack" if revision >= 2 and len(info) >= _CONNTRACK_OFFSET + _CONNTRACK_FLAGS.size:
            wanted, inverted, states = _CONNTRACK_FLAGS.unpack_from(info, _CONNTRACK_OFFSET)
            return (
                bool(states & STATE_NEW) != bool(inverted & _BY_STATE) if wanted & ~_STATE_ALIAS == _BY_STATE else None
            )
        case "mark" if revision == 1 and len(info) >= 9:
            mark = int.from_bytes(info[:4], sys.byteorder)
            return (mark == 0) != bool(info[8])  # a packet of ours has none
        case "tcp" | "udp":
            return _ports(name, info, packet)
        case "multiport" if revision == 1 and len(info) >= _MULTIPORT.size:
            return _several_ports(info, packet)
        case _:
            return None


def _ports(name: str, info: bytes, packet: Packet) -> bool | None:
    if packet.protocol != _PROTOCOLS[name]:
        return False
    first_source, last_source, first, last = _PORTS.unpack_from(info)
    # Behind the ports: option, flags of TCP and what of it all is inverted.
    asks_more = (first_source, last_source) != (0, _ALL_PORTS) or any(info[_PORTS.size : _PORTS.size + 4])
    return None if asks_more or packet.port is None else first <= packet.port <= last


def _several_ports(info: bytes, packet: Packet) -> bool | None:
    """Of a range the first port is marked, and the last follows."""
    which, count, *rest = _MULTIPORT.unpack_from(info)
    ports, is_range, inverted = rest[:15], rest[15:30], rest[30]
    if which != _DESTINATION or packet.port is None:
        return None
    found = any(
        port <= packet.port <= (ports[at + 1] if is_range[at] and at + 1 < count else port)
        for at, port in enumerate(ports[:count])
    )
    return found != bool(inverted)
