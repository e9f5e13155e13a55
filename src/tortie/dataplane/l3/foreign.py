"""Other people's rows on an interface of ours, kept where the kernel drops them along with what is ours."""

from __future__ import annotations

import socket

from tortie.conventions import ELEVATED_ROUTE_PROTOCOL, ROUTE_PROTOCOL
from tortie.errors import Exists
from tortie.kernel.netlink import address, neighbour, route
from tortie.kernel.netlink.address import Address
from tortie.kernel.netlink.neighbour import STATE_PERMANENT
from tortie.kernel.netlink.socket import NetlinkSocket

# The kernel's own come and go with their address.
_NOT_FOREIGN = (ROUTE_PROTOCOL, ELEVATED_ROUTE_PROTOCOL, route.PROTOCOL_KERNEL)


def delete_address(sock: NetlinkSocket, row: Address) -> None:
    """Takes the address off its interface, and nothing else. Raises KernelError.

    With its last IPv4 address an interface loses its IPv4 routes and neighbours (net/ipv4/fib_frontend.c,
    fib_disable_ip), also those that were there before it had any address.
    """
    if row.family != socket.AF_INET:
        address.delete(sock, row)
        return
    routes = [raw for each, raw in route.dump_raw(sock, row.family, row.ifindex) if each.protocol not in _NOT_FOREIGN]
    neighbours = [
        each
        for each in neighbour.dump(sock, row.family, row.ifindex)
        if each.state & STATE_PERMANENT and each.protocol != ROUTE_PROTOCOL
    ]
    address.delete(sock, row)
    for raw in routes:
        try:
            route.add_raw(sock, raw)
        except Exists:  # another address is left, so it was not lost
            continue
    neighbour.add(sock, neighbours)
