"""A link of 1400 bytes between two routers, found from a host that knows of neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.netns.conftest import Namespace, NetnsFactory
from tests.netns.doctor.conftest import Examine
from tortie.bootstrap import Bootstrap
from tortie.doctor import path_mtu
from tortie.doctor.finding import Severity

PEERS = ("10.9.0.9", "fd09::9")


@pytest.fixture
def settings(tmp_path: Path) -> Bootstrap:
    config = tmp_path / "bird.conf"
    config.write_text("".join(f"  neighbor {peer} port 179 as 64512;\n" for peer in (*PEERS, "172.18.203.77")))
    return Bootstrap(bird_config=str(config))


@pytest.fixture
def routers(host: Namespace, netns: NetnsFactory) -> tuple[Namespace, Namespace]:
    near, beyond = netns("r1"), netns("r2")
    host.run("ip link del eth0")
    for left, name, right, peer in ((host, "eth0", near, "in"), (near, "out", beyond, "in")):
        left.run(f"ip link add {name} type veth peer name {peer} netns {right.name} && ip link set {name} up")
        right.run(f"ip link set {peer} up")
    host.run("ip addr add 172.18.203.125/24 dev eth0 && ip addr add fd00:203::125/64 dev eth0 nodad")
    host.run("ip route add default via 172.18.203.1 && ip route add default via fd00:203::1")
    near.run("ip addr add 172.18.203.1/24 dev in && ip addr add fd00:203::1/64 dev in nodad")
    near.run("ip addr add 10.8.0.1/24 dev out && ip addr add fd08::1/64 dev out nodad")
    near.run("ip route add 10.9.0.0/24 via 10.8.0.2 && ip route add fd09::/64 via fd08::2")
    beyond.run(
        "ip addr add 10.8.0.2/24 dev in && ip addr add fd08::2/64 dev in nodad && ip addr add 10.9.0.9/24 dev lo"
    )
    beyond.run("ip addr add fd09::9/64 dev lo && ip route add default via 10.8.0.1 && ip route add default via fd08::1")
    for each in (near, beyond):
        each.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    return near, beyond


def narrow(near: Namespace, beyond: Namespace) -> None:
    near.run("ip link set out mtu 1400")
    beyond.run("ip link set in mtu 1400")


def test_a_way_that_takes_all(routers: tuple[Namespace, Namespace], examine: Examine) -> None:
    assert examine(path_mtu.check) == []


def test_the_link_is_named_by_the_router_that_tells(routers: tuple[Namespace, Namespace], examine: Examine) -> None:
    narrow(*routers)
    found = examine(path_mtu.check)
    assert [(each.severity, each.what, each.where) for each in found] == [
        (
            Severity.WARNING,
            f"a link on the way to {peer} takes packets of 1400 bytes only",
            f"behind the router {router}, which says so",
        )
        for peer, router in zip(PEERS, ("172.18.203.1", "fd00:203::1"), strict=True)
    ]


def test_a_router_that_keeps_silent(routers: tuple[Namespace, Namespace], examine: Examine) -> None:
    near, beyond = routers
    narrow(near, beyond)
    near.run(
        "nft 'table inet quiet { chain out { type filter hook output priority 0;"
        " icmp type destination-unreachable drop; icmpv6 type packet-too-big drop; }; }'"
    )
    assert [each.what for each in examine(path_mtu.check)] == [
        f"packets of 1500 bytes vanish on the way to {peer}, and nobody says why" for peer in PEERS
    ]
