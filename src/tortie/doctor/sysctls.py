"""Settings of the kernel that others changed, or that hurt and are not the agent's to change."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping

from tortie.doctor.finding import Finding, error, note, some, warning
from tortie.doctor.host import Host
from tortie.doctor.network import Network
from tortie.kernel.netlink.address import FLAG_PERMANENT, Address
from tortie.kernel.netlink.link import Link

Values = Mapping[str, int]

_HOST = (
    "ipv4/ip_forward",
    "ipv4/conf/all/rp_filter",
    "ipv4/conf/all/send_redirects",
    "ipv4/conf/all/proxy_arp",
    "ipv6/conf/all/forwarding",
    "bridge/bridge-nf-call-iptables",
    "bridge/bridge-nf-call-ip6tables",
)
_INTERFACE = (
    "ipv4/conf/{}/forwarding",
    "ipv4/conf/{}/rp_filter",
    "ipv4/conf/{}/send_redirects",
    "ipv4/conf/{}/proxy_arp",
    "ipv6/conf/{}/forwarding",
    "ipv6/conf/{}/accept_ra",
)
_STRICT, _LOOSE = 1, 2
_WATCHED = "a running agent sets it: find what else sets it, in /etc/sysctl.d and /usr/lib/sysctl.d, and take it out"


def check(host: Host) -> Iterator[Finding]:
    network = host.network
    wanted = [*_HOST, *(path.format(each.name) for each in _of_interest(network) for path in _INTERFACE)]
    values = {path: value for path in wanted if (value := host.number(path)) is not None}
    yield from forwarding(values, network)
    yield from reverse_path(values, network)
    yield from redirects(values, network)
    yield from router_advertisements(values, network)
    yield from proxy_arp(values, network)
    yield from bridged(values, network)


def forwarding(values: Values, network: Network) -> Iterator[Finding]:
    if values.get("ipv4/ip_forward") == 0:
        yield error(
            "IPv4 packets are not forwarded",
            "net.ipv4.ip_forward = 0",
            "no workload reaches anything but this host, and nobody reaches a workload",
            f"sysctl -w net.ipv4.ip_forward=1; {_WATCHED}",
        )
    if values.get("ipv6/conf/all/forwarding") == 0:
        say = error if network.serves_ipv6 else warning
        yield say(
            "IPv6 packets are not forwarded",
            "net.ipv6.conf.all.forwarding = 0",
            "workloads with IPv6 addresses are cut off",
            f"sysctl -w net.ipv6.conf.all.forwarding=1, with accept_ra=2 on an uplink that needs it; {_WATCHED}",
        )
    # In IPv6 the interface's own only says whether it behaves as a router's (net/ipv6/ip6_output.c, ip6_forward).
    for each in _of_interest(network):
        if values.get("ipv4/ip_forward") == 1 and values.get(f"ipv4/conf/{each.name}/forwarding") == 0:
            yield error(
                f"IPv4 packets that arrive by {each.name} are not forwarded",
                f"net.ipv4.conf.{each.name}.forwarding = 0",
                "forwarding is a setting of the interface by which a packet comes in, whatever the host's says",
                f"sysctl -w net/ipv4/conf/{each.name}/forwarding=1",
            )


def reverse_path(values: Values, network: Network) -> Iterator[Finding]:
    """The kernel takes the maximum of `all` and the interface's own."""
    everywhere = values.get("ipv4/conf/all/rp_filter", 0)
    for mode in (_STRICT, _LOOSE):
        hit = [name for name in _names(network) if _reverse_path(values, name) == mode]
        # Before the first workload: what `all` does to each.
        if hit or (not network.workloads and everywhere == mode):
            # Loose asks only for any route back, which a default route always is.
            harmless = mode == _LOOSE and socket.AF_INET in network.has_default
            place = "all" if everywhere == mode else hit[0]
            yield (note if harmless else warning)(
                f"workload interfaces are filtered by reverse path: {some(hit) or 'all that will come'}",
                f"net.ipv4.conf.{place}.rp_filter = {mode}",
                "the maximum of `all` and the interface's counts: a workload that sends from another address than its"
                " own, as policy may allow it, is cut off silently",
                "sysctl -w net.ipv4.conf.all.rp_filter=0, also in /etc/sysctl.d; uplinks have settings of their own",
            )
    strict = [each.name for each in network.uplinks if _reverse_path(values, each.name) == _STRICT]
    if len(network.uplinks) > 1 and strict:
        yield warning(
            "an uplink takes only what would be answered by it",
            ", ".join(f"net.ipv4.conf.{name}.rp_filter" for name in strict),
            "with several uplinks packets come by one and are answered by another: these are dropped silently",
            f"sysctl -w net/ipv4/conf/{strict[0]}/rp_filter={_LOOSE}, with `all` not above it",
        )


