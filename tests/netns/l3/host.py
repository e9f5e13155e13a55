"""A host in a namespace with a real l3 sink, and the wires by which its workloads are joined to it."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Protocol

from tests.netns.conftest import Namespace
from tortie.dataplane import l3
from tortie.intent.l3 import EndpointKey, LocalEndpoint
from tortie.intent.report import EndpointReport, EndpointState
from tortie.kernel.netlink import link
from tortie.kernel.netlink.monitor import Monitor, Overflow
from tortie.kernel.tap import open_tap

GUEST_MAC = "02:00:00:00:00:01"
ETH_P_ALL = 0x0003
DEADLINE_S = 5.0


class Host:
    """The l3 sink of a namespace, driven as the agent drives it: events in, passes until nothing is left."""

    def __init__(self, namespace: Namespace, bpffs: Path, state_dir: Path) -> None:
        self.namespace = namespace
        self.bpffs = bpffs
        self.state_dir = state_dir
        self.socket = namespace.netlink()
        self.monitor = namespace.call(Monitor)
        made = namespace.call(lambda: l3.make(self.socket, bpffs, state_dir))
        self.sink = made.sink
        self.responder = made.responder
        self.closes = [made.close]

    def start(self) -> None:
        """What an agent does first once it knows the whole state: events before the read-back are old news."""
        while self.monitor.read(500):
            pass
        self.resync()
        self.settle(lambda: True)

    def resync(self) -> None:
        """The audit: reads everything back."""

        def work() -> None:
            for _ in self.sink.resync():
                pass

        self.namespace.call(work)

    def desire(self, name: str, interface: str, *addresses: str, mac: str = GUEST_MAC) -> None:
        key = EndpointKey("WorkloadEndpoint", "default", name)
        endpoint = LocalEndpoint(
            key=key, interface=interface, mac=mac, addresses=tuple(ip_address(text) for text in addresses)
        )
        self.sink.desire(key, endpoint)

    def release(self, name: str) -> None:
        self.sink.desire(EndpointKey("WorkloadEndpoint", "default", name), None)

    def report(self, name: str) -> EndpointReport:
        return self.sink.reports[f"default/{name}"]

    def settle(self, until: Callable[[], bool]) -> None:
        """Takes events and makes passes until `until` holds; an AssertionError when it never does."""

        def work() -> bool:
            deadline = time.monotonic() + DEADLINE_S
            while time.monotonic() < deadline:
                for event in self.monitor.read(500):
                    if isinstance(event, Overflow):
                        list(self.sink.resync())
                    else:
                        self.sink.observe(event)
                while self.sink.apply(time.monotonic()):
                    pass
                if until():
                    return True
                due = self.sink.next_due()
                left = (due if due is not None else deadline) - time.monotonic()
                select.select([self.monitor], [], [], max(0.0, min(left, deadline - time.monotonic())))
            return False

        assert self.namespace.call(work), (self.sink.reports, list(self.sink.pending))

    def settle_up(self, name: str) -> None:
        self.settle(lambda: self.report(name).state is EndpointState.UP)

    def close(self) -> None:
        for close in self.closes:
            close()
        self.monitor.close()
        self.socket.close()


class Wire(Protocol):
    """The workload's side of its interface."""

    host_mac: str

    def send(self, frame: bytes) -> None: ...

    def receive(self, timeout_s: float) -> bytes | None: ...

    def close(self) -> None: ...


class VethWire:
    """A veth whose far end is a raw socket in the workload's namespace, where no kernel stack may answer."""

    host_mac = "ee:ee:ee:ee:ee:ee"

    def __init__(self, host: Namespace, guest: Namespace, interface: str) -> None:
        with host.netlink() as sock, guest.netlink() as inner:
            descriptor = os.open(guest.path, os.O_RDONLY)
            try:
                link.create_veth(sock, link.VethEnd(interface), link.VethEnd("eth0", GUEST_MAC, 0, descriptor))
            finally:
                os.close(descriptor)
            guest.run("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1 && ip link set eth0 arp off")
            link.change(inner, link.get(inner, "eth0").ifindex, up=True)
            link.change(sock, link.get(sock, interface).ifindex, up=True)
        self._socket = guest.call(self._open)

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def receive(self, timeout_s: float) -> bytes | None:
        ready, _, _ = select.select([self._socket], [], [], timeout_s)
        return self._socket.recv(65536) if ready else None

    def close(self) -> None:
        self._socket.close()

    @staticmethod
    def _open() -> socket.socket:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        opened.bind(("eth0", ETH_P_ALL))
        return opened


class TapWire:
    """A TAP held by the test, as a hypervisor holds it."""

    host_mac = "fe:" + GUEST_MAC[3:]

    def __init__(self, host: Namespace, interface: str) -> None:
        self._descriptor = host.call(lambda: open_tap(interface))
        with host.netlink() as sock:
            link.change(sock, link.get(sock, interface).ifindex, up=True)

    def send(self, frame: bytes) -> None:
        os.write(self._descriptor, frame)

    def receive(self, timeout_s: float) -> bytes | None:
        ready, _, _ = select.select([self._descriptor], [], [], timeout_s)
        return os.read(self._descriptor, 65536) if ready else None

    def close(self) -> None:
        os.close(self._descriptor)


def address(text: str) -> IPv4Address | IPv6Address:
    return ip_address(text)
