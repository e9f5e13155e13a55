"""The MTU that a workload's packets meet on their way out: that of the interface with the node's address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from tortie.kernel.netlink import address, link
from tortie.kernel.netlink.socket import NetlinkSocket


def uplink_mtu(node_addresses: tuple[IPv4Address | IPv6Address, ...]) -> int:
    """The smallest MTU of the interfaces that hold the node's addresses; 0 when none of them is on this host."""
    wanted = {each.packed for each in node_addresses}
    with NetlinkSocket() as sock:
        uplinks = {found.ifindex for found in address.dump(sock) if found.address in wanted}
        return min((found.mtu for found in link.dump(sock) if found.ifindex in uplinks), default=0)
