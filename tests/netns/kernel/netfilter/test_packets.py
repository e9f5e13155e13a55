"""What rules do to packets: passed, dropped, answered, translated, marked.

Packets of one sender stay in order here, so one that was dropped is known by a later one that came.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Sequence
from sys import byteorder

import pytest

from tests.netns.kernel.netfilter.nft import INET, TABLE, ip
from tests.netns.kernel.netfilter.path import V4, V6, Addresses, Path, waiting
from tortie.kernel.netfilter import chain, conntrack, elements, rule, sets, table
from tortie.kernel.netfilter.chain import ArpHook, Chain, Hook, InetHook, NetdevHook, Priority
from tortie.kernel.netfilter.datatype import IFNAME, IPV4, IPV6, SERVICE, VERDICT, concatenate, ifname
from tortie.kernel.netfilter.elements import Element
from tortie.kernel.netfilter.expression import (
    VERDICT_REGISTER,
    Base,
    Bitwise,
    Cmp,
    Ct,
    CtKey,
    CtState,
    Expression,
    Fib,
    FibFlag,
    FibResult,
    Lookup,
    Meta,
    MetaKey,
    Op,
    Payload,
    Range,
)
from tortie.kernel.netfilter.message import Family
from tortie.kernel.netfilter.rule import Rule, body
from tortie.kernel.netfilter.sets import Set
from tortie.kernel.netfilter.statement import (
    Counter,
    Decide,
    Immediate,
    Limit,
    Masquerade,
    Nat,
    NatType,
    Notrack,
    Reject,
    RejectType,
    SetMeta,
)
from tortie.kernel.netfilter.table import Table
from tortie.kernel.netfilter.transaction import commit
from tortie.kernel.netfilter.verdict import ACCEPT, DROP, RETURN, Code, Verdict, goto, jump

FORWARD = Chain(INET, TABLE, "forward", Hook(InetHook.FORWARD))
UDP = (Meta(MetaKey.L4PROTO), Cmp(b"\x11"))
TCP = (Meta(MetaKey.L4PROTO), Cmp(b"\6"))
PORT = Payload(Base.TRANSPORT, 2, 2)
ESTABLISHED = (
    Ct(CtKey.STATE),
    Bitwise(CtState.ESTABLISHED.to_bytes(4, byteorder), bytes(4)),
    Cmp(bytes(4), Op.NEQ),
)

BOTH = pytest.mark.parametrize("net", [V4, V6], ids=["IPv4", "IPv6"])


def port(number: int) -> bytes:
    return struct.pack(">H", number)


def source(net: Addresses) -> tuple[Expression, ...]:
    """Loads the source address of a packet of that family."""
    if net is V4:
        return (Meta(MetaKey.NFPROTO), Cmp(b"\2"), Payload(Base.NETWORK, 12, 4))
    return (Meta(MetaKey.NFPROTO), Cmp(b"\x0a"), Payload(Base.NETWORK, 8, 16))


def install(path: Path, base: Chain, *bodies: Sequence[Expression]) -> None:
    rules = [rule.append(Rule(base.family, TABLE, base.name, body(pieces))) for pieces in bodies]
    commit(path.sock, [chain.add(base), *rules])


def passes(path: Path, net: Addresses, number: int) -> bool:
    """Whether a datagram from a to that port of b comes, told by a later one to a port that nothing forbids."""
    with path.udp(path.a, net.a) as sender, path.udp(path.b, net.b, number) as asked, path.udp(path.b, net.b) as other:
        sender.sendto(b"asked", (net.b, number))
        sender.sendto(b"other", (net.b, other.getsockname()[1]))
        assert other.recv(100) == b"other"
        return waiting(asked)


@BOTH
def test_a_port_is_dropped_and_counted(path: Path, net: Addresses) -> None:
    install(path, FORWARD, [*UDP, PORT, Cmp(port(1001)), Counter(), Decide(DROP)])
    assert not passes(path, net, 1001)
    assert passes(path, net, 1002)
    (found,) = rule.dump(path.sock, INET, TABLE)
    headers = 28 if net is V4 else 48
    assert rule.figures(found.expressions) == [(1, headers + len(b"asked"))]


def test_ports_of_a_range(path: Path) -> None:
    install(path, FORWARD, [*UDP, PORT, Range(port(1001), port(1003)), Decide(DROP)])
    assert [passes(path, V4, number) for number in (1000, 1001, 1003, 1004)] == [True, False, False, True]


@BOTH
@pytest.mark.parametrize("interval", [False, True], ids=["hash", "tree"])
@pytest.mark.parametrize("inverted", [False, True], ids=["in", "not in"])
def test_members_of_a_set(path: Path, net: Addresses, interval: bool, inverted: bool) -> None:
    members = Set(INET, TABLE, "s", (IPV4 if net is V4 else IPV6,), interval=interval)
    commit(path.sock, [sets.add(members)])
    install(path, FORWARD, [*source(net), Lookup("s", inverted), *UDP, PORT, Cmp(port(1001)), Decide(DROP)])
    assert passes(path, net, 1001) is not inverted
    member = Element(ip(net.a), ip(net.a[:-1] + "9") if interval else None)
    commit(path.sock, elements.add(members, [member]))
    assert passes(path, net, 1001) is inverted
    commit(path.sock, elements.delete(members, [member]))
    assert passes(path, net, 1001) is not inverted


@pytest.mark.parametrize("interval", [False, True], ids=["hash", "intervals"])
def test_members_of_a_concatenation(path: Path, interval: bool) -> None:
    pairs = Set(INET, TABLE, "s", (IPV4, SERVICE), interval=interval)
    last = concatenate(ip("10.0.1.9"), port(1002)) if interval else None
    commit(path.sock, [sets.add(pairs)])
    commit(path.sock, elements.add(pairs, [Element(concatenate(ip(V4.a), port(1001)), last)]))
    install(path, FORWARD, [*UDP, *source(V4), PORT._replace(register=1), Lookup("s"), Decide(DROP)])
    assert [passes(path, V4, number) for number in (1001, 1002, 1003)] == [False, not interval, True]


@pytest.mark.parametrize("call", [goto, jump])
def test_a_map_leads_an_interface_to_its_chain(path: Path, call: Callable[[str], Verdict]) -> None:
    dispatch = Set(INET, TABLE, "dispatch", (IFNAME,), (VERDICT,))
    commit(path.sock, [sets.add(dispatch), chain.add(Chain(INET, TABLE, "of_a"))])
    dropped: list[Expression] = [*UDP, PORT, Cmp(port(1001)), Decide(DROP)]
    commit(path.sock, [rule.append(Rule(INET, TABLE, "of_a", body(dropped)))])
    install(path, FORWARD, [Meta(MetaKey.IIFNAME), Lookup("dispatch", into=VERDICT_REGISTER)])
    assert passes(path, V4, 1001)
    member = Element(ifname("to_a"), data=call("of_a"))
    commit(path.sock, elements.add(dispatch, [member]))
    assert not passes(path, V4, 1001)
    commit(path.sock, [*elements.delete(dispatch, [member]), *elements.add(dispatch, [member._replace(data=ACCEPT)])])
    assert passes(path, V4, 1001)


def test_a_policy_closes_what_no_rule_opens(path: Path) -> None:
    closed = Chain(INET, TABLE, "forward", Hook(InetHook.FORWARD, policy=Code.DROP))
    install(path, closed, [*UDP, PORT, Cmp(port(2000), Op.GTE), Decide(ACCEPT)], [Decide(RETURN)])
    assert not passes(path, V4, 1001)
    assert passes(path, V4, 2001)


@BOTH
def test_answers_pass_where_questions_do_not(path: Path, net: Addresses) -> None:
    from_b = (Meta(MetaKey.IIFNAME), Cmp(b"to_b\0"))
    install(path, FORWARD, [*ESTABLISHED, Decide(ACCEPT)], [*from_b, *UDP, Counter(), Decide(DROP)])
    client, server = path.udp(path.a, net.a), path.udp(path.b, net.b, 1001)
    other = path.udp(path.a, net.a)
    client.sendto(b"question", (net.b, 1001))
    assert server.recv(100) == b"question"
    server.sendto(b"unasked", other.getsockname()[:2])
    server.sendto(b"answer", client.getsockname()[:2])
    assert client.recv(100) == b"answer"
    assert not waiting(other)


@BOTH
def test_a_rejected_datagram_is_answered(path: Path, net: Addresses) -> None:
    install(path, FORWARD, [*UDP, PORT, Cmp(port(1001)), Reject()])
    client = path.udp(path.a, net.a)
    client.connect((net.b, 1001))
    client.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        client.recv(100)


@BOTH
def test_a_rejected_connection_is_reset(path: Path, net: Addresses) -> None:
    install(path, FORWARD, [*TCP, PORT, Cmp(port(1001)), Reject(RejectType.TCP_RESET)])
    path.listen(net.b, 1001)
    with pytest.raises(OSError) as caught:
        path.connect(net.b, 1001)
    assert caught.value.errno == errno.ECONNREFUSED


@BOTH
def test_destination_and_source_are_translated(path: Path, net: Addresses) -> None:
    family = Family.IP if net is V4 else Family.IP6
    to_b: list[Expression] = [Immediate(ip(net.b)), Immediate(port(1001), 4), Nat(NatType.DESTINATION, family, 0, 4)]
    before = Chain(INET, TABLE, "pre", Hook(InetHook.PREROUTING, Priority.DNAT, type="nat"))
    after = Chain(INET, TABLE, "post", Hook(InetHook.POSTROUTING, Priority.SNAT, type="nat"))
    install(path, before, [*UDP, PORT, Cmp(port(53)), *to_b])
    install(path, after, [Meta(MetaKey.OIFNAME), Cmp(b"to_b\0"), Masquerade()])
    client, server = path.udp(path.a, net.a), path.udp(path.b, net.b, 1001)
    client.sendto(b"question", (net.host_a, 53))
    words, seen = server.recvfrom(100)
    assert (words, seen[0]) == (b"question", net.host_b)
    server.sendto(b"answer", seen)
    words, answerer = client.recvfrom(100)
    assert (words, answerer[:2]) == (b"answer", (net.host_a, 53))


def test_a_mark_is_set_and_matched(path: Path) -> None:
    before = Chain(INET, TABLE, "pre", Hook(InetHook.PREROUTING, Priority.MANGLE))
    mark = (0x10).to_bytes(4, byteorder)
    install(path, before, [*UDP, PORT, Cmp(port(1001)), Immediate(mark), SetMeta(MetaKey.MARK)])
    install(path, FORWARD, [Meta(MetaKey.MARK), Bitwise(mark, bytes(4)), Cmp(mark), Decide(DROP)])
    assert not passes(path, V4, 1001)
    assert passes(path, V4, 1002)


def test_a_limit_lets_a_burst_pass(path: Path) -> None:
    burst = 3
    to_port: tuple[Expression, ...] = (*UDP, PORT, Cmp(port(1001)))
    limited: list[Expression] = [*to_port, Limit(1, per_s=24 * 3600, burst=burst), Counter(), Decide(ACCEPT)]
    install(path, FORWARD, limited, [*to_port, Counter(), Decide(DROP)])
    assert [passes(path, V4, 1001) for _ in range(5)] == [True] * burst + [False] * 2
    counted = [rule.figures(found.expressions)[0].packets for found in rule.dump(path.sock, INET, TABLE)]
    assert counted == [burst, 5 - burst]


@BOTH
def test_a_source_that_is_not_behind_its_interface(path: Path, net: Addresses) -> None:
    missing = (Fib(FibResult.OIF, FibFlag.SOURCE | FibFlag.IIF | FibFlag.PRESENT), Cmp(bytes(4)))
    raw = Chain(INET, TABLE, "raw", Hook(InetHook.PREROUTING, Priority.RAW))
    spoofed = "10.9.9.9" if net is V4 else "fd09::9"
    path.a.run(f"ip addr add {spoofed}{'/32' if net is V4 else '/128 nodad'} dev lo")
    install(path, raw, [*missing, Counter(), Decide(DROP)])
    receiver = path.udp(path.b, net.b, 1001)
    path.udp(path.a, spoofed).sendto(b"spoofed", (net.b, 1001))
    path.udp(path.a, net.a).sendto(b"honest", (net.b, 1001))
    assert receiver.recv(100) == b"honest"


def test_untracked_packets_leave_no_entry(path: Path) -> None:
    raw = Chain(INET, TABLE, "raw", Hook(InetHook.PREROUTING, Priority.RAW))
    install(path, raw, [*UDP, PORT, Cmp(port(1001)), Notrack()])
    install(path, FORWARD, [*ESTABLISHED, Decide(ACCEPT)])
    assert passes(path, V4, 1001)
    ports = {one.original.destination_port for piece in conntrack.walk(path.sock) for one in piece}
    assert ports
    assert 1001 not in ports


def test_the_ingress_of_a_device(path: Path) -> None:
    ingress = Chain(Family.NETDEV, TABLE, "in", Hook(NetdevHook.INGRESS, device="to_a"))
    commit(path.sock, [table.put(Table(Family.NETDEV, TABLE))])
    install(path, ingress, [*UDP, PORT, Cmp(port(1001)), Decide(DROP)])
    assert not passes(path, V4, 1001)
    assert passes(path, V4, 1002)


def test_arp_is_left_without_an_answer(path: Path) -> None:
    asked = Chain(Family.ARP, TABLE, "in", Hook(ArpHook.INPUT))
    target = Payload(Base.NETWORK, 24, 4)
    commit(path.sock, [table.put(Table(Family.ARP, TABLE))])
    install(path, asked, [target, Cmp(ip(V4.host_a)), Counter(), Decide(DROP)])
    path.host.run("ip addr add 10.0.1.3/24 dev to_a")
    assert "Received 0 response" in path.a.run(f"arping -c 1 -w 1 -I eth0 {V4.host_a}", check=False)
    assert "Received 1 response" in path.a.run("arping -c 1 -w 5 -I eth0 10.0.1.3")
    (found,) = rule.dump(path.sock, Family.ARP, TABLE)
    assert rule.figures(found.expressions)[0].packets >= 1


def test_no_packet_slips_through_a_chain_that_is_rewritten(path: Path) -> None:
    """A chain is emptied and filled again in one transaction, while packets come: none meets the empty chain."""
    denied = rule.append(Rule(INET, TABLE, "forward", body([*UDP, PORT, Cmp(port(1001)), Decide(DROP)])))
    commit(path.sock, [chain.add(FORWARD), denied])
    sender, receiver = path.udp(path.a, V4.a), path.udp(path.b, V4.b, 1001)
    for _ in range(300):
        for _ in range(5):
            sender.sendto(b"denied", (V4.b, 1001))
        commit(path.sock, [chain.flush(FORWARD), denied])
    assert not waiting(receiver)
    commit(path.sock, [chain.flush(FORWARD)])
    sender.sendto(b"allowed", (V4.b, 1001))
    assert receiver.recv(100) == b"allowed"