def redirects(values: Values, network: Network) -> Iterator[Finding]:
    places = [name for name in ("all", *_names(network)) if values.get(f"ipv4/conf/{name}/send_redirects")]
    if places:
        yield warning(
            "the host sends ICMP redirects to workloads",
            f"net.ipv4.conf.{places[0]}.send_redirects = {values[f'ipv4/conf/{places[0]}/send_redirects']}",
            "a workload that believes its neighbours to be on one wire is told so, and looks for them there in vain;"
            " `all` is OR-ed with the interface's",
            f"sysctl -w net/ipv4/conf/{places[0]}/send_redirects=0; {_WATCHED}",
        )


def router_advertisements(values: Values, network: Network) -> Iterator[Finding]:
    """An interface that forwards takes no router advertisements unless accept_ra is 2 (include/net/ipv6.h)."""
    # An address that the kernel will take away is one that a router advertised, or nearly so.
    learnt = {each.ifindex for each in network.addresses if len(each.address) == 16 and not _stays(each)}
    for each in network.uplinks:
        forwards, accepts = (values.get(f"ipv6/conf/{each.name}/{key}") for key in ("forwarding", "accept_ra"))
        if (forwards, accepts) != (1, 1):
            continue
        if each.ifindex in network.advertised:
            say, becomes = error, "its IPv6 default route will expire"
        elif each.ifindex in learnt and socket.AF_INET6 not in network.has_default:
            say, becomes = warning, "there is no IPv6 default route"
        else:
            continue
        yield say(
            f"{each.name} takes no more router advertisements: {becomes}",
            f"net.ipv6.conf.{each.name}.accept_ra = 1",
            "while an interface forwards, 1 means no: the host loses its IPv6 default route, and so do its workloads",
            f"sysctl -w net/ipv6/conf/{each.name}/accept_ra=2",
        )


def proxy_arp(values: Values, network: Network) -> Iterator[Finding]:
    places = [
        name for name in ("all", *(each.name for each in network.uplinks)) if values.get(f"ipv4/conf/{name}/proxy_arp")
    ]
    if places:
        yield warning(
            "the host answers ARP for others on its uplinks",
            f"net.ipv4.conf.{places[0]}.proxy_arp = 1",
            "it draws packets for whatever it has a route to, also for addresses of other hosts' workloads and for ones"
            " that do not exist, and hides that routes are missing",
            f"sysctl -w net/ipv4/conf/{places[0]}/proxy_arp=0",
        )


def bridged(values: Values, network: Network) -> Iterator[Finding]:
    bridges = [each.name for each in network.links if each.kind == "bridge"]
    on = [name for name in ("iptables", "ip6tables") if values.get(f"bridge/bridge-nf-call-{name}") == 1]
    if bridges and on:
        yield note(
            "frames within bridges go through the chains for routed packets",
            f"net.bridge.bridge-nf-call-{on[0]} = 1 (module br_netfilter), bridges {', '.join(bridges)}",
            "a chain that drops by default cuts off machines on one bridge, and each bridged packet is tracked",
            f"sysctl -w net.bridge.bridge-nf-call-{on[0]}=0, unless what loaded the module (Docker ...) needs it",
        )


def _of_interest(network: Network) -> list[Link]:
    return [*network.workloads, *network.uplinks]


def _names(network: Network) -> list[str]:
    return [each.name for each in network.workloads]


def _reverse_path(values: Values, name: str) -> int:
    return max(values.get(f"ipv4/conf/{each}/rp_filter", 0) for each in ("all", name))


def _stays(address: Address) -> bool:
    return bool(address.flags & FLAG_PERMANENT)
