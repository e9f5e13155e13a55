"""Who has ...? asked by a workload on every kind of host: what is answered, with which MAC, and what never is.

Silence is proven with a fence: after the question comes one that is always answered, and the wire keeps order.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

import pytest

from tests.netns.conftest import NetnsFactory
from tests.netns.kernel.frames import (
    ADVERTISEMENT,
    ALL_NODES,
    ALL_NODES_MAC,
    ARP,
    ARP_REPLY,
    IPV6,
    OPTION_TARGET_MAC,
    OVERRIDE,
    ROUTER,
    SOLICITATION,
    SOLICITED,
    ArpFrame,
    Ip,
    NdFrame,
    arp_reply,
    arp_request,
    mac_bytes,
    option,
    solicitation,
    solicited_node,
)
from tests.netns.l3.conftest import HostFactory
from tests.netns.l3.host import GUEST_MAC, TapWire, VethWire, Wire

PATIENCE_S = 5.0


class Family(NamedTuple):
    own: Ip
    other: Ip  # a second address of the workload, of which the host knows nothing
    gateway: Ip
    on_subnet: Ip
    foreign: Ip
    held: Ip  # the host's own
    nobody: Ip


FAMILIES = {
    "v4": Family(
        *map(
            ip_address,
            ("10.65.0.24", "10.65.0.99", "169.254.1.1", "10.65.0.77", "8.8.8.8", "172.18.203.5", "0.0.0.0"),
        )
    ),
    "v6": Family(
        *map(
            ip_address,
            (
                "fd00:65::24",
                "fe80::aff:fe00:1",
                "fe80::ecee:eeff:feee:eeee",
                "fd00:65::77",
                "2001:db8::8",
                "fd00:1::5",
                "::",
            ),
        )
    ),
}


@pytest.fixture(params=["veth", "tap"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[0, 1, 2], ids=["rp0", "rp1", "rp2"])
def rp_filter(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=[True, False], ids=["default", "no-default"])
def wire(
    request: pytest.FixtureRequest, netns: NetnsFactory, l3_host: HostFactory, kind: str, rp_filter: int
) -> Iterator[Wire]:
    namespace = netns("host")
    namespace.run(
        "ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up"
        " && ip addr add 172.18.203.5/24 dev up0 && ip -6 addr add fd00:1::5/64 dev up0 nodad"
        f" && sysctl -qw net.ipv4.conf.all.rp_filter={rp_filter}"
    )
    if request.param:
        namespace.run("ip route add default via 172.18.203.1; ip -6 route add default via fd00:1::1 dev up0")
    host = l3_host(namespace)
    assert host.responder == "ebpf"
    opened: Wire
    if kind == "veth":
        opened = VethWire(namespace, netns("guest"), "cali1")
        interface = "cali1"
    else:
        opened = TapWire(namespace, "tap1")
        interface = "tap1"
    host.desire("w", interface, *(str(family.own) for family in FAMILIES.values()))
    host.start()
    host.settle_up("w")
    yield opened
    opened.close()


def question(family: Family, asker: Ip, target: Ip) -> bytes:
    if family.own.version == 4:
        return arp_request(GUEST_MAC, asker, target).packed()
    if asker == family.nobody:
        # Duplicate address detection carries no link-layer option (RFC 4862 section 5.4.2).
        mac, group = solicited_node(target)
        return NdFrame(mac, GUEST_MAC, asker, group, SOLICITATION, 0, target).packed()
    return solicitation(GUEST_MAC, asker, target).packed()


def answer(family: Family, mac: str, asker: Ip, target: Ip) -> ArpFrame | NdFrame:
    if family.own.version == 4:
        return arp_reply(mac, target, GUEST_MAC, asker)
    options = option(OPTION_TARGET_MAC, mac_bytes(mac))
    if asker == family.nobody:
        flags = ROUTER | OVERRIDE
        return NdFrame(ALL_NODES_MAC, mac, target, ALL_NODES, ADVERTISEMENT, flags, target, options)
    flags = ROUTER | SOLICITED | OVERRIDE
    return NdFrame(GUEST_MAC, mac, target, asker, ADVERTISEMENT, flags, target, options)


def heard(wire: Wire, family: Family) -> list[ArpFrame | NdFrame]:
    """The answers up to and including the fence's, which it sends now."""
    fence = ip_address("203.0.113.254") if family.own.version == 4 else ip_address("2001:db8:fe::ce")
    wire.send(question(family, family.own, fence))
    answers: list[ArpFrame | NdFrame] = []
    while True:
        frame = wire.receive(PATIENCE_S)
        assert frame is not None, f"the fence was not answered; heard {answers}"
        found = parse(frame)
        if found is None:
            continue
        if found.target == fence or (isinstance(found, ArpFrame) and found.sender == fence):
            return answers
        answers.append(found)


def parse(frame: bytes) -> ArpFrame | NdFrame | None:
    """An answer; None for whatever else the host's kernel says on the wire."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == ARP:
        found = ArpFrame.parse(frame)
        return found if found.operation == ARP_REPLY else None
    if kind == IPV6 and len(frame) > 54 and frame[20] == 58 and frame[54] == ADVERTISEMENT:
        return NdFrame.parse(frame)
    return None


@pytest.mark.parametrize("version", FAMILIES)
def test_matrix(wire: Wire, version: str) -> None:
    family = FAMILIES[version]
    mac = wire.host_mac
    answered = [
        (family.own, family.gateway),
        (family.own, family.on_subnet),
        (family.own, family.foreign),
        (family.own, family.held),
        (family.other, family.gateway),  # the workload may have addresses that the host knows nothing of
        (family.nobody, family.held),  # a probe for an address in use
    ]
    for asker, target in answered:
        wire.send(question(family, asker, target))
        assert heard(wire, family) == [answer(family, mac, asker, target)], (asker, target)
    silent = [
        (family.other, family.own),  # its own address
        (family.nobody, family.own),  # a probe for it
        (family.nobody, family.on_subnet),  # probes for addresses that the host does not hold
        (family.nobody, family.foreign),
        (family.own, family.own),  # gratuitous
        (family.other, family.other),
    ]
    for asker, target in silent:
        wire.send(question(family, asker, target))
        assert heard(wire, family) == [], (asker, target)


def test_an_unsolicited_advertisement_is_not_answered(wire: Wire) -> None:
    family = FAMILIES["v6"]
    options = option(OPTION_TARGET_MAC, mac_bytes(GUEST_MAC))
    frame = NdFrame(ALL_NODES_MAC, GUEST_MAC, family.own, ALL_NODES, ADVERTISEMENT, OVERRIDE, family.own, options)
    wire.send(frame.packed())
    assert heard(wire, family) == []
