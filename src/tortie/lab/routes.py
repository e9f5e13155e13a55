"""Which workload routes a lab's kernels hold, against those that they should come to hold."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from tortie.kernel.netlink import route
from tortie.kernel.netlink.socket import NetlinkSocket
from tortie.lab.layout import Layout
from tortie.lab.topology import Topology, family

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def expected(topology: Topology) -> dict[str, set[str]]:
    """By host, and the router if it speaks BGP: the workload addresses of the families that it has itself.

    Everybody is expected to learn everything; a topology may well forbid it by its BGP resources.
    """
    own = {host.name: host.addresses for host in topology.hosts}
    if topology.router and topology.router.bgp:
        own[topology.router.name] = topology.router.addresses
    workloads = {address for workload in topology.workloads for address in workload.addresses}
    return {
        member: {wanted for wanted in workloads if family(wanted) in {family(address) for address in addresses}}
        for member, addresses in own.items()
    }


def held(layout: Layout, member: str) -> set[str]:
    """The single addresses that a member's kernel has a route for."""
    addresses = set()
    with NetlinkSocket.open_in(str(layout.namespace_path(member))) as sock:
        for row in (row for version in _FAMILIES.values() for row in route.dump(sock, version)):
            if row.prefix_length == 8 * len(row.destination):
                addresses.add(str(ip_address(row.destination)))
    return addresses


def missing(layout: Layout, topology: Topology) -> dict[str, list[str]]:
    """What each member's kernel still lacks; members that lack nothing are left out."""
    lacking = {member: sorted(wanted - held(layout, member)) for member, wanted in expected(topology).items()}
    return {member: addresses for member, addresses in lacking.items() if addresses}
