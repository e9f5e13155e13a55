"""The MTU that a workload's packets meet on their way out: that of the interface with the node's address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from tortie.errors import Gone
from tortie.kernel.netlink import address, link
from tortie.kernel.netlink.socket import NetlinkSocket


def uplink_mtu(node_addresses: tuple[IPv4Address | IPv6Address, ...]) -> int:
    """The smallest MTU of the interfaces that hold the node's addresses; 0 when none of them is on this host."""
    wanted = {each.packed for each in node_addresses}
    with NetlinkSocket() as sock:
        uplinks = {found.ifindex for found in address.dump(sock) if found.address in wanted}
        return min((found.mtu for found in link.dump(sock) if found.ifindex in uplinks), default=0)


def fit_tap(name: str, mtu: int, *, exactly: bool) -> int:
    """Gives the host end of a TAP the MTU, and returns the one before; unless `exactly`, only if that was larger.

    The guest's side is its hypervisor's: raised unasked, the host would send what the guest cannot take. A TAP that
    is not there yet, 0 before, gets its MTU from whoever makes it.
    """
    with NetlinkSocket() as sock:
        try:
            found = link.get(sock, name)
        except Gone:
            return 0
        if mtu and (mtu < found.mtu or (exactly and mtu != found.mtu)):
            link.change(sock, found.ifindex, mtu=mtu)
        return found.mtu
