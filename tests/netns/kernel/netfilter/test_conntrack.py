"""Connections as a real kernel tracks them."""

from __future__ import annotations

import socket
from sys import byteorder

import pytest

from tests.netns.conftest import NetnsFactory
from tests.netns.kernel.netfilter.nft import INET, TABLE, connected, ip
from tests.netns.kernel.netfilter.path import V4, V6, Addresses, Path
from tortie.kernel.netfilter import chain, conntrack, rule
from tortie.kernel.netfilter.chain import Chain, Hook, InetHook, Priority
from tortie.kernel.netfilter.conntrack import ALL, Connection, Filter, Status, Tuple
from tortie.kernel.netfilter.expression import Cmp, Ct, CtKey, Expression, Meta, MetaKey
from tortie.kernel.netfilter.message import Family
from tortie.kernel.netfilter.rule import Rule, body
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.statement import Immediate, Masquerade, Nat, NatType, SetCt
from tortie.kernel.netfilter.transaction import commit

BOTH = pytest.mark.parametrize("net", [V4, V6], ids=["IPv4", "IPv6"])
MARK = 0x1234
UDP = (Meta(MetaKey.L4PROTO), Cmp(b"\x11"))


@pytest.fixture
def tracked(path: Path) -> Path:
    """Connections are tracked, and those of UDP marked."""
    forward = Chain(INET, TABLE, "forward", Hook(InetHook.FORWARD))
    mark: list[Expression] = [*UDP, Immediate(MARK.to_bytes(4, byteorder)), SetCt(CtKey.MARK)]
    commit(path.sock, [chain.add(forward), rule.append(Rule(INET, TABLE, "forward", body([Ct(CtKey.STATE), *mark])))])
    return path


def listed(sock: NetfilterSocket, wanted: Filter = ALL, protocol: int | None = None) -> list[Connection]:
    """Without the kernel's own chatter of neighbour discovery."""
    found = [one for piece in conntrack.walk(sock, wanted) for one in piece]
    protocols = (6, 17, 136) if protocol is None else (protocol,)
    return [one for one in found if one.original.protocol in protocols]


def datagram(path: Path, net: Addresses, port: int, answer: bool = False, protocol: int = socket.IPPROTO_UDP) -> int:
    """From a to that port of b, and back; returns a's port."""
    client, server = path.udp(path.a, net.a, 0, protocol), path.udp(path.b, net.b, port, protocol)
    client.sendto(b"x", (net.b, port))
    _, seen = server.recvfrom(10)
    if answer:
        server.sendto(b"y", seen)
        client.recv(10)
    return int(client.getsockname()[1])


@BOTH
def test_udp(tracked: Path, net: Addresses) -> None:
    port = datagram(tracked, net, 1001)
    (found,) = listed(tracked.sock)
    assert found.original == Tuple(ip(net.a), ip(net.b), socket.IPPROTO_UDP, port, 1001)
    assert found.reply == Tuple(ip(net.b), ip(net.a), socket.IPPROTO_UDP, 1001, port)
    assert found.mark == MARK
    assert Status(found.status) & (Status.CONFIRMED | Status.SEEN_REPLY) == Status.CONFIRMED
    assert 0 < found.timeout_s <= 30
    assert found.id


@BOTH
def test_those_between_two_addresses(tracked: Path, net: Addresses) -> None:
    port = datagram(tracked, net, 1001)
    for ends, ports in (((net.a, net.b), [port]), ((net.b, net.a), []), ((net.a, net.a), [])):
        wanted = Filter(ends=(ip(ends[0]), ip(ends[1])))
        assert [each.original.source_port for each in listed(tracked.sock, wanted)] == ports


@BOTH
def test_udp_lite(tracked: Path, net: Addresses) -> None:
    try:
        socket.socket(net.family, socket.SOCK_DGRAM, socket.IPPROTO_UDPLITE).close()
    except OSError:
        pytest.skip("this kernel has no UDP-Lite")
    # Linux sums up UDP-Lite as if it were UDP (nf_conntrack_proto_udp.c) and calls the right sum invalid.
    tracked.host.run("sysctl -qw net.netfilter.nf_conntrack_checksum=0")
    port = datagram(tracked, net, 1001, protocol=socket.IPPROTO_UDPLITE)
    found = listed(tracked.sock)
    assert [one.original for one in found] == [Tuple(ip(net.a), ip(net.b), socket.IPPROTO_UDPLITE, port, 1001)]
    assert conntrack.delete(tracked.sock, found) == {}
    assert listed(tracked.sock) == []


@BOTH
def test_tcp_is_assured(tracked: Path, net: Addresses) -> None:
    client, server = tracked.tcp(net.b, 80)
    client.send(b"question")
    assert server.recv(100) == b"question"
    (found,) = listed(tracked.sock)
    port = client.getsockname()[1]
    assert found.original == Tuple(ip(net.a), ip(net.b), socket.IPPROTO_TCP, port, 80)
    assert found.status & Status.ASSURED
    assert not found.status & (Status.SOURCE_NAT | Status.DESTINATION_NAT | Status.DYING)
    assert found.mark == 0


