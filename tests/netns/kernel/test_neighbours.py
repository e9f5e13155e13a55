"""Neighbour entries in a real kernel, with `ip neighbour` as the judge."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from tests.netns.conftest import NetnsFactory
from tests.netns.kernel.oracle import ip, veth
from tortie.errors import Exists, Gone
from tortie.kernel.netlink import link, neighbour
from tortie.kernel.netlink.neighbour import Neighbour

OURS = 116
MAC = "02:00:00:00:00:18"
OTHER_MAC = "02:00:00:00:00:99"

FIRST = {"v4": ip_address("10.65.0.0"), "v6": ip_address("fd00::")}


@pytest.mark.parametrize("family", ["v4", "v6"])
class TestInBothFamilies:
    def test_permanent_entries_in_bulk(self, netns: NetnsFactory, family: str) -> None:
        namespace = netns("a")
        with namespace.netlink() as sock:
            ifindex = veth(sock).ifindex
            rows = [Neighbour(ifindex, (FIRST[family] + i).packed, MAC, protocol=OURS) for i in range(3000)]
            assert neighbour.add(sock, rows) == {}
            assert set(neighbour.dump(sock, ifindex=ifindex, protocol=OURS)) == set(rows)
            shown = ip(namespace, f"-{family[1]} neighbour show dev host0 proto {OURS}")
            assert len(shown) == len(rows)
            assert {(row["lladdr"], *row["state"]) for row in shown} == {(MAC, "PERMANENT")}
            assert neighbour.delete(sock, rows) == {}
            assert neighbour.dump(sock, ifindex=ifindex, protocol=OURS) == []
            assert neighbour.delete(sock, rows) == {}

    def test_an_entry_that_stands_is_not_added_over(self, netns: NetnsFactory, family: str) -> None:
        namespace = netns("a")
        with namespace.netlink() as sock:
            ifindex = veth(sock).ifindex
            row = Neighbour(ifindex, FIRST[family].packed, MAC, protocol=OURS)
            namespace.run(f"ip neighbour add {FIRST[family]} lladdr {OTHER_MAC} dev host0 nud permanent")
            failed = neighbour.add(sock, [row, row._replace(address=(FIRST[family] + 1).packed)])
            assert {key: type(error) for key, error in failed.items()} == {row: Exists}
            theirs = Neighbour(ifindex, row.address, OTHER_MAC)
            assert theirs in neighbour.dump(sock)

    def test_replace_overwrites_one_that_traffic_made(self, netns: NetnsFactory, family: str) -> None:
        namespace = netns("a")
        with namespace.netlink() as sock:
            ifindex = veth(sock).ifindex
            row = Neighbour(ifindex, FIRST[family].packed, MAC, protocol=OURS)
            namespace.run(f"ip neighbour add {FIRST[family]} lladdr {OTHER_MAC} dev host0 nud stale")
            (before,) = neighbour.dump(sock, ifindex=ifindex)
            assert before.state == neighbour.STATE_STALE
            assert neighbour.replace(sock, [row]) == {}
            assert neighbour.dump(sock, ifindex=ifindex) == [row]

    def test_a_link_that_is_not_there(self, netns: NetnsFactory, family: str) -> None:
        with netns("a").netlink() as sock:
            row = Neighbour(4711, FIRST[family].packed, MAC)
            assert type(neighbour.add(sock, [row])[row]) is Gone
            assert neighbour.delete(sock, [row]) == {}
            assert neighbour.dump(sock, ifindex=4711) == []

    def test_setting_the_link_down_takes_permanent_entries_too(self, netns: NetnsFactory, family: str) -> None:
        with netns("a").netlink() as sock:
            ifindex = veth(sock).ifindex
            row = Neighbour(ifindex, FIRST[family].packed, MAC, protocol=OURS)
            assert neighbour.add(sock, [row]) == {}
            link.change(sock, ifindex, up=False)
            assert neighbour.dump(sock, ifindex=ifindex) == []
            assert neighbour.add(sock, [row]) == {}
            link.change(sock, ifindex, up=True)
            assert neighbour.dump(sock, ifindex=ifindex) == [row]


def test_a_dump_is_filtered_by_family_and_interface(netns: NetnsFactory) -> None:
    with netns("a").netlink() as sock:
        host = veth(sock).ifindex
        guest = link.get(sock, "guest0").ifindex
        four = Neighbour(host, FIRST["v4"].packed, MAC, protocol=OURS)
        six = Neighbour(guest, FIRST["v6"].packed, MAC, protocol=OURS)
        assert neighbour.add(sock, [four, six]) == {}
        assert neighbour.dump(sock, socket.AF_INET, protocol=OURS) == [four]
        assert neighbour.dump(sock, ifindex=guest, protocol=OURS) == [six]
        assert neighbour.dump(sock, protocol=99) == []
