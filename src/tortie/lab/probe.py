"""Measurements in a running lab, with real packets and the kernel's own events."""

from __future__ import annotations

import os
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, ip_address
from types import TracebackType
from typing import NamedTuple, Self

from tortie.kernel.netlink.monitor import Monitor, RouteAdded, RouteDeleted
from tortie.kernel.netlink.route import Route
from tortie.kernel.netns import run_in
from tortie.lab.enter import Member
from tortie.lab.layout import Layout
from tortie.lab.process import wait_until
from tortie.lab.topology import family

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806

# include/uapi/linux/if_ether.h and if_packet.h
_EVERY_PROTOCOL = 0x0003
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_MR_PROMISC = 1

_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_REQUEST, _ARP_REPLY = 1, 2
_EVENTS_PER_READ = 1000


class Echo(NamedTuple):
    """An answered ping."""

    ms: float
    ttl: int


class Frame(NamedTuple):
    """An IPv4 packet in its Ethernet frame, as it passed a wire."""

    source_mac: str
    destination_mac: str
    source: str
    destination: str
    ttl: int
    protocol: int
    length: int


class Answer(NamedTuple):
    """Who answered an ARP request, and after how long."""

    mac: str
    ms: float


async def ping(member: Member, address: str) -> Echo | None:
    """One echo request; None when no reply came within two seconds."""
    _, text = await member.run(["ping", f"-{family(address)}", "-n", "-c", "1", "-W", "2", address])
    found = re.search(r"ttl=(\d+) time=([\d.]+)", text)
    return Echo(float(found[2]), int(found[1])) if found else None


def mac_address(layout: Layout, member: str, interface: str) -> str:
    def ask() -> str:
        # Of the namespace, which /sys of this process is not.
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((interface, 0))
            return bytes(sock.getsockname()[4]).hex(":")

    return run_in(str(layout.namespace_path(member)), ask)


class Wiretap:
    """Sees every IPv4 frame that passes an interface, from its making on."""

    def __init__(self, layout: Layout, member: str, interface: str) -> None:
        def listen() -> socket.socket:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL))
            sock.bind((interface, _EVERY_PROTOCOL))
            membership = struct.pack("iHH8s", socket.if_nametoindex(interface), _PACKET_MR_PROMISC, 0, b"")
            sock.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
            sock.setblocking(False)
            return sock

        self._socket = run_in(str(layout.namespace_path(member)), listen)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def frames(self) -> list[Frame]:
        """What has passed since the last call."""
        seen: list[Frame] = []
        while True:
            try:
                data = self._socket.recv(65535)
            except BlockingIOError:
                return seen
            if len(data) >= 34 and int.from_bytes(data[12:14]) == ETHERTYPE_IPV4:
                seen.append(_parse_frame(data))


def _parse_frame(data: bytes) -> Frame:
    return Frame(
        source_mac=data[6:12].hex(":"),
        destination_mac=data[0:6].hex(":"),
        source=str(IPv4Address(data[26:30])),
        destination=str(IPv4Address(data[30:34])),
        ttl=data[22],
        protocol=data[23],
        length=len(data),
    )


def who_has(layout: Layout, member: str, interface: str, own: str, target: str, wait_s: float = 1.0) -> Answer | None:
    """Broadcasts an ARP request as the member itself would and takes the first reply."""

    def ask() -> Answer | None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE_ARP)) as sock:
            sock.bind((interface, ETHERTYPE_ARP))
            mac = bytes(sock.getsockname()[4])
            body = _ARP.pack(
                *(1, ETHERTYPE_IPV4, 6, 4, _ARP_REQUEST),
                *(mac, IPv4Address(own).packed, bytes(6), IPv4Address(target).packed),
            )
            start = time.perf_counter()
            sock.send(b"\xff" * 6 + mac + ETHERTYPE_ARP.to_bytes(2) + body)
            while (left := start + wait_s - time.perf_counter()) > 0:
                sock.settimeout(left)
                try:
                    frame = sock.recv(2048)
                except TimeoutError:
                    break
                reply = _ARP.unpack_from(frame, 14)
                if reply[4] == _ARP_REPLY and reply[6] == IPv4Address(target).packed:
                    return Answer(reply[5].hex(":"), (time.perf_counter() - start) * 1000)
        return None

    return run_in(str(layout.namespace_path(member)), ask)


class RouteWatch:
    """Notes when each member's kernel gets or loses a route to an address, from its making on.

    A thread of its own, before all others in the kernel's order: the daemons that react to the same event would
    otherwise run first, and all moments would be the one when they are done.
    """

    def __init__(self, layout: Layout, members: Sequence[str]) -> None:
        self._monitors = {member: run_in(str(layout.namespace_path(member)), Monitor) for member in members}
        self._seen: dict[tuple[str, str, bool], float] = {}
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._watch, name="route watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.close()
        self._thread.join()
        self._stopped.close()
        for monitor in self._monitors.values():
            monitor.close()

    async def wait(self, address: str, *, there: bool, timeout_s: float) -> dict[str, float]:
        """When the route came (`there`) or went, by member, on the monotonic clock; without those where it did not."""

        def moments() -> dict[str, float]:
            keys = {member: (member, address, there) for member in self._monitors}
            return {member: self._seen[key] for member, key in keys.items() if key in self._seen}

        await wait_until(lambda: len(moments()) == len(self._monitors), timeout_s)
        return moments()

    def _watch(self) -> None:
        with suppress(PermissionError):  # then the moments are as good as the machine is idle
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        poll = select.poll()
        poll.register(self._stopped, select.POLLIN)
        members = {monitor.fileno(): member for member, monitor in self._monitors.items()}
        for descriptor in members:
            poll.register(descriptor, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor not in members:
                    return
                self._note(members[descriptor], time.monotonic())

    def _note(self, member: str, now: float) -> None:
        for event in self._monitors[member].read(_EVENTS_PER_READ):
            if isinstance(event, RouteAdded | RouteDeleted):
                key = (member, _single_address(event.route), isinstance(event, RouteAdded))
                self._seen.setdefault(key, now)


def _single_address(route: Route) -> str:
    return str(ip_address(route.destination)) if route.prefix_length == 8 * len(route.destination) else ""
