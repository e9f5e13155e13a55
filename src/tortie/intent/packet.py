"""A packet as this node meets it, the flow it belongs to, and where the node's routes would send it: what `verdict`
is asked about.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_network
from typing import NamedTuple

import msgspec

from tortie.intent.policy import Address, Network

ICMP = 1
IPIP = 4
TCP = 6
UDP = 17
ICMPV6 = 58
SCTP = 132
UDPLITE = 136

WITH_PORTS = frozenset({TCP, UDP, SCTP, UDPLITE})
ICMP_FAMILY = {ICMP: 4, ICMPV6: 6}

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10


class Flow(StrEnum):
    """What connection tracking says of a packet."""

    NEW = "new"
    ESTABLISHED = "established"
    RELATED = "related"
    INVALID = "invalid"
    UNTRACKED = "untracked"


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """One packet, whole: fragments are put together before anything of it is judged.

    `interface` is the one it arrived on, empty for one that this host sends. What does not apply to its protocol is
    None.
    """

    source: Address
    destination: Address
    protocol: int
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    tcp_flags: int | None = None
    interface: str = ""
    source_mac: str = ""

    @property
    def family(self) -> int:
        return self.source.version


class Route(NamedTuple):
    """Where a destination leads: to this host itself when `interface` is empty."""

    network: Network
    interface: str
    source: Address | None = None  # what the host would send from


class Fib(msgspec.Struct, frozen=True, kw_only=True):
    """The kernel's routes and addresses, as far as a verdict depends on them."""

    routes: tuple[Route, ...] = ()
    addresses: Mapping[str, frozenset[Address]] = {}  # of the host, by interface

    def is_local(self, address: Address) -> bool:
        return any(address in held for held in self.addresses.values())

    def route(self, destination: Address) -> Route | None:
        """The longest match; O(routes)."""
        if self.is_local(destination):
            return Route(ip_network(destination), "")
        found = [route for route in self.routes if destination in route.network]
        return max(found, key=lambda route: route.network.prefixlen, default=None)
