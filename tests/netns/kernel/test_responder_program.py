"""The responder, one frame at a time: packet in, verdict and packet out (BPF_PROG_TEST_RUN)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

import pytest

from tests.netns.kernel.frames import (
    ADVERTISEMENT,
    ARP_REPLY,
    BROADCAST,
    OPTION_NONCE,
    OPTION_SOURCE_MAC,
    ArpFrame,
    Ip,
    NdFrame,
    advertisement,
    arp_reply,
    arp_request,
    defence,
    ethernet,
    mac_bytes,
    option,
    probe6,
    solicitation,
)
from tests.netns.kernel.responder import ANY_INTERFACE, HELD, OWN, Responder, loaded

# include/uapi/linux/pkt_cls.h
OK = 0
DROP = 2
REDIRECT = 7

LOOPBACK = 1  # what a test run takes for the interface
OTHER_INTERFACE = 2

HOST = "ee:ee:ee:ee:ee:ee"
GUEST = "02:00:00:00:00:18"
STALE = "02:00:00:00:00:99"

NOWHERE = ip_address("0.0.0.0")
UNSPECIFIED = ip_address("::")


class Addresses(NamedTuple):
    own: Ip
    second: Ip
    gateway: Ip
    neighbour: Ip
    foreign: Ip
    held: Ip  # by the host, on any interface
    held_here: Ip  # by this host end alone
    held_elsewhere: Ip  # by another host end
    own_elsewhere: Ip  # of the workload behind another interface


V4 = Addresses(
    *map(
        ip_address,
        (
            "10.65.0.24",
            "10.65.0.25",
            "169.254.1.1",
            "10.65.0.99",
            "8.8.8.8",
            "172.18.203.5",
            "10.65.255.1",
            "10.65.255.2",
            "10.65.0.33",
        ),
    )
)
V6 = Addresses(
    *map(
        ip_address,
        (
            "fd00::18",
            "fd00::19",
            "fe80::ecee:eeff:feee:eeee",
            "fd00::99",
            "2001:db8::8",
            "fd01::5",
            "fd02::1",
            "fd02::2",
            "fd00::33",
        ),
    )
)


@pytest.fixture(scope="module")
def responder() -> Iterator[Responder]:
    if os.geteuid() != 0:
        pytest.skip("eBPF programs need root")
    with loaded() as found:
        found.add_endpoint(LOOPBACK, HOST)
        for addresses in (V4, V6):
            found.add_address(LOOPBACK, addresses.own, OWN)
            found.add_address(LOOPBACK, addresses.second, OWN)
            found.add_address(ANY_INTERFACE, addresses.held, HELD)
            found.add_address(LOOPBACK, addresses.held_here, HELD)
            found.add_address(OTHER_INTERFACE, addresses.held_elsewhere, HELD)
            found.add_address(OTHER_INTERFACE, addresses.own_elsewhere, OWN)
        yield found


class TestArp:
    @pytest.mark.parametrize(
        "target", ["gateway", "neighbour", "foreign", "held", "held_here", "held_elsewhere", "own_elsewhere"]
    )
    @pytest.mark.parametrize("to", [BROADCAST, HOST, STALE], ids=["broadcast", "to the host", "to a stale MAC"])
    def test_every_request_is_answered_to_the_asker(self, responder: Responder, target: str, to: str) -> None:
        address = getattr(V4, target)
        run = responder.program.test_run(arp_request(GUEST, V4.own, address, to).packed())
        assert run.verdict == REDIRECT
        assert ArpFrame.parse(run.packet) == arp_reply(HOST, address, GUEST, V4.own)

    def test_also_from_an_address_that_nobody_knows(self, responder: Responder) -> None:
        asker = ip_address("192.0.2.1")
        run = responder.program.test_run(arp_request(GUEST, asker, V4.gateway).packed())
        assert run.verdict == REDIRECT
        assert ArpFrame.parse(run.packet) == arp_reply(HOST, V4.gateway, GUEST, asker)

    def test_padding_does_no_harm(self, responder: Responder) -> None:
        run = responder.program.test_run(arp_request(GUEST, V4.own, V4.gateway).packed().ljust(60, b"\0"))
        assert run.verdict == REDIRECT
        assert ArpFrame.parse(run.packet) == arp_reply(HOST, V4.gateway, GUEST, V4.own)
        assert len(run.packet) == 60

    def test_a_probe_for_what_the_host_holds_is_answered(self, responder: Responder) -> None:
        for address in (V4.held, V4.held_here):
            run = responder.program.test_run(arp_request(GUEST, NOWHERE, address).packed())
            assert run.verdict == REDIRECT
            assert ArpFrame.parse(run.packet) == arp_reply(HOST, address, GUEST, NOWHERE)

    @pytest.mark.parametrize(
        ("asker", "target"),
        [
            pytest.param(V4.own, V4.own, id="gratuitous"),
            pytest.param(V4.foreign, V4.foreign, id="gratuitous for a foreign address"),
            pytest.param(V4.held, V4.held, id="gratuitous for what the host holds"),
            pytest.param(NOWHERE, NOWHERE, id="gratuitous for nothing"),
            pytest.param(V4.second, V4.own, id="own, from the second address"),
            pytest.param(ip_address("192.0.2.1"), V4.own, id="own, from a foreign address"),
            pytest.param(NOWHERE, V4.own, id="probe for the own address"),
            pytest.param(NOWHERE, V4.neighbour, id="probe for a neighbour"),
            pytest.param(NOWHERE, V4.gateway, id="probe for what the host does not hold"),
            pytest.param(NOWHERE, V4.held_elsewhere, id="probe for what another interface holds"),
            pytest.param(NOWHERE, V4.own_elsewhere, id="probe for another workload's address"),
        ],
    )
    @pytest.mark.parametrize("to", [BROADCAST, HOST], ids=["broadcast", "to the host"])
    def test_is_silent_and_so_is_the_kernel(self, responder: Responder, asker: Ip, target: Ip, to: str) -> None:
        packet = arp_request(GUEST, asker, target, to).packed()
        assert responder.program.test_run(packet) == (DROP, packet)

    @pytest.mark.parametrize(
        "packet",
        [
            pytest.param(arp_reply(GUEST, V4.own, HOST, V4.gateway).packed(), id="reply"),
            pytest.param(
                ArpFrame(BROADCAST, GUEST, ARP_REPLY, GUEST, V4.own, GUEST, V4.own).packed(), id="gratuitous reply"
            ),
            pytest.param(arp_request(GUEST, V4.own, V4.gateway)._replace(operation=3).packed(), id="RARP"),
            pytest.param(arp_request(GUEST, V4.own, V4.gateway).packed(hardware=6), id="IEEE 802 hardware"),
            pytest.param(arp_request(GUEST, V4.own, V4.gateway).packed(protocol=0x86DD), id="not IPv4"),
            pytest.param(arp_request(GUEST, V4.own, V4.gateway).packed(hardware_bytes=8), id="long MACs"),
            pytest.param(arp_request(GUEST, V4.own, V4.gateway).packed(protocol_bytes=16), id="long addresses"),
            pytest.param(arp_request(GUEST, V4.own, V4.gateway).packed()[:41], id="cut short"),
            pytest.param(arp_request(GUEST, V4.own, V4.gateway).packed()[:14], id="nothing but the header"),
        ],
    )
    def test_what_is_no_proper_request_passes_unchanged(self, responder: Responder, packet: bytes) -> None:
        assert responder.program.test_run(packet) == (OK, packet)


class TestNeighbourDiscovery:
    @pytest.mark.parametrize(
        "target", ["gateway", "neighbour", "foreign", "held", "held_here", "held_elsewhere", "own_elsewhere"]
    )
    def test_every_solicitation_is_answered_to_the_asker(self, responder: Responder, target: str) -> None:
        address = getattr(V6, target)
        run = responder.program.test_run(solicitation(GUEST, V6.own, address).packed())
        assert run.verdict == REDIRECT
        assert NdFrame.parse(run.packet) == advertisement(HOST, address, GUEST, V6.own)

    def test_a_unicast_one_without_options_too(self, responder: Responder) -> None:
        asked = solicitation(GUEST, V6.own, V6.gateway)._replace(
            destination=HOST, ip_destination=V6.gateway, options=b""
        )
        run = responder.program.test_run(asked.packed())
        assert run.verdict == REDIRECT
        assert NdFrame.parse(run.packet) == advertisement(HOST, V6.gateway, GUEST, V6.own)

    def test_from_a_link_local_address(self, responder: Responder) -> None:
        asker = ip_address("fe80::ff:fe00:18")
        run = responder.program.test_run(solicitation(GUEST, asker, V6.foreign).packed())
        assert run.verdict == REDIRECT
        assert NdFrame.parse(run.packet) == advertisement(HOST, V6.foreign, GUEST, asker)

    @pytest.mark.parametrize("count", [2, 5, 29])
    def test_with_many_options(self, responder: Responder, count: int) -> None:
        """The answer is always the same, whatever the length of the question."""
        asked = solicitation(GUEST, V6.own, V6.gateway)
        options = asked.options + option(OPTION_NONCE, b"nonce!") * (count - 1)
        run = responder.program.test_run(asked._replace(options=options).packed())
        assert run.verdict == REDIRECT
        assert NdFrame.parse(run.packet) == advertisement(HOST, V6.gateway, GUEST, V6.own)

    def test_with_a_long_option(self, responder: Responder) -> None:
        asked = solicitation(GUEST, V6.own, V6.gateway)
        options = option(11, bytes(range(62))) + asked.options
        run = responder.program.test_run(asked._replace(options=options).packed())
        assert run.verdict == REDIRECT
        assert NdFrame.parse(run.packet) == advertisement(HOST, V6.gateway, GUEST, V6.own)

    def test_bytes_behind_the_packet_are_cut_off(self, responder: Responder) -> None:
        run = responder.program.test_run(solicitation(GUEST, V6.own, V6.gateway).packed() + b"trailer")
        assert run.verdict == REDIRECT
        assert NdFrame.parse(run.packet) == advertisement(HOST, V6.gateway, GUEST, V6.own)

    def test_a_probe_for_what_the_host_holds_is_answered_to_all(self, responder: Responder) -> None:
        for address in (V6.held, V6.held_here):
            run = responder.program.test_run(probe6(GUEST, address).packed())
            assert run.verdict == REDIRECT
            assert NdFrame.parse(run.packet) == defence(HOST, address)

    @pytest.mark.parametrize(
        "asked",
        [
            pytest.param(solicitation(GUEST, V6.second, V6.own), id="own, from the second address"),
            pytest.param(solicitation(GUEST, V6.foreign, V6.own), id="own, from a foreign address"),
            pytest.param(solicitation(GUEST, V6.own, V6.own), id="gratuitous"),
            pytest.param(solicitation(GUEST, V6.held, V6.held), id="gratuitous for what the host holds"),
            pytest.param(probe6(GUEST, V6.own), id="probe for the own address"),
            pytest.param(probe6(GUEST, V6.neighbour), id="probe for a neighbour"),
            pytest.param(probe6(GUEST, V6.gateway), id="probe for what the host does not hold"),
            pytest.param(probe6(GUEST, V6.held_elsewhere), id="probe for what another interface holds"),
            pytest.param(probe6(GUEST, V6.own_elsewhere), id="probe for another workload's address"),
            pytest.param(probe6(GUEST, V6.neighbour)._replace(options=b""), id="probe without options for a neighbour"),
        ],
    )
    def test_is_silent_and_so_is_the_kernel(self, responder: Responder, asked: NdFrame) -> None:
        packet = asked.packed()
        assert responder.program.test_run(packet) == (DROP, packet)

    GOOD = solicitation(GUEST, V6.own, V6.gateway)
    HELD = probe6(GUEST, V6.held)

    @staticmethod
    def hop_by_hop(frame: NdFrame) -> bytes:
        packet = frame.packed()
        extension = bytes((58, 0)) + bytes((1, 4)) + bytes(4)
        length = (len(packet) - 54 + len(extension)).to_bytes(2, "big")
        return packet[:18] + length + bytes((0,)) + packet[21:54] + extension + packet[54:]

    @pytest.mark.parametrize(
        "packet",
        [
            pytest.param(GOOD._replace(hop_limit=254).packed(), id="hop limit 254"),
            pytest.param(GOOD._replace(hop_limit=64).packed(), id="hop limit 64"),
            pytest.param(GOOD._replace(code=1).packed(), id="code 1"),
            pytest.param(GOOD._replace(type=ADVERTISEMENT).packed(), id="advertisement"),
            pytest.param(GOOD._replace(type=133).packed(), id="router solicitation"),
            pytest.param(GOOD._replace(target=ip_address("ff02::1")).packed(), id="multicast target"),
            pytest.param(GOOD._replace(ip_source=ip_address("ff02::1")).packed(), id="multicast asker"),
            pytest.param(GOOD.packed()[:56] + b"\x12\x34" + GOOD.packed()[58:], id="wrong checksum"),
            pytest.param(GOOD.packed()[:-1] + b"\x19", id="a byte flipped"),
            pytest.param(GOOD._replace(options=bytes(8)).packed(), id="option of length zero"),
            pytest.param(GOOD._replace(options=b"\x01\x02" + bytes(6)).packed(), id="option past the end"),
            pytest.param(GOOD._replace(options=b"\x01\x01" + bytes(10)).packed(), id="options of 12 bytes"),
            # Valid, and the bytes behind the first 256 add nothing to the checksum.
            pytest.param(
                GOOD._replace(options=option(14, b"nonce!") * 28 + option(14, bytes(14))).packed(),
                id="longer than it looks at",
            ),
            pytest.param(
                HELD._replace(options=option(OPTION_SOURCE_MAC, mac_bytes(GUEST))).packed(), id="probe with a MAC"
            ),
            pytest.param(HELD._replace(ip_destination=V6.held).packed(), id="probe to the address itself"),
            pytest.param(HELD._replace(ip_destination=ip_address("ff02::1")).packed(), id="probe to all nodes"),
            pytest.param(GOOD.packed()[:77], id="cut inside the target"),
            pytest.param(GOOD.packed()[:85], id="cut inside the option"),
            pytest.param(GOOD._replace(options=option(14, bytes(14))).packed()[:-8], id="cut where it is all zeros"),
            pytest.param(GOOD.packed()[:18] + bytes((0, 16)) + GOOD.packed()[20:], id="shorter than its head"),
            pytest.param(GOOD.packed()[:54], id="nothing behind the IPv6 header"),
            pytest.param(hop_by_hop(GOOD), id="behind a hop-by-hop header"),
            pytest.param(GOOD.packed()[:20] + b"\x11" + GOOD.packed()[21:], id="another next header"),
            pytest.param(GOOD.packed()[:14] + b"\x50" + GOOD.packed()[15:], id="IP version 5"),
        ],
    )
    def test_what_is_no_proper_solicitation_passes_unchanged(self, responder: Responder, packet: bytes) -> None:
        assert responder.program.test_run(packet) == (OK, packet)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(
            ethernet(HOST, GUEST, 0x8100, bytes((0, 5)) + arp_request(GUEST, V4.own, V4.gateway).packed()[12:]),
            id="ARP in a VLAN",
        ),
        pytest.param(
            ethernet(HOST, GUEST, 0x8100, bytes((0, 5)) + solicitation(GUEST, V6.own, V6.gateway).packed()[12:]),
            id="solicitation in a VLAN",
        ),
        pytest.param(ethernet(HOST, GUEST, 0x0800, bytes(46)), id="IPv4"),
        pytest.param(ethernet(HOST, GUEST, 0x88B5, b"anything"), id="an unknown protocol"),
    ],
)
def test_other_traffic_passes_unchanged(responder: Responder, packet: bytes) -> None:
    assert responder.program.test_run(packet) == (OK, packet)


def test_an_interface_that_is_no_endpoint_is_left_alone() -> None:
    if os.geteuid() != 0:
        pytest.skip("eBPF programs need root")
    with loaded() as empty:
        empty.add_endpoint(OTHER_INTERFACE, HOST)
        for packet in (
            arp_request(GUEST, V4.own, V4.gateway).packed(),
            arp_request(GUEST, V4.own, V4.own).packed(),
            solicitation(GUEST, V6.own, V6.gateway).packed(),
            probe6(GUEST, V6.own).packed(),
        ):
            assert empty.program.test_run(packet) == (OK, packet)
