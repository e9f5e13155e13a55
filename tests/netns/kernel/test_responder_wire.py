"""The responder on the wire: a guest behind a veth or a real TAP, a host that would rather answer itself.

The host has proxy ARP and proxy NDP on and routes that make the kernel answer everything, the guest's own address
included. So silence proves that the program stopped the question, and a reply with the host end's MAC its answer.
A silent question is followed by one that is answered; what arrives first tells, and nobody sleeps.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import NamedTuple

import pytest

from tests.netns.conftest import Namespace, NetnsFactory
from tests.netns.kernel.frames import (
    ARP,
    BROADCAST,
    IPV6,
    SOLICITATION,
    ArpFrame,
    Ip,
    NdFrame,
    advertisement,
    arp_reply,
    arp_request,
    defence,
    ethernet,
    probe6,
    solicitation,
)
from tests.netns.kernel.oracle import wait_link
from tests.netns.kernel.responder import ANY_INTERFACE, HELD, OWN, Responder, loaded
from tortie.kernel import sysctl, tap
from tortie.kernel.netlink import address, link, tc
from tortie.kernel.netlink.address import Address
from tortie.kernel.netlink.link import VethEnd
from tortie.kernel.netlink.monitor import AddressAdded, Monitor

HOST_MAC = "ee:ee:ee:ee:ee:ee"
TAP_MAC = "fe:00:00:00:00:18"
GUEST_MAC = "02:00:00:00:00:18"

OWN4, OWN6 = ip_address("10.65.0.24"), ip_address("fd00::18")
HELD4, HELD6 = ip_address("172.18.203.5"), ip_address("fd01::5")
NEIGHBOUR4, NEIGHBOUR6 = ip_address("10.65.0.99"), ip_address("fd00::99")
FOREIGN4, FOREIGN6 = ip_address("8.8.8.8"), ip_address("2001:db8::8")
NOWHERE, UNSPECIFIED = ip_address("0.0.0.0"), ip_address("::")


class Wire(NamedTuple):
    """The guest's end: frames out, frames in."""

    host_mac: str
    send: Callable[[bytes], object]
    receive: Callable[[], bytes]

    def next_answer(self) -> ArpFrame | NdFrame:
        """The next ARP frame or advertisement; fails if none comes."""
        while True:
            frame = self.receive()
            protocol = int.from_bytes(frame[12:14], "big")
            if protocol == ARP:
                return ArpFrame.parse(frame)
            if protocol == IPV6 and frame[20] == socket.IPPROTO_ICMPV6 and frame[54] == SOLICITATION + 1:
                return NdFrame.parse(frame)

    def ask(self, frame: bytes) -> ArpFrame | NdFrame:
        self.send(frame)
        return self.next_answer()

    def expect_silence(self, frame: bytes, marker: Ip) -> None:
        """Sends a question, then one for `marker`; the answer to the latter must be the first."""
        self.send(frame)
        if marker.version == 4:
            answer: object = arp_reply(self.host_mac, marker, GUEST_MAC, OWN4)
            self.send(arp_request(GUEST_MAC, OWN4, marker).packed())
        else:
            answer = advertisement(self.host_mac, marker, GUEST_MAC, OWN6)
            self.send(solicitation(GUEST_MAC, OWN6, marker).packed())
        assert self.next_answer() == answer


def readable(descriptor: int) -> None:
    ready, _, _ = select.select([descriptor], [], [], 5)
    assert ready, "nothing came in 5 seconds"


def make_host_answer_everything(host: Namespace, end: str) -> None:
    """All that lets proxy ARP and NDP speak, on every address, over a second link."""
    host.run(
        "ip link add uplink type veth peer name fabric && ip link set uplink up && ip link set fabric up"
        f" && ip address add {HELD4}/32 dev uplink && ip -6 address add {HELD6}/128 dev uplink nodad"
        " && ip route add default dev uplink && ip -6 route add default dev uplink"
        f" && ip -6 neighbour add proxy {OWN6} dev {end} && ip -6 neighbour add proxy {NEIGHBOUR6} dev {end}"
    )

    def write() -> None:
        sysctl.write("ipv4/conf/all/forwarding", "1")
        sysctl.write("ipv6/conf/all/forwarding", "1")
        for family, name, value in (
            ("ipv4", "proxy_arp", "1"),
            ("ipv4", "rp_filter", "0"),
            ("ipv6", "proxy_ndp", "1"),
        ):
            sysctl.write(f"{family}/conf/{end}/{name}", value)
            sysctl.write(f"{family}/conf/all/{name}", value)
        for family in ("ipv4", "ipv6"):
            sysctl.write(f"{family}/neigh/{end}/proxy_delay", "0")

    host.call(write)


