"""The host's links, addresses and routes, and what they are to tortie: workload interfaces and uplinks.

A workload interface is known by what an agent left on it, never by its name alone: others make interfaces named `tap0`
too.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tortie.conventions import ELEVATED_ROUTE_PROTOCOL, GATEWAY_V4, ROUTE_PROTOCOL
from tortie.kernel.netlink import address, link, route
from tortie.kernel.netlink.address import Address
from tortie.kernel.netlink.link import Link
from tortie.kernel.netlink.route import PROTOCOL_BIRD, PROTOCOL_RA, SCOPE_HOST, TYPE_UNICAST, Route
from tortie.kernel.netlink.socket import NetlinkSocket

# FelixConfiguration's InterfacePrefix, unless it says otherwise; that is in the datastore.
PREFIXES = ("cali", "tap")

FELIX_ROUTE_PROTOCOL = 80

_IPV6 = Path("/proc/sys/net/ipv6")  # not there: a kernel without, or told at its start to do without
_OURS = (ROUTE_PROTOCOL, ELEVATED_ROUTE_PROTOCOL)


class Network(NamedTuple):
    """What the kernel said at one moment."""

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    workloads: tuple[Link, ...] = ()
    uplinks: tuple[Link, ...] = ()  # by which this host reaches others
    routed: Mapping[int, tuple[bytes, ...]] = {}  # addresses of workloads by the index of their interface
    advertised: frozenset[int] = frozenset()  # interfaces whose IPv6 default route came by router advertisement
    has_default: frozenset[int] = frozenset()  # families with a default route
    routes: Mapping[int, int] = {}  # number of routes in the main table by protocol

    @property
    def serves_ipv6(self) -> bool:
        """Whether a workload has an IPv6 address."""
        return any(len(packed) == 16 for addresses in self.routed.values() for packed in addresses)

    def name(self, ifindex: int) -> str:
        return next((each.name for each in self.links if each.ifindex == ifindex), f"interface {ifindex}")


def read() -> Network:
    """The network namespace of the calling thread."""
    with NetlinkSocket() as sock:
        families = [socket.AF_INET, *([socket.AF_INET6] if _IPV6.exists() else [])]
        routes = [row for family in families for row in route.dump(sock, family)]
        return sorted_out(link.dump(sock), address.dump(sock), routes)


def sorted_out(links: Iterable[Link], addresses: Iterable[Address], routes: Iterable[Route]) -> Network:
    """What is what."""
    links, addresses, routes = tuple(links), tuple(addresses), tuple(routes)
    routed: dict[int, list[bytes]] = {}
    for each in routes:
        if each.protocol in _OURS and each.ifindex and each.prefix_length == 8 * len(each.destination):
            routed.setdefault(each.ifindex, []).append(each.destination)
    governed = set(routed) | {
        each.ifindex for each in addresses if each.address == GATEWAY_V4.packed and each.scope == SCOPE_HOST
    }
    defaults = [each for each in routes if each.prefix_length == 0 and each.type == TYPE_UNICAST]
    outwards = {each.ifindex for each in defaults}
    outwards |= {each.ifindex for each in routes if each.protocol == PROTOCOL_BIRD and each.gateway}
    return Network(
        links,
        addresses,
        tuple(each for each in links if each.ifindex in governed),
        tuple(each for each in links if each.ifindex in outwards - governed and not each.loopback),
        {ifindex: tuple(found) for ifindex, found in routed.items()},
        frozenset(each.ifindex for each in defaults if each.protocol == PROTOCOL_RA),
        frozenset(each.family for each in defaults),
        Counter(each.protocol for each in routes),
    )
