"""Rules of routing (`ip rule`) that keep packets to workloads from the main table, where their routes are.

Tried and not listed: the kernel is asked for its way to one workload of each family, for packets without a mark and for
those with the mark of each rule that has one. Rules about senders and interfaces are not tried.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address

from tortie.doctor.finding import Result, error, warning
from tortie.doctor.host import Host
from tortie.doctor.network import Network
from tortie.kernel.netlink import fib, rule
from tortie.kernel.netlink.route import TABLE_MAIN
from tortie.kernel.netlink.rule import Rule
from tortie.kernel.netlink.socket import NetlinkSocket


def check(host: Host) -> Iterator[Result]:
    with NetlinkSocket() as sock:
        for family, size in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
            if (address := _workload(host.network, size)) is not None:
                yield from _try(sock, family, address)


def _workload(network: Network, size: int) -> bytes | None:
    every = (packed for addresses in network.routed.values() for packed in addresses)
    return next((packed for packed in every if len(packed) == size), None)


def _try(sock: NetlinkSocket, family: int, address: bytes) -> Iterator[Result]:
    foreign = [each for each in rule.dump(sock, family) if each.foreign]
    for mark in sorted({0, *(each.mark for each in foreign)}):
        found = fib.lookup(sock, address, mark)
        if found is not None and found.table == TABLE_MAIN:
            continue
        table = 0 if found is None else found.table
        guilty = next((each for each in foreign if each.table == table and each.meets(address, mark)), None)
        # What unmarked packets meet too was told of already.
        if guilty is not None and (not mark or not guilty.meets(address)):
            yield _told(guilty, family, address, mark)


def _told(guilty: Rule, family: int, address: bytes, mark: int) -> Result:
    of = "packets" if not mark else f"packets with the mark {mark:#x}"
    command = "ip rule" if family == socket.AF_INET else "ip -6 rule"
    return (warning if mark else error)(
        f"{of} to workloads are not routed by the main table",
        f"`{command}`: {guilty}",
        f"the routes of workloads are there, and {of} to {ip_address(address)} go another way",
        f"{command} del pref {guilty.priority}, or one for the main table before it:"
        f" {command} add to {ip_address(address)} pref {max(1, guilty.priority - 1)} lookup main",
    )