def govern(host: Namespace, responder: Responder, ifindex: int, mac: str) -> None:
    responder.add_endpoint(ifindex, mac)
    for own in (OWN4, OWN6):
        responder.add_address(ifindex, own, OWN)
    for held in (HELD4, HELD6):
        responder.add_address(ANY_INTERFACE, held, HELD)
    with host.netlink() as sock:
        tc.add_clsact(sock, ifindex)
        tc.put_filter(sock, ifindex, tc.Hook.INGRESS, 1, 1, "responder", responder.program.descriptor)


@pytest.fixture
def responder() -> Iterator[Responder]:
    with loaded() as found:
        yield found


@pytest.fixture
def veth(netns: NetnsFactory, responder: Responder) -> Iterator[Wire]:
    host, guest = netns("host"), netns("guest")
    with open(guest.path) as file, host.netlink() as sock, guest.netlink() as inside:  # noqa: PTH123
        link.create_veth(sock, VethEnd("cali1", mac=HOST_MAC), VethEnd("eth0", mac=GUEST_MAC, netns=file.fileno()))
        end = link.get(sock, "cali1").ifindex
        link.change(sock, end, up=True)
        guest_end = link.get(inside, "eth0").ifindex
        link.change(inside, guest_end, addr_gen_mode=link.ADDR_GEN_NONE, up=True)
    make_host_answer_everything(host, "cali1")
    govern(host, responder, end, HOST_MAC)
    wait_link(host, "cali1", lambda found: found.running)

    def open_socket() -> socket.socket:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        raw.bind(("eth0", 0x0003))
        return raw

    raw = guest.call(open_socket)

    def receive() -> bytes:
        while True:
            readable(raw.fileno())
            frame, sender = raw.recvfrom(65536)
            if sender[2] != socket.PACKET_OUTGOING:
                return frame

    with raw:
        yield Wire(HOST_MAC, raw.send, receive)


@pytest.fixture
def tap_wire(netns: NetnsFactory, responder: Responder) -> Iterator[Wire]:
    host = netns("host")
    descriptor = host.call(lambda: tap.open_tap("tapa429fb36-04"))
    try:
        with host.netlink() as sock:
            end = link.get(sock, "tapa429fb36-04").ifindex
            link.change(sock, end, mac=TAP_MAC, up=True)
        make_host_answer_everything(host, "tapa429fb36-04")
        govern(host, responder, end, TAP_MAC)

        def receive() -> bytes:
            readable(descriptor)
            return os.read(descriptor, 65536)

        yield Wire(TAP_MAC, lambda frame: os.write(descriptor, frame), receive)
    finally:
        os.close(descriptor)


@pytest.fixture(params=["veth", "tap_wire"], ids=["veth", "tap"])
def wire(request: pytest.FixtureRequest) -> Wire:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Wire)
    return found


@pytest.mark.parametrize("to", ["broadcast", "unicast", "stale"])
@pytest.mark.parametrize("target", [ip_address("169.254.1.1"), NEIGHBOUR4, FOREIGN4, HELD4], ids=str)
def test_arp_is_answered(wire: Wire, target: Ip, to: str) -> None:
    # A guest that moved here may still ask its former host, by name.
    destination = {"broadcast": BROADCAST, "unicast": wire.host_mac, "stale": "fe:00:00:00:00:99"}[to]
    answer = wire.ask(arp_request(GUEST_MAC, OWN4, target, destination).packed())
    assert answer == arp_reply(wire.host_mac, target, GUEST_MAC, OWN4)


@pytest.mark.parametrize("to", ["group", "unicast"])
@pytest.mark.parametrize("target", [ip_address("fe80::1"), NEIGHBOUR6, FOREIGN6, HELD6], ids=str)
def test_solicitations_are_answered(wire: Wire, target: Ip, to: str) -> None:
    question = solicitation(GUEST_MAC, OWN6, target)
    if to == "unicast":
        question = question._replace(destination=wire.host_mac, ip_destination=target, options=b"")
    assert wire.ask(question.packed()) == advertisement(wire.host_mac, target, GUEST_MAC, OWN6)


@pytest.mark.parametrize(
    ("asker", "target"),
    [
        pytest.param(ip_address("10.65.0.25"), OWN4, id="own"),
        pytest.param(OWN4, OWN4, id="gratuitous"),
        pytest.param(FOREIGN4, FOREIGN4, id="gratuitous foreign"),
        pytest.param(NOWHERE, OWN4, id="probe own"),
        pytest.param(NOWHERE, NEIGHBOUR4, id="probe neighbour"),
    ],
)
def test_arp_is_silent(wire: Wire, asker: Ip, target: Ip) -> None:
    wire.expect_silence(arp_request(GUEST_MAC, asker, target).packed(), marker=FOREIGN4)


