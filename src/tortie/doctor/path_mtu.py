"""Links on the way to other hosts that take smaller packets than this host sends.

Each BGP peer is sent one ICMP echo that fills the uplink and may not be fragmented. A router that cannot pass it on
says so and how much it could, which names the link; silence, where a small echo is answered, that nobody tells.
"""

from __future__ import annotations

import itertools
import os
import re
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

from tortie.doctor.finding import Finding, Result, Unseen, warning
from tortie.doctor.host import Host

Address = IPv4Address | IPv6Address

PEERS_AT_MOST = 32
ANSWER_S = 1.0

_NEIGHBOR = re.compile(r"^  neighbor (\S+) port", re.MULTILINE)  # in what the agent writes for BIRD
_SMALL = 100
# include/uapi/linux/in.h, in6.h: IP_MTU_DISCOVER, IPV6_MTU_DISCOVER
_DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
_PROBE = 3  # IP_PMTUDISC_PROBE: not fragmented, whatever was learned before
_HEADERS = {4: 28, 6: 48}  # IP and ICMP echo
_ECHO = {4: 8, 6: 128}
_REPLY = {4: 0, 6: 129}
_TOO_BIG = {4: (3, 4), 6: (2, 0)}  # type and code
_ICMP = struct.Struct("!BBHHH")


class Narrow(NamedTuple):
    """A link that a router told of: behind it, on the way to the peer."""

    router: Address
    peer: Address
    mtu: int


class Silent(NamedTuple):
    """Small packets are answered and large ones are not."""

    peer: Address
    sent: int


def check(host: Host) -> Iterator[Result]:
    try:
        text = Path(host.settings.bird_config).read_text(errors="replace")
    except FileNotFoundError:
        return
    except PermissionError:
        yield Unseen("the way to other hosts", f"{host.settings.bird_config} may be read by root alone")
        return
    peers = [ip_address(word) for word in _NEIGHBOR.findall(text)]
    smallest = min((each.mtu for each in host.network.uplinks), default=0)
    try:
        yield from judge([found for version in (4, 6) for found in probe(version, peers, smallest)])
    except PermissionError:
        yield Unseen("the way to other hosts", "only root may send the packets that try it")


def judge(found: Iterable[Narrow | Silent]) -> Iterator[Finding]:
    narrow: dict[tuple[Address, int], list[Address]] = {}
    for each in found:
        if isinstance(each, Narrow):
            narrow.setdefault((each.router, each.mtu), []).append(each.peer)
        else:
            yield warning(
                f"packets of {each.sent} bytes vanish on the way to {each.peer}, and nobody says why",
                f"a link or a filter between this host and {each.peer}",
                "connections open and hang as soon as much is sent: who sends is not told to send less",
                "find it by `tracepath`; let ICMP `fragmentation needed` (3/4) and ICMPv6 `packet too big` pass, or set"
                " the MTU of the uplink to what the way takes: workloads follow",
            )
    for (router, mtu), peers in narrow.items():
        named = ", ".join(map(str, peers[:3])) + (f" and {len(peers) - 3} more" if len(peers) > 3 else "")
        yield warning(
            f"a link on the way to {named} takes packets of {mtu} bytes only",
            f"behind the router {router}, which says so",
            "each connection to there first loses its large packets, and hangs where that ICMP message is filtered",
            f"raise the MTU of that link, or `ip link set` the uplink to mtu {mtu}: workloads follow",
        )


def probe(version: int, peers: Sequence[Address], mtu: int) -> list[Narrow | Silent]:
    """What became of a packet of that size to each peer; raises PermissionError unless root."""
    asked = [peer for peer in peers if peer.version == version][:PEERS_AT_MOST]
    if not asked or mtu <= _HEADERS[version]:
        return []
    family, protocol = (socket.AF_INET, socket.IPPROTO_ICMP) if version == 4 else (socket.AF_INET6, 58)
    with socket.socket(family, socket.SOCK_RAW, protocol) as sock:
        sock.setsockopt(*_DISCOVER[version], _PROBE)
        sock.setblocking(False)
        return _Echoes(version, sock, asked, mtu).result()


class _Echoes:
    """A large echo to each peer, and a small one to those that are silent."""

    def __init__(self, version: int, sock: socket.socket, peers: Sequence[Address], mtu: int) -> None:
        self._version = version
        self._socket = sock
        self._peers = peers
        self._mtu = mtu
        self._identifier = os.getpid() & 0xFFFF
        self._numbers = itertools.count(1)
        self._asked: dict[int, Address] = {}  # by the number of the echo
        self._narrow: dict[Address, Narrow] = {}

    def result(self) -> list[Narrow | Silent]:
        answered = self._ask(self._peers, self._mtu)
        silent = [peer for peer in self._peers if peer not in answered and peer not in self._narrow]
        deaf = self._ask(silent, _SMALL) if silent else set()
        return [*self._narrow.values(), *(Silent(peer, self._mtu) for peer in silent if peer in deaf)]

    def _ask(self, peers: Sequence[Address], size: int) -> set[Address]:
        """Those that answered."""
        for peer in peers:
            self._send(peer, size)
        answered: set[Address] = set()
        until = time.monotonic() + ANSWER_S
        while not set(peers) <= answered | self._narrow.keys() and (left := until - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left)[0]:
                packet, (source, *_) = self._socket.recvfrom(65536)
                answered |= self._read(packet, ip_address(source.partition("%")[0]))
        return answered

    def _send(self, peer: Address, size: int) -> None:
        number = next(self._numbers)
        self._asked[number] = peer
        body = bytes(size - _HEADERS[self._version])
        head = _ICMP.pack(_ECHO[self._version], 0, 0, self._identifier, number)
        # The kernel fills in the checksum of ICMPv6, which covers addresses.
        checksum = _checksum(head + body) if self._version == 4 else 0
        head = _ICMP.pack(_ECHO[self._version], 0, checksum, self._identifier, number)
        try:
            self._socket.sendto(head + body, (str(peer), 0))
        except PermissionError:
            raise
        except OSError:
            return  # no route, or an uplink that was changed meanwhile: others tell of that

    def _read(self, packet: bytes, source: Address) -> set[Address]:
        if self._version == 4:
            packet = packet[4 * (packet[0] & 0xF) :]
        if len(packet) < _ICMP.size:
            return set()
        kind, code, _, identifier, number = _ICMP.unpack_from(packet)
        if kind == _REPLY[self._version] and identifier == self._identifier:
            return {self._asked[number]} if number in self._asked else set()
        if (kind, code) == _TOO_BIG[self._version]:
            self._told(packet, source)
        return set()

    def _told(self, packet: bytes, router: Address) -> None:
        """Behind the message stands the beginning of the packet that it is about."""
        inner = packet[_ICMP.size :]
        offset = 40 if self._version == 6 else 4 * (inner[0] & 0xF) if inner else 0
        if len(inner) < offset + _ICMP.size:
            return
        *_, identifier, number = _ICMP.unpack_from(inner, offset)
        if identifier == self._identifier and number in self._asked:
            peer = self._asked[number]
            mtu = int.from_bytes(packet[6:8]) if self._version == 4 else int.from_bytes(packet[4:8])
            self._narrow.setdefault(peer, Narrow(router, peer, mtu))


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
