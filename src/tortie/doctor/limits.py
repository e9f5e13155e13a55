"""Tables of the kernel that are nearly full: what does not fit is dropped, with a line in the kernel's log at most."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tortie.doctor.finding import Finding, error, warning
from tortie.doctor.host import Host
from tortie.kernel.netlink import neighbour
from tortie.kernel.netlink.neighbour import STATE_PERMANENT
from tortie.kernel.netlink.socket import NetlinkSocket

NEARLY_FULL = 0.75
FULL = 0.95

_IPV6_ROUTES = Path("/proc/thread-self/net/rt6_stats")
_DST_ENTRIES = 5  # sixth column, net/ipv6/route.c, rt6_stats_seq_show


class Filled(NamedTuple):
    """A table with a limit: `entries` is None where this kernel does not tell."""

    what: str
    setting: str  # of the limit
    entries: int | None
    limit: int | None
    why: str


def check(host: Host) -> Iterator[Finding]:
    for table in (*_connections(host), *_neighbours(host), _ipv6_routes(host)):
        yield from fullness(table)


def fullness(table: Filled) -> Iterator[Finding]:
    if table.entries is None or not table.limit or table.entries < NEARLY_FULL * table.limit:
        return
    say = error if table.entries >= FULL * table.limit else warning
    yield say(
        f"the table of {table.what} is {100 * table.entries // table.limit} % full",
        f"net.{table.setting.replace('/', '.')} = {table.limit}, {table.entries} in use",
        table.why,
        f"sysctl -w net.{table.setting.replace('/', '.')}={4 * table.limit}, also in /etc/sysctl.d",
    )


def _connections(host: Host) -> Iterator[Filled]:
    limit, count = "netfilter/nf_conntrack_max", "netfilter/nf_conntrack_count"
    why = "the first packet of each new connection is dropped when it is full, whatever policy says"
    yield Filled("tracked connections", limit, host.number(count), host.number(limit), why)


def _neighbours(host: Host) -> Iterator[Filled]:
    """Permanent entries, as those of workloads, do not count (net/core/neighbour.c, neigh_alloc)."""
    with NetlinkSocket() as sock:
        entries = neighbour.dump(sock)
    for name, family in (("ipv4", socket.AF_INET), ("ipv6", socket.AF_INET6)):
        setting = f"{name}/neigh/default/gc_thresh3"
        counted = [e for e in entries if e.family == family and not e.state & STATE_PERMANENT]
        why = "no new neighbour is learnt when it is full, so hosts of this network cannot be reached"
        yield Filled(
            f"{'IPv4' if family == socket.AF_INET else 'IPv6'} neighbours",
            setting,
            len(counted),
            host.number(setting),
            why,
        )


def _ipv6_routes(host: Host) -> Filled:
    """Before Linux 6.3 the limit is 4096, of routes in use rather than routes in the table."""
    setting = "ipv6/route/max_size"
    try:
        entries = int(_IPV6_ROUTES.read_text().split()[_DST_ENTRIES], 16)
    except (OSError, IndexError, ValueError):
        entries = None
    why = "packets to further destinations are refused when it is full: Network is unreachable"
    return Filled("IPv6 routes in use", setting, entries, host.number(setting), why)
