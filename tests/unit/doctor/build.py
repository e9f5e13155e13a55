"""Facts of a host, as short as a test wants them."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network

from tortie.conventions import ROUTE_PROTOCOL
from tortie.kernel.netlink.address import Address
from tortie.kernel.netlink.link import Link
from tortie.kernel.netlink.route import SCOPE_HOST, Route


def link(ifindex: int, name: str, *, mtu: int = 1500, kind: str = "veth", flags: int = 1) -> Link:
    return Link(ifindex, name, flags, "ee:ee:ee:ee:ee:ee", mtu, 0, kind, "UP", 0, None, None)


def route(prefix: str, ifindex: int, *, protocol: int = ROUTE_PROTOCOL, via: str = "") -> Route:
    network = ip_network(prefix)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    gateway = ip_address(via).packed if via else None
    return Route(family, network.network_address.packed, network.prefixlen, ifindex, gateway, protocol=protocol)


def gateway_address(ifindex: int) -> Address:
    return Address(ifindex, ip_address("169.254.1.1").packed, 32, SCOPE_HOST)
