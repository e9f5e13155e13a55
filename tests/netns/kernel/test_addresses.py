"""Addresses in a real kernel, with `ip address` as the judge."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from tests.netns.conftest import NetnsFactory
from tests.netns.kernel.oracle import ip, veth
from tortie.errors import Exists, Gone
from tortie.kernel.netlink import address, link
from tortie.kernel.netlink.address import Address
from tortie.kernel.netlink.link import VethEnd

SCOPE_HOST = 254
SCOPE_LINK = 253
OURS = 116


def test_the_gateway_stands_with_host_scope_and_no_route(netns: NetnsFactory) -> None:
    namespace = netns("a")
    with namespace.netlink() as sock:
        ifindex = veth(sock).ifindex
        gateway = Address(
            ifindex,
            ip_address("169.254.1.1").packed,
            32,
            scope=SCOPE_HOST,
            flags=address.FLAG_NOPREFIXROUTE,
            protocol=OURS,
        )
        address.add(sock, gateway)
        (found,) = address.dump(sock, ifindex=ifindex)
    assert found == gateway._replace(flags=gateway.flags | address.FLAG_PERMANENT)
    (shown,) = ip(namespace, "-4 address show dev host0")
    (info,) = shown["addr_info"]
    assert (info["local"], info["prefixlen"], info["scope"]) == ("169.254.1.1", 32, "host")
    assert info["noprefixroute"] is True


def test_an_ipv6_address_without_duplicate_detection_is_usable_at_once(netns: NetnsFactory) -> None:
    namespace = netns("a")
    with namespace.netlink() as sock:
        ifindex = veth(sock).ifindex
        local = Address(
            ifindex, ip_address("fe80::ecee:eeff:feee:eeee").packed, 64, flags=address.FLAG_NODAD, protocol=OURS
        )
        address.add(sock, local)
        (found,) = address.dump(sock, socket.AF_INET6, ifindex)
        assert found.scope == SCOPE_LINK
        assert found.protocol == OURS
        assert not found.flags & address.FLAG_TENTATIVE
        assert found.flags & address.FLAG_NODAD


def test_an_address_is_deleted_once_and_again(netns: NetnsFactory) -> None:
    with netns("a").netlink() as sock:
        ifindex = veth(sock).ifindex
        rows = [
            Address(ifindex, ip_address("10.0.0.1").packed, 24),
            Address(ifindex, ip_address("fd00::1").packed, 64, flags=address.FLAG_NODAD),
        ]
        for row in rows:
            address.add(sock, row)
            address.delete(sock, row)
            assert address.dump(sock, ifindex=ifindex) == []
            address.delete(sock, row)
            address.delete(sock, row._replace(ifindex=4711))


@pytest.mark.parametrize("text", ["10.0.0.1", "fd00::1"])
def test_an_address_that_stands_is_not_taken_over(netns: NetnsFactory, text: str) -> None:
    with netns("a").netlink() as sock:
        ifindex = veth(sock).ifindex
        packed = ip_address(text).packed
        theirs = Address(ifindex, packed, 8 * len(packed), flags=address.FLAG_NODAD)
        address.add(sock, theirs)
        with pytest.raises(Exists, match=f"add address {text}"):
            address.add(sock, theirs._replace(protocol=OURS))
        (found,) = address.dump(sock, ifindex=ifindex)
        assert found.protocol == 0


def test_an_address_on_a_link_that_is_not_there_is_gone(netns: NetnsFactory) -> None:
    with netns("a").netlink() as sock:
        with pytest.raises(Gone):
            address.add(sock, Address(4711, ip_address("10.0.0.1").packed, 24))
        assert address.dump(sock, ifindex=4711) == []


def test_a_dump_tells_families_and_links_apart(netns: NetnsFactory) -> None:
    with netns("a").netlink() as sock:
        link.create_veth(sock, VethEnd("host0"), VethEnd("guest0"))
        host, guest = link.get(sock, "host0").ifindex, link.get(sock, "guest0").ifindex
        on_host = Address(host, ip_address("10.0.0.1").packed, 24)
        on_guest = Address(guest, ip_address("fd00::1").packed, 64, flags=address.FLAG_NODAD)
        address.add(sock, on_host)
        address.add(sock, on_guest)
        assert [row.address for row in address.dump(sock, ifindex=host)] == [on_host.address]
        assert [row.address for row in address.dump(sock, socket.AF_INET, guest)] == []
        both = [row for row in address.dump(sock) if row.ifindex in (host, guest)]
        assert [row.address for row in both] == [on_host.address, on_guest.address]


def test_the_probe_agrees_with_the_kernels_own_mark(netns: NetnsFactory) -> None:
    """A kernel that stores the protocol marks its own loopback address with it (IFAPROT_KERNEL_LO)."""
    with netns("a").netlink() as sock:
        marked = any(row.protocol == 1 for row in address.dump(sock))
    assert address.stores_protocol() == marked
