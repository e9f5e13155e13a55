"""The monitor on a real kernel."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import NamedTuple, TypeVar

import pytest

from tests.netns.conftest import Namespace, NetnsFactory
from tests.netns.kernel.oracle import veth, wait_link
from tortie.kernel.netlink import address, link, neighbour, route
from tortie.kernel.netlink.address import Address
from tortie.kernel.netlink.link import VethEnd
from tortie.kernel.netlink.monitor import (
    AddressAdded,
    AddressDeleted,
    Event,
    LinkChanged,
    LinkGone,
    Monitor,
    NeighbourChanged,
    NeighbourDeleted,
    Overflow,
    RouteAdded,
    RouteDeleted,
)
from tortie.kernel.netlink.neighbour import Neighbour
from tortie.kernel.netlink.route import Route
from tortie.kernel.netlink.socket import NetlinkSocket

E = TypeVar("E")

OURS = 116
MAC = "02:00:00:00:00:18"


class Scene(NamedTuple):
    namespace: Namespace
    sock: NetlinkSocket
    monitor: Monitor
    ifindex: int


@pytest.fixture
def scene(netns: NetnsFactory) -> Iterator[Scene]:
    namespace = netns("a")
    with namespace.netlink() as sock:
        ifindex = veth(sock).ifindex
        for end in ("host0", "guest0"):
            wait_link(namespace, end, lambda found: found.running)
        with namespace.call(Monitor) as monitor:
            yield Scene(namespace, sock, monitor, ifindex)


def wait(monitor: Monitor, wanted: Callable[[Event], bool]) -> list[Event]:
    """All events up to the first wanted one; fails if it does not come."""
    seen: list[Event] = []
    while not any(wanted(event) for event in seen):
        readable, _, _ = select.select([monitor.fileno()], [], [], 5)
        assert readable, f"no such event; seen {seen}"
        seen.extend(monitor.read(1))
    return seen


def first(monitor: Monitor, kind: type[E], wanted: Callable[[E], bool] = lambda event: True) -> E:
    events = wait(monitor, lambda event: isinstance(event, kind) and wanted(event))
    assert isinstance(events[-1], kind)
    return events[-1]


def row(ifindex: int, family: int, number: int = 0) -> Route:
    base = ip_address("10.65.0.0" if family == socket.AF_INET else "fd00::") + number
    scope = route.SCOPE_LINK if family == socket.AF_INET else 0
    return Route(family, base.packed, base.max_prefixlen, ifindex, metric=16, protocol=OURS, scope=scope)


def about(wanted: Route) -> Callable[[RouteAdded | RouteDeleted], bool]:
    return lambda event: event.route.destination == wanted.destination


def ours(events: list[Event]) -> list[Event]:
    """Without what the kernel does on its own, late and at leisure, about a link that came up."""
    return [
        event
        for event in events
        if isinstance(event, Overflow)
        or (isinstance(event, RouteAdded | RouteDeleted) and event.route.protocol == OURS)
    ]


def test_a_quiet_kernel_has_no_events(netns: NetnsFactory) -> None:
    with netns("a").call(Monitor) as monitor:
        assert monitor.read(100) == []


def test_the_life_of_a_link(scene: Scene) -> None:
    link.create_veth(scene.sock, VethEnd("new0", mac=MAC), VethEnd("new1"))
    changed = first(scene.monitor, LinkChanged, lambda event: event.link.name == "new0")
    assert changed.link == link.get(scene.sock, "new0")
    ifindex = changed.link.ifindex
    link.change(scene.sock, ifindex, up=True)
    assert first(scene.monitor, LinkChanged, lambda event: event.link.ifindex == ifindex and event.link.up)
    link.change(scene.sock, link.get(scene.sock, "new1").ifindex, up=True)
    assert first(scene.monitor, LinkChanged, lambda event: event.link.ifindex == ifindex and event.link.running)
    link.change(scene.sock, ifindex, name="other0")
    assert first(scene.monitor, LinkChanged, lambda event: event.link.name == "other0").link.ifindex == ifindex
    link.delete(scene.sock, ifindex)
    assert first(scene.monitor, LinkGone, lambda event: event.link.ifindex == ifindex).link.name == "other0"


def test_a_link_that_leaves_the_namespace_is_gone(scene: Scene, netns: NetnsFactory) -> None:
    elsewhere = netns("b")
    with open(elsewhere.path) as file:  # noqa: PTH123
        link.change(scene.sock, scene.ifindex, netns=file.fileno())
    assert first(scene.monitor, LinkGone).link.ifindex == scene.ifindex


def test_a_link_that_leaves_a_bridge_is_not_gone(scene: Scene) -> None:
    link.create_bridge(scene.sock, "bridge0")
    link.change(scene.sock, scene.ifindex, master=link.get(scene.sock, "bridge0").ifindex)
    link.change(scene.sock, scene.ifindex, master=0)
    link.change(scene.sock, scene.ifindex, name="end")
    events = wait(scene.monitor, lambda event: isinstance(event, LinkChanged) and event.link.name == "end")
    assert not [event for event in events if isinstance(event, LinkGone)]


@pytest.mark.parametrize("text", ["10.0.0.1", "fd00::1"])
def test_the_life_of_an_address(scene: Scene, text: str) -> None:
    packed = ip_address(text).packed
    added = Address(scene.ifindex, packed, 8 * len(packed), flags=address.FLAG_NODAD, protocol=OURS)
    address.add(scene.sock, added)
    event = first(scene.monitor, AddressAdded, lambda event: event.address.address == packed)
    assert event.address == added._replace(flags=event.address.flags)
    address.delete(scene.sock, added)
    assert first(scene.monitor, AddressDeleted, lambda event: event.address.address == packed)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
def test_the_life_of_a_route(scene: Scene, family: int) -> None:
    added = row(scene.ifindex, family)
    flag = "-4" if family == socket.AF_INET else "-6"
    route.add(scene.sock, [added])
    assert first(scene.monitor, RouteAdded, about(added)) == RouteAdded(added, replaced=False, port=scene.sock.port)
    scene.namespace.run(f"ip {flag} route replace {ip_address(added.destination)} dev guest0 metric 16 proto 80")
    event = first(scene.monitor, RouteAdded, about(added))
    assert (event.replaced, event.route.protocol, event.route.destination) == (True, 80, added.destination)
    scene.namespace.run(f"ip {flag} route delete {ip_address(added.destination)} metric 16")
    assert first(scene.monitor, RouteDeleted, about(added)).route == event.route


@pytest.mark.parametrize("text", ["10.0.0.1", "fd00::1"])
def test_the_life_of_a_neighbour(scene: Scene, text: str) -> None:
    added = Neighbour(scene.ifindex, ip_address(text).packed, MAC, protocol=OURS)
    neighbour.add(scene.sock, [added])
    changed = first(scene.monitor, NeighbourChanged, lambda event: event.neighbour.address == added.address)
    assert changed.neighbour == added
    neighbour.delete(scene.sock, [added])
    assert first(scene.monitor, NeighbourDeleted, lambda event: event.neighbour.address == added.address)


def test_the_kernel_drops_ipv4_routes_of_a_downed_link_in_silence(scene: Scene) -> None:
    """The reason why a link that comes up must be read again; IPv6 tells."""
    route.add(scene.sock, [row(scene.ifindex, socket.AF_INET), row(scene.ifindex, socket.AF_INET6)])
    link.change(scene.sock, scene.ifindex, up=False)
    link.change(scene.sock, scene.ifindex, name="end")
    events = wait(scene.monitor, lambda event: isinstance(event, LinkChanged) and event.link.name == "end")
    deleted = {event.route.family for event in ours(events) if isinstance(event, RouteDeleted)}
    assert deleted == {socket.AF_INET6}


def test_one_read_is_bounded_and_the_next_goes_on(scene: Scene) -> None:
    rows = [row(scene.ifindex, socket.AF_INET, number) for number in range(100)]
    route.add(scene.sock, rows)
    seen: list[Event] = []
    while len(seen) < len(rows):
        events = scene.monitor.read(7)
        assert 0 < len(events) <= 7
        seen.extend(ours(events))
    assert seen == [RouteAdded(each, replaced=False, port=scene.sock.port) for each in rows]
    assert ours(scene.monitor.read(1000)) == []


class TestOverflow:
    @pytest.fixture
    def small(self, scene: Scene) -> Iterator[Monitor]:
        with scene.namespace.call(lambda: Monitor(buffer_bytes=8192)) as monitor:
            yield monitor

    @staticmethod
    def overflow(scene: Scene) -> None:
        rows = [row(scene.ifindex, socket.AF_INET, number) for number in range(1000)]
        assert route.add(scene.sock, rows) == {}

    def test_is_told_once_and_what_is_older_is_dropped(self, scene: Scene, small: Monitor) -> None:
        self.overflow(scene)
        assert small.read(10_000) == [Overflow()]
        assert ours(small.read(10_000)) == []

    def test_the_socket_goes_on(self, scene: Scene, small: Monitor) -> None:
        for _ in range(2):
            self.overflow(scene)
            assert small.read(10_000) == [Overflow()]
            extra = row(scene.ifindex, socket.AF_INET6)
            route.add(scene.sock, [extra])
            assert ours(small.read(100)) == [RouteAdded(extra, replaced=False, port=scene.sock.port)]
            route.delete(scene.sock, [extra])
            assert ours(small.read(100)) == [RouteDeleted(extra, scene.sock.port)]
            route.delete(scene.sock, route.dump(scene.sock, socket.AF_INET, protocol=OURS))
            assert small.read(10_000) == [Overflow()]

    def test_stays_bounded_while_it_drops(self, scene: Scene, small: Monitor) -> None:
        self.overflow(scene)
        reads = [small.read(1)]
        while reads[-1] != [Overflow()]:
            assert reads[-1] == []
            reads.append(small.read(1))
        assert len(reads) > 2

    def test_a_large_buffer_takes_a_burst(self, scene: Scene) -> None:
        rows = [row(scene.ifindex, socket.AF_INET, number) for number in range(20_000)]
        route.add(scene.sock, rows)
        told = [RouteAdded(each, replaced=False, port=scene.sock.port) for each in rows]
        assert ours(scene.monitor.read(30_000)) == told