@BOTH
def test_a_ping(tracked: Path, net: Addresses) -> None:
    tracked.a.run(f"ping -c 1 -W 5 -e 77 {net.b}")
    protocol, request, reply = (1, 8, 0) if net is V4 else (58, 128, 129)
    found = [one for one in listed(tracked.sock, protocol=protocol) if one.original.icmp_type == request]
    (ping,) = found
    assert ping.original == Tuple(ip(net.a), ip(net.b), protocol, icmp_id=77, icmp_type=request)
    assert ping.reply == Tuple(ip(net.b), ip(net.a), protocol, icmp_id=77, icmp_type=reply)
    assert conntrack.delete(tracked.sock, found) == {}
    assert [one for one in listed(tracked.sock, protocol=protocol) if one.original.icmp_type == request] == []


@BOTH
def test_translation_shows_in_the_reply(tracked: Path, net: Addresses) -> None:
    family = Family.IP if net is V4 else Family.IP6
    pre = Chain(INET, TABLE, "pre", Hook(InetHook.PREROUTING, Priority.DNAT, type="nat"))
    post = Chain(INET, TABLE, "post", Hook(InetHook.POSTROUTING, Priority.SNAT, type="nat"))
    commit(
        tracked.sock,
        [
            *(chain.add(pre), chain.add(post)),
            rule.append(Rule(INET, TABLE, "pre", body([Immediate(ip(net.b)), Nat(NatType.DESTINATION, family, 0)]))),
            rule.append(Rule(INET, TABLE, "post", body([Masquerade()]))),
        ],
    )
    client, server = tracked.udp(tracked.a, net.a), tracked.udp(tracked.b, net.b, 1001)
    client.sendto(b"x", (net.host_a, 1001))
    assert server.recv(10) == b"x"
    (found,) = listed(tracked.sock)
    assert (found.original.source, found.original.destination) == (ip(net.a), ip(net.host_a))
    assert (found.reply.source, found.reply.destination) == (ip(net.b), ip(net.host_b))
    both = Status.SOURCE_NAT | Status.DESTINATION_NAT
    assert Status(found.status) & both == both


class TestFilters:
    @pytest.fixture(autouse=True)
    def flows(self, tracked: Path) -> None:
        datagram(tracked, V4, 1001)
        datagram(tracked, V6, 1002, answer=True)
        client, server = tracked.tcp(V4.b, 80)
        client.send(b"x")
        server.recv(1)

    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            (ALL, {1001, 1002, 80}),
            (Filter(family=socket.AF_INET), {1001, 80}),
            (Filter(family=socket.AF_INET6), {1002}),
            (Filter(mark=MARK, mark_mask=0xFFFF), {1001, 1002}),
            (Filter(mark=0, mark_mask=0xFFFF), {80}),
            (Filter(status=Status.SEEN_REPLY, status_mask=Status.SEEN_REPLY), {1002, 80}),
            (Filter(status=0, status_mask=Status.SEEN_REPLY), {1001}),
            (Filter(zone=0), {1001, 1002, 80}),
            (Filter(zone=7), set()),
        ],
    )
    def test_a_filter(self, tracked: Path, wanted: Filter, expected: set[int]) -> None:
        assert {one.original.destination_port for one in listed(tracked.sock, wanted)} == expected


class TestDelete:
    def test_only_what_is_named_goes(self, tracked: Path) -> None:
        for port in (1001, 1002, 1003):
            datagram(tracked, V4, port)
            datagram(tracked, V6, port)
        before = conntrack.count(tracked.sock)
        going = [one for one in listed(tracked.sock) if one.original.destination_port != 1002]
        assert conntrack.delete(tracked.sock, going) == {}
        assert [one.original.destination_port for one in listed(tracked.sock)] == [1002, 1002]
        assert conntrack.count(tracked.sock) == before - 4

    def test_one_that_is_gone_is_no_error(self, tracked: Path) -> None:
        datagram(tracked, V4, 1001)
        found = listed(tracked.sock)
        assert conntrack.delete(tracked.sock, found) == {}
        assert conntrack.delete(tracked.sock, found) == {}

    def test_a_later_connection_of_the_same_tuple_stays(self, tracked: Path) -> None:
        datagram(tracked, V4, 1001)
        (found,) = listed(tracked.sock)
        assert conntrack.delete(tracked.sock, [found._replace(id=found.id ^ 1)]) == {}
        assert [one.id for one in listed(tracked.sock)] == [found.id]

    def test_many_go_at_once_also_after_a_small_transaction(self, tracked: Path) -> None:
        datagram(tracked, V4, 1001)
        (found,) = listed(tracked.sock)
        others = [found._replace(original=found.original._replace(source_port=port)) for port in range(1, 1000)]
        assert conntrack.delete(tracked.sock, [*others, found]) == {}
        assert listed(tracked.sock) == []

    def test_nothing_deletes_nothing(self, tracked: Path) -> None:
        datagram(tracked, V4, 1001)
        assert conntrack.delete(tracked.sock, []) == {}
        assert len(listed(tracked.sock)) == 1


def test_only_the_connections_of_the_namespace(tracked: Path, netns: NetnsFactory) -> None:
    datagram(tracked, V4, 1001)
    with connected(netns("other")) as elsewhere:
        assert conntrack.count(elsewhere) == 0
        assert listed(elsewhere) == []
        assert conntrack.delete(elsewhere, listed(tracked.sock)) == {}
    assert len(listed(tracked.sock)) == 1
