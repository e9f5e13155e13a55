"""Links in a real kernel, with `ip link` as the judge."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.netns.conftest import NetnsFactory
from tests.netns.kernel.oracle import ip, veth, wait_link
from tortie.errors import Exists, Gone, Refused, Unsupported
from tortie.kernel.netlink import link
from tortie.kernel.netlink.link import VethEnd

HOST_MAC = "ee:ee:ee:ee:ee:ee"
GUEST_MAC = "02:00:00:00:00:18"


@contextmanager
def opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_a_veth_pair_is_made_with_its_peer_in_another_namespace(netns: NetnsFactory) -> None:
    host, guest = netns("host"), netns("guest")
    with host.netlink() as sock, guest.netlink() as inside, opened(guest.path) as descriptor:
        link.create_veth(
            sock,
            VethEnd("cali1234", mac=HOST_MAC, mtu=1400),
            VethEnd("eth0", mac=GUEST_MAC, mtu=1400, netns=descriptor),
        )
        end, peer = link.get(sock, "cali1234"), link.get(inside, "eth0")
    (shown,) = ip(host, "link show cali1234")
    (shown_peer,) = ip(guest, "link show eth0")
    assert (shown["address"], shown["mtu"], shown["ifindex"]) == (HOST_MAC, 1400, end.ifindex)
    assert (shown_peer["address"], shown_peer["mtu"], shown_peer["ifindex"]) == (GUEST_MAC, 1400, peer.ifindex)
    assert (end.mac, end.mtu, end.kind, end.peer_index) == (HOST_MAC, 1400, "veth", peer.ifindex)
    assert (peer.mac, peer.mtu, peer.kind, peer.peer_index) == (GUEST_MAC, 1400, "veth", end.ifindex)
    assert end.peer_netns_id == shown["link_netnsid"]
    assert not end.up
    assert not peer.up


def test_what_is_read_is_what_ip_link_shows(netns: NetnsFactory) -> None:
    host = netns("host")
    with host.netlink() as sock:
        veth(sock)
        link.create_bridge(sock, "bridge0", mtu=1300)
        bridge = link.get(sock, "bridge0").ifindex
        link.change(sock, link.get(sock, "guest0").ifindex, master=bridge)
        host.run("ip tuntap add mode tap name tap0")
        found = {row.name: row for row in link.dump(sock)}
    shown = {row["ifname"]: row for row in ip(host, "link show")}
    assert set(found) == set(shown) >= {"lo", "host0", "guest0", "bridge0", "tap0"}
    for name, row in shown.items():
        assert found[name].ifindex == row["ifindex"]
        assert found[name].mtu == row["mtu"]
        assert found[name].mac == row["address"]
        assert found[name].operstate == row["operstate"]
        assert found[name].up == ("UP" in row["flags"])
        assert found[name].loopback == ("LOOPBACK" in row["flags"])
        assert found[name].kind == row.get("linkinfo", {}).get("info_kind", "")
        modes = {"eui64": link.ADDR_GEN_EUI64, "none": link.ADDR_GEN_NONE}
        assert found[name].addr_gen_mode == modes[row["inet6_addr_gen_mode"]]
    assert found["guest0"].master == found["bridge0"].ifindex
    assert found["host0"].peer_netns_id is None


def test_a_pair_whose_name_is_taken_is_not_made(netns: NetnsFactory) -> None:
    host = netns("host")
    with host.netlink() as sock:
        veth(sock)
        with pytest.raises(Exists, match="create veth host0 with peer other"):
            link.create_veth(sock, VethEnd("host0"), VethEnd("other"))
        with pytest.raises(Gone):
            link.get(sock, "other")


def test_a_name_that_is_not_there_is_gone(netns: NetnsFactory) -> None:
    with netns("host").netlink() as sock:
        with pytest.raises(Gone, match="look up link nobody"):
            link.get(sock, "nobody")
        with pytest.raises(Gone, match="look up link 4711"):
            link.get_by_index(sock, 4711)
        with pytest.raises(Gone, match="change link 4711"):
            link.change(sock, 4711, up=True)


def test_an_alternative_name_is_no_name(netns: NetnsFactory) -> None:
    host = netns("host")
    with host.netlink() as sock:
        veth(sock)
        host.run("ip link property add dev host0 altname other")
        with pytest.raises(Gone, match="alternative name of host0"):
            link.get(sock, "other")


def test_changes(netns: NetnsFactory) -> None:
    host, elsewhere = netns("host"), netns("elsewhere")
    with host.netlink() as sock, elsewhere.netlink() as there:
        link.create_veth(sock, VethEnd("host0"), VethEnd("guest0"))
        ifindex = link.get(sock, "host0").ifindex
        link.change(sock, ifindex, mac=HOST_MAC, mtu=1280, addr_gen_mode=link.ADDR_GEN_NONE)
        found = link.get_by_index(sock, ifindex)
        assert (found.mac, found.mtu, found.addr_gen_mode, found.up) == (HOST_MAC, 1280, link.ADDR_GEN_NONE, False)

        link.change(sock, ifindex, name="renamed")
        assert link.get_by_index(sock, ifindex).name == "renamed"

        link.change(sock, ifindex, up=True)
        found = link.get_by_index(sock, ifindex)
        assert found.up
        assert not found.running  # the other end is down
        link.change(sock, link.get(sock, "guest0").ifindex, up=True)
        wait_link(host, "renamed", lambda found: found.running)
        link.change(sock, ifindex, mtu=1300)
        assert link.get_by_index(sock, ifindex).up
        link.change(sock, ifindex, up=False)
        assert not link.get_by_index(sock, ifindex).up

        with opened(elsewhere.path) as descriptor:
            link.change(sock, ifindex, netns=descriptor)
        with pytest.raises(Gone):
            link.get(sock, "renamed")
        moved = link.get(there, "renamed")
        assert moved.peer_index == link.get(sock, "guest0").ifindex
        assert moved.peer_netns_id is not None


def test_a_link_joins_and_leaves_a_bridge(netns: NetnsFactory) -> None:
    with netns("host").netlink() as sock:
        ifindex = veth(sock).ifindex
        link.create_bridge(sock, "bridge0")
        bridge = link.get(sock, "bridge0")
        assert bridge.kind == "bridge"
        link.change(sock, ifindex, master=bridge.ifindex)
        assert link.get_by_index(sock, ifindex).master == bridge.ifindex
        link.change(sock, ifindex, master=0)
        assert link.get_by_index(sock, ifindex).master == 0


def test_a_change_that_cannot_be_is_refused_with_the_kernels_words(netns: NetnsFactory) -> None:
    with netns("host").netlink() as sock:
        ifindex = veth(sock).ifindex
        with pytest.raises(Refused, match=r"change link \d+: Invalid argument \(mtu less than device minimum\)"):
            link.change(sock, ifindex, mtu=1)


def test_deletion_takes_the_peer_and_may_be_repeated(netns: NetnsFactory) -> None:
    with netns("host").netlink() as sock:
        ifindex = veth(sock).ifindex
        link.delete(sock, ifindex)
        assert [row.name for row in link.dump(sock)] == ["lo"]
        link.delete(sock, ifindex)


def test_the_loopback_cannot_be_deleted(netns: NetnsFactory) -> None:
    with netns("host").netlink() as sock, pytest.raises(Unsupported):
        link.delete(sock, link.get(sock, "lo").ifindex)
