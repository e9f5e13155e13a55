"""How long does a workload wait for the answer to its ARP request or neighbour solicitation?

Our eBPF responder against the kernel's proxy ARP (`proxy_delay` 0) on another interface of the same host, with and
without a default route; the address asked for is one that only the default route leads to. The clock runs in the
program that writes the frame on the guest's end and reads the answer there.

Promise: we answer every question, in the median in less than 5 ms. The kernel may be silent.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from ipaddress import ip_address
from typing import NamedTuple

import pytest

from bench.turns import NEVER, Turn, percentile, print_table, take_turns
from tests.netns.conftest import Namespace, NetnsFactory
from tests.netns.kernel.frames import ADVERTISEMENT, ARP, ARP_REPLY, IPV6, Ip, arp_request, solicitation
from tests.netns.l3.conftest import HostFactory
from tests.netns.l3.host import GUEST_MAC, TapWire, VethWire, Wire
from tortie.kernel.netlink import link, route
from tortie.kernel.netlink.route import Route
from tortie.kernel.netlink.socket import NetlinkSocket

ROUNDS = 500
LIMIT_MS = 5.0
PATIENCE_S = 0.002  # then comes a second question, and an answer to that one proves silence
DEADLINE_S = 5.0

BASELINE = "proxy_arp IPv4, default route"


class Family(NamedTuple):
    own: Ip
    asked: Ip
    held: Ip  # the host's own, which everybody answers
    gateway: Ip


FAMILIES = {
    "IPv4": Family(*map(ip_address, ("10.65.0.24", "203.0.113.7", "172.18.203.5", "172.18.203.1"))),
    "IPv6": Family(*map(ip_address, ("fd00:65::24", "2001:db8::7", "fd00:1::5", "fd00:1::1"))),
}


class DefaultRoute:
    """The default routes of a host, in both families, which come and go; none at first."""

    def __init__(self, sock: NetlinkSocket, interface: str) -> None:
        self._socket = sock
        self._there = False
        ifindex = link.get(sock, interface).ifindex
        self._rows = [
            Route(socket.AF_INET, bytes(4), 0, ifindex, FAMILIES["IPv4"].gateway.packed, metric=1024),
            Route(socket.AF_INET6, bytes(16), 0, ifindex, FAMILIES["IPv6"].gateway.packed, metric=1024),
        ]

    def set(self, there: bool) -> None:
        if there != self._there:
            assert not (route.add if there else route.delete)(self._socket, self._rows)
            self._there = there


class Host(NamedTuple):
    """A host with two workloads: one that we answer, one that the kernel answers."""

    ours: Wire
    kernels: Wire
    default_route: DefaultRoute


@pytest.fixture(params=["veth", "tap"])
def host(request: pytest.FixtureRequest, netns: NetnsFactory, l3_host: HostFactory) -> Iterator[Host]:
    namespace = netns("host")
    namespace.run(
        "ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up"
        f" && ip addr add {FAMILIES['IPv4'].held}/24 dev up0 && ip addr add {FAMILIES['IPv6'].held}/64 dev up0 nodad"
    )
    sink = l3_host(namespace)
    assert sink.responder == "ebpf"
    with ExitStack() as opened:
        ours, kernels = (
            opened.enter_context(closing(make_wire(request.param, namespace, netns, interface)))
            for interface in ("cali1", "cali2")
        )
        sink.desire("w", "cali1", *(str(family.own) for family in FAMILIES.values()))
        sink.start()
        sink.settle_up("w")
        namespace.run(
            "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.cali2.rp_filter=0"
            " net.ipv4.conf.cali2.proxy_arp=1 net.ipv4.neigh.cali2.proxy_delay=0"
        )
        yield Host(ours, kernels, DefaultRoute(sink.socket, "up0"))


def make_wire(kind: str, host: Namespace, netns: NetnsFactory, interface: str) -> Wire:
    return TapWire(host, interface) if kind == "tap" else VethWire(host, netns(f"guest-{interface}"), interface)


def test_answers(host: Host, request: pytest.FixtureRequest) -> None:
    def asking(wire: Wire, family: Family, default_route: bool) -> Turn:
        question, fence = make_question(family.own, family.asked), make_question(family.own, family.held)

        def turn() -> float:
            host.default_route.set(default_route)
            return ask(wire, question, family.asked, fence, family.held)

        return turn

    default_routes = {"default route": True, "no default route": False}
    kernels = {
        f"proxy_arp IPv4, {words}": asking(host.kernels, FAMILIES["IPv4"], there)
        for words, there in default_routes.items()
    }
    ours = {
        f"eBPF {name}, {words}": asking(host.ours, family, there)
        for name, family in FAMILIES.items()
        for words, there in default_routes.items()
    }
    taken = take_turns(kernels | ours, ROUNDS, BASELINE)
    print_table(f"from question to answer on a {request.node.callspec.id}", taken, BASELINE)
    for name in ours:
        assert NEVER not in taken[name], f"{name}: a question was not answered"
        assert percentile(taken[name], 50) < LIMIT_MS, name


def make_question(own: Ip, target: Ip) -> bytes:
    make = arp_request if target.version == 4 else solicitation
    return make(GUEST_MAC, own, target).packed()


def ask(wire: Wire, question: bytes, asked: Ip, fence: bytes, held: Ip) -> float:
    """Milliseconds to the answer. The wire keeps the order: when the fence is answered first, none will come."""
    start = time.perf_counter()
    wire.send(question)
    patience_s, fenced = PATIENCE_S, False
    while True:
        frame = wire.receive(patience_s)
        if frame is None:
            assert not fenced, f"not even {held} is answered for"
            wire.send(fence)
            patience_s, fenced = DEADLINE_S, True
        elif answers(frame, asked):
            return (time.perf_counter() - start) * 1000
        elif answers(frame, held):
            return NEVER


def answers(frame: bytes, target: Ip) -> bool:
    """The frame says who has `target`."""
    protocol = int.from_bytes(frame[12:14], "big")
    if target.version == 4:
        return protocol == ARP and frame[21] == ARP_REPLY and frame[28:32] == target.packed
    return protocol == IPV6 and frame[54:55] == bytes((ADVERTISEMENT,)) and frame[62:78] == target.packed