@pytest.mark.parametrize(
    "question",
    [
        pytest.param(solicitation(GUEST_MAC, ip_address("fd00::19"), OWN6), id="own"),
        pytest.param(solicitation(GUEST_MAC, FOREIGN6, FOREIGN6), id="gratuitous"),
        pytest.param(probe6(GUEST_MAC, OWN6), id="probe own"),
        pytest.param(probe6(GUEST_MAC, NEIGHBOUR6), id="probe neighbour"),
        pytest.param(
            solicitation(GUEST_MAC, OWN6, NEIGHBOUR6)._replace(hop_limit=64),
            id="forwarded",
        ),
    ],
)
def test_solicitations_are_met_with_silence(wire: Wire, question: NdFrame) -> None:
    wire.expect_silence(question.packed(), marker=FOREIGN6)


def test_probes_for_what_the_host_holds_are_answered(wire: Wire) -> None:
    answer = wire.ask(arp_request(GUEST_MAC, NOWHERE, HELD4).packed())
    assert answer == arp_reply(wire.host_mac, HELD4, GUEST_MAC, NOWHERE)
    assert wire.ask(probe6(GUEST_MAC, HELD6).packed()) == defence(wire.host_mac, HELD6)


def test_a_tagged_frame_is_not_answered(wire: Wire) -> None:
    inner = arp_request(GUEST_MAC, OWN4, NEIGHBOUR4).packed()
    tagged = ethernet(BROADCAST, GUEST_MAC, 0x8100, bytes((0, 5)) + inner[12:])
    wire.expect_silence(tagged, marker=FOREIGN4)


class TestRealGuest:
    """A Linux guest behind a veth asks by itself."""

    @pytest.fixture
    def guest(self, netns: NetnsFactory, responder: Responder) -> Namespace:
        host, guest = netns("host"), netns("guest")
        with open(guest.path) as file, host.netlink() as sock, guest.netlink() as inside:  # noqa: PTH123
            link.create_veth(sock, VethEnd("cali1", mac=HOST_MAC), VethEnd("eth0", mac=GUEST_MAC, netns=file.fileno()))
            end = link.get(sock, "cali1").ifindex
            link.change(sock, end, up=True)
            govern(host, responder, end, HOST_MAC)
            guest_end = link.get(inside, "eth0").ifindex
            link.change(inside, guest_end, addr_gen_mode=link.ADDR_GEN_NONE, up=True)
            for own in (OWN4, OWN6):
                address.add(inside, Address(guest_end, own.packed, own.max_prefixlen, flags=address.FLAG_NODAD))
        guest.run("ip route add default dev eth0 && ip -6 route add default dev eth0")
        wait_link(host, "cali1", lambda found: found.running)
        return guest

    def test_arping_hears_the_host_for_every_address(self, guest: Namespace) -> None:
        for target in ("169.254.1.1", NEIGHBOUR4, FOREIGN4):
            output = guest.run(f"arping -c 1 -w 2 -I eth0 {target}")
            assert f"Unicast reply from {target} [{HOST_MAC.upper()}]" in output

    def test_arping_finds_no_duplicate_but_what_the_host_holds(self, guest: Namespace) -> None:
        assert "Received 0 response" in guest.run(f"arping -D -c 1 -w 1 -I eth0 {OWN4}")
        assert HOST_MAC.upper() in guest.run(f"arping -D -c 1 -w 2 -I eth0 {HELD4}", check=False)

    def test_the_kernel_resolves_both_families(self, guest: Namespace) -> None:
        """No reply comes back, the host has no route: only the resolution is of interest."""
        for target in (FOREIGN4, FOREIGN6):
            guest.run(f"ping -c 1 -W 0.2 {target}", check=False)
            assert f"lladdr {HOST_MAC}" in guest.run(f"ip neighbour show {target}")

    @pytest.mark.parametrize(("text", "duplicate"), [("fd00::18", False), ("fd00::99", False), ("fd01::5", True)])
    def test_duplicate_address_detection(self, guest: Namespace, text: str, duplicate: bool) -> None:
        packed = ip_address(text).packed
        with guest.netlink() as sock, guest.call(Monitor) as monitor:
            ifindex = link.get(sock, "eth0").ifindex
            address.delete(sock, Address(ifindex, packed, 128))
            address.add(sock, Address(ifindex, packed, 128))
            while True:
                readable(monitor.fileno())
                flags = [
                    event.address.flags
                    for event in monitor.read(100)
                    if isinstance(event, AddressAdded) and event.address.address == packed
                ]
                settled = [
                    bool(each & address.FLAG_DAD_FAILED)
                    for each in flags
                    if each & address.FLAG_DAD_FAILED or not each & address.FLAG_TENTATIVE
                ]
                if settled:
                    break
        assert settled[-1] == duplicate
