"""One endpoint and the link that carries it -> the kernel rows it takes. Pure; both families alike.

What each row is for stands beside it; the facts behind are in docs/decisions.md.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from tortie.conventions import (
    GATEWAY_V4,
    GATEWAY_V6,
    ROUTE_METRIC_V4,
    ROUTE_METRIC_V6,
    ROUTE_PROTOCOL,
    host_end_mac,
)
from tortie.dataplane.l3.rows import (
    Address,
    AddressKey,
    Asked,
    AskedKey,
    Kind,
    NeighbourKey,
    RouteKey,
    RouteTarget,
    RowKey,
    Rows,
)
from tortie.intent.l3 import LocalEndpoint
from tortie.kernel.netlink.link import Link

# Written before an interface carries traffic. rp_filter: the kernel takes the maximum of `all` and the interface.
_INTERFACE_V4 = {
    "forwarding": "1",
    "rp_filter": "0",
    "send_redirects": "0",
    "accept_redirects": "0",
    "proxy_arp": "0",
}
_INTERFACE_V6 = {
    "disable_ipv6": "0",
    "addr_gen_mode": "1",  # none: the link-local address is ours to set
    "accept_dad": "0",
    # Whether packets are forwarded is for `all` to say. Here it says that the kernel takes router solicitations, of
    # which each makes a neighbour: a workload would fill the table that all share, in 1024 messages.
    "forwarding": "0",
    "accept_ra": "0",  # a workload must not route the host (CVE-2020-13597)
    "accept_redirects": "0",
}

# Without the eBPF responder the kernel's proxy ARP answers what it has a route for, at once instead of after 0.8 s, and
# to solicitations the kernel itself, which says that it is a router where it forwards.
_PROXY_V6 = {"ipv6/conf/{0}/forwarding": "1"}
_PROXY_V4 = {"ipv4/conf/{0}/proxy_arp": "1", "ipv4/neigh/{0}/proxy_delay": "0"}

HOST_SYSCTLS_V4 = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/send_redirects": "0",
}  # send_redirects is OR-ed with `all`
HOST_SYSCTLS_V6 = {"ipv6/conf/all/forwarding": "1"}


def sysctl_rows(values: dict[str, str]) -> Rows:
    return {RowKey(Kind.SYSCTL, path): value for path, value in values.items()}


def render_endpoint(endpoint: LocalEndpoint, link: Link, *, ipv6: bool, responder: int) -> Rows:
    """The rows of a governed interface.

    `ipv6`: the host has IPv6 at all. `responder`: the program id that answers ARP and NDP, 0 when the kernel
    cannot run it. Neighbours and addresses need the interface up, routes need it running (IFF_RUNNING): what is
    not rendered now is rendered when the link changes.
    """
    rows = _sysctls(link, ipv6, responder)
    mac = host_end_mac(link.kind, endpoint.mac) or link.mac
    rows[RowKey(Kind.MAC, link.ifindex)] = mac
    addresses = [address for address in endpoint.addresses if ipv6 or address.version == 4]
    if responder:
        rows |= _responder(link, mac, addresses, responder)
    if link.up:
        rows[RowKey(Kind.ADDRESS, AddressKey(link.ifindex, GATEWAY_V4, 32))] = True
        if ipv6:
            rows[RowKey(Kind.ADDRESS, AddressKey(link.ifindex, GATEWAY_V6, 64))] = True
        if endpoint.mac:
            rows |= {RowKey(Kind.NEIGHBOUR, NeighbourKey(link.ifindex, address)): endpoint.mac for address in addresses}
    if link.running:
        target = RouteTarget(link.ifindex, ROUTE_PROTOCOL)
        rows |= {RowKey(Kind.ROUTE, RouteKey(address.packed, route_metric(address))): target for address in addresses}
    return rows


def route_metric(address: Address) -> int:
    return ROUTE_METRIC_V4 if isinstance(address, IPv4Address) else ROUTE_METRIC_V6


def _sysctls(link: Link, ipv6: bool, responder: int) -> Rows:
    values = {f"ipv4/conf/{link.name}/{name}": value for name, value in _INTERFACE_V4.items()}
    if ipv6:
        values |= {f"ipv6/conf/{link.name}/{name}": value for name, value in _INTERFACE_V6.items()}
    if not responder:
        proxy = _PROXY_V4 | _PROXY_V6 if ipv6 else _PROXY_V4
        values |= {path.format(link.name): value for path, value in proxy.items()}
    return sysctl_rows(values)


def _responder(link: Link, mac: str, addresses: list[Address], program: int) -> Rows:
    rows: Rows = {
        RowKey(Kind.ANSWER, link.ifindex): mac,
        RowKey(Kind.FILTER, link.ifindex): program,
        # Link-local addresses are held per link: the same one means another host on another link.
        RowKey(Kind.ASKED, AskedKey(link.ifindex, GATEWAY_V6)): Asked.HELD,
    }
    return rows | {RowKey(Kind.ASKED, AskedKey(link.ifindex, address)): Asked.OWN for address in addresses}
