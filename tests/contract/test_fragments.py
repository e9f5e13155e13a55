"""Fragments: the kernel puts together what came by different interfaces, so who sends one is asked before that."""

from __future__ import annotations

import struct
from ipaddress import ip_network

import msgspec
import pytest

from tests.contract.arena import HOST_MAC, A, B, Port
from tests.contract.test_life import ALL, RECEIVER, SENDER, Host, host
from tests.contract.wire import MAGIC, MARK
from tests.netns.agent.crafted import DESTINATION, FRAGMENT, frame, ip, piece, udp
from tortie.intent.packet import UDP
from tortie.intent.state import PolicyChanges
from tortie.intent.verdict import Reason

__all__ = ["host"]

A4, A6 = map(str, A.addresses)
B4, B6 = map(str, B.addresses)
W4, W6 = "198.51.100.1", "2001:db8::1"
BOTH_FAMILIES = pytest.mark.parametrize(("sender", "world"), [(B4, W4), (B6, W6)])


def halves(source: str, destination: str, number: int) -> tuple[bytes, bytes]:
    """A datagram in two fragments; its mark is in the second."""
    whole = udp(source, destination, (9, 80), bytes(16) + MARK.pack(MAGIC, number))
    return (
        piece(source, destination, UDP, whole[:24], 0, more=True, identity=number),
        piece(source, destination, UDP, whole[24:], 24, more=False, identity=number),
    )


def arrives(host: Host, number: int, *sent: tuple[Port, bytes]) -> bool:
    """Whether the datagram of that number comes out, when each of these sent his part."""
    for port, part in sent:
        host.arena.send_frame(port.interface, frame(part, port.mac, HOST_MAC))
    return number in host.arena.received(set())


@BOTH_FAMILIES
def test_nobody_finishes_what_another_began(host: Host, sender: str, world: str) -> None:
    host.take(ALL)
    first, last = halves(sender, world, 1)
    assert not arrives(host, 1, (A, last), (B, first))
    assert host.drops() == {Reason.SPOOFED_ADDRESS: 1}
    first, last = halves(sender, world, 2)
    assert not arrives(host, 2, (B, last), (A, first))
    assert host.drops() == {Reason.SPOOFED_ADDRESS: 2}
    first, last = halves(sender, world, 3)
    assert arrives(host, 3, (B, last), (B, first))


def test_a_fragment_is_found_behind_other_headers(host: Host) -> None:
    host.take(ALL)
    first, last = halves(B6, W6, 1)
    hidden = ip(B6, W6, DESTINATION, struct.pack("!BBBB4s", FRAGMENT, 0, 1, 4, b"") + last[40:])
    assert not arrives(host, 1, (A, hidden), (B, first))
    assert arrives(host, 1, (B, hidden))
    assert host.drops() == {Reason.SPOOFED_ADDRESS: 1}


@BOTH_FAMILIES
def test_nobody_without_an_endpoint_finishes_anything(host: Host, sender: str, world: str) -> None:
    """Before it has one, and when it has none any more; also while nobody looks after it."""
    host.take(msgspec.structs.replace(ALL, workloads={RECEIVER.key: RECEIVER}))
    for number, change in enumerate((None, SENDER, None), 1):
        if number > 1:
            host.take(PolicyChanges(workloads={SENDER.key: change}))
        first, last = halves(sender, world, number)
        assert not arrives(host, number, (A, last), (B, first))
    found = host.drops()
    # The host's own neighbour discovery ends there too.
    assert found[Reason.UNKNOWN_INTERFACE] >= 2
    assert found[Reason.SPOOFED_ADDRESS] == 1
    host.stop()
    first, last = halves(sender, world, 4)
    assert not arrives(host, 4, (A, last), (B, first))
    host.start()


@BOTH_FAMILIES
def test_nobody_finishes_anything_by_an_interface_that_was_renamed(host: Host, sender: str, world: str) -> None:
    """It is closed whatever it begins with, until it has its name again."""
    host.take(ALL)
    host.arena.namespace.run("ip link set calia name other0")
    host.driver.see(governed={"other0", "calib"})
    host.settle()
    first, last = halves(sender, world, 1)
    assert not arrives(host, 1, (A, last), (B, first))
    assert host.drops()[Reason.UNKNOWN_INTERFACE] >= 1
    host.arena.namespace.run("ip link set other0 name calia")
    host.driver.see(governed={"calia", "calib"})
    host.settle()
    first, last = halves(sender, world, 2)
    assert not arrives(host, 2, (A, last), (B, first))
    assert host.drops()[Reason.SPOOFED_ADDRESS] == 1


@BOTH_FAMILIES
def test_nobody_is_asked_on_the_hosts_own_interface(host: Host, sender: str, world: str) -> None:
    host.backend.exempt(frozenset({"calia"}))
    host.take(ALL)
    first, last = halves(sender, world, 1)
    assert arrives(host, 1, (A, last), (B, first))
    host.backend.exempt(frozenset())
    host.settle()
    first, last = halves(sender, world, 2)
    assert not arrives(host, 2, (A, last), (B, first))


def test_fragments_of_an_endpoints_own_pass(host: Host) -> None:
    """From all that it may send from, but by its own MAC."""
    more = tuple(map(ip_network, ("203.0.113.0/25", "2001:db8:7::/64")))
    sender = msgspec.structs.replace(SENDER, allowed_sources=more)
    host.take(msgspec.structs.replace(ALL, workloads={SENDER.key: sender, RECEIVER.key: RECEIVER}))
    own = (A4, A6, "203.0.113.127", "2001:db8:7::9")
    others = ("203.0.113.128", "2001:db8:8::9", "10.65.0.3", "fd00:65::3")
    for number, source in enumerate((*own, *others)):
        first, last = halves(source, W6 if ":" in source else W4, number)
        assert arrives(host, number, (A, first), (A, last)) == (source in own), source
    assert host.drops() == {Reason.SPOOFED_ADDRESS: 2 * len(others)}
    first, last = halves("fe80::1:1", W6, 10)
    assert not arrives(host, 10, (A, first), (A, last)), "the kernel forwards nothing from a link's own address"
    assert host.drops() == {Reason.SPOOFED_ADDRESS: 2 * len(others)}
    forger = A._replace(mac="02:00:00:00:00:55")
    for number, (source, world) in enumerate(((A4, W4), (A6, W6)), 20):
        first, last = halves(source, world, number)
        assert not arrives(host, number, (forger, first), (A, last)), source
    assert host.drops() == {Reason.SPOOFED_ADDRESS: 2 * len(others), Reason.SPOOFED_MAC: 2}
