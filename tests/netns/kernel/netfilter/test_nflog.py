"""Packets that a real kernel logs."""

from __future__ import annotations

import select
import time

import pytest

from tests.netns.kernel.netfilter.nft import INET, TABLE
from tests.netns.kernel.netfilter.path import V4, V6, Addresses, Path
from tortie.errors import Refused
from tortie.kernel.netfilter import chain, rule
from tortie.kernel.netfilter.chain import Chain, Hook, InetHook
from tortie.kernel.netfilter.expression import Base, Cmp, Expression, Meta, MetaKey, Payload
from tortie.kernel.netfilter.nflog import Logged, LogSocket, Lost, Packet
from tortie.kernel.netfilter.rule import Rule, body
from tortie.kernel.netfilter.statement import Decide, Log
from tortie.kernel.netfilter.transaction import commit
from tortie.kernel.netfilter.verdict import DROP
from tortie.kernel.netlink import link

GROUP = 7
PORT = 1001


@pytest.fixture
def denied(path: Path) -> Path:
    """Datagrams to the port are logged and dropped."""
    to_port: list[Expression] = [
        Meta(MetaKey.L4PROTO),
        Cmp(b"\x11"),
        Payload(Base.TRANSPORT, 2, 2),
        Cmp(PORT.to_bytes(2, "big")),
    ]
    dropped = Rule(INET, TABLE, "forward", body([*to_port, Log(GROUP, "deny udp", 64), Decide(DROP)]))
    commit(path.sock, [chain.add(Chain(INET, TABLE, "forward", Hook(InetHook.FORWARD))), rule.append(dropped)])
    return path


def wait(log: LogSocket, packets: int) -> list[Logged]:
    """What was logged, when so many packets are read or known to be lost."""
    logged: list[Logged] = []
    while sum(one.packets if isinstance(one, Lost) else 1 for one in logged) < packets:
        readable, _, _ = select.select([log.fileno()], [], [], 5)
        assert readable, f"only {len(logged)} logged"
        logged += log.read(10)
    return logged


@pytest.mark.parametrize("net", [V4, V6], ids=["IPv4", "IPv6"])
def test_a_dropped_packet_is_told(denied: Path, net: Addresses) -> None:
    with denied.host.call(lambda: LogSocket(GROUP)) as log, denied.host.netlink() as sock, denied.a.netlink() as guest:
        denied.udp(denied.a, net.a).sendto(b"x" * 100, (net.b, PORT))
        (packet,) = wait(log, 1)
        assert isinstance(packet, Packet)
        indexes = link.get(sock, "to_a").ifindex, link.get(sock, "to_b").ifindex
        assert (packet.in_ifindex, packet.out_ifindex) == indexes
        assert packet.source_mac == link.get(guest, "eth0").mac
    assert (packet.prefix, packet.hook, packet.mark) == ("deny udp", InetHook.FORWARD, 0)
    assert packet.ethertype == (0x0800 if net is V4 else 0x86DD)
    assert len(packet.payload) == 64
    assert packet.payload[0] >> 4 == (4 if net is V4 else 6)
    assert packet.time_s is None or abs(packet.time_s - time.time()) < 60


def test_a_quiet_group_has_nothing(denied: Path) -> None:
    with denied.host.call(lambda: LogSocket(GROUP)) as log:
        assert log.read(10) == []


def test_the_snap_length_of_the_socket_bounds_the_copy(denied: Path) -> None:
    with denied.host.call(lambda: LogSocket(GROUP, snap_bytes=20)) as log:
        denied.udp(denied.a, V4.a).sendto(b"x", (V4.b, PORT))
        (packet,) = wait(log, 1)
    assert isinstance(packet, Packet)
    assert len(packet.payload) == 20


def test_a_group_has_one_listener(denied: Path) -> None:
    with denied.host.call(lambda: LogSocket(GROUP)), pytest.raises(Refused, match="nflog group 7"):
        denied.host.call(lambda: LogSocket(GROUP))


def test_a_group_is_free_again_when_its_listener_closes(denied: Path) -> None:
    denied.host.call(lambda: LogSocket(GROUP)).close()
    with denied.host.call(lambda: LogSocket(GROUP)) as log:
        denied.udp(denied.a, V4.a).sendto(b"x", (V4.b, PORT))
        assert len(wait(log, 1)) == 1


def test_what_did_not_fit_is_told_as_a_number(denied: Path) -> None:
    sent = 2000
    with denied.host.call(lambda: LogSocket(GROUP, buffer_bytes=16 * 1024)) as log:
        sender = denied.udp(denied.a, V4.a)
        for _ in range(sent):
            sender.sendto(b"x" * 60, (V4.b, PORT))
        first = wait(log, 1)
        while found := log.read(100):
            first += found
        for _ in range(sent):
            sender.sendto(b"y", (V4.b, PORT))
            if more := log.read(100):
                break
        logged = first + more
    lost = [one.packets for one in logged if isinstance(one, Lost)]
    assert lost
    assert sum(lost) + sum(isinstance(one, Packet) for one in logged) > sent
