"""A packet's path: guest a, host, guest b, each in a namespace of its own, with sockets at both ends."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

from tests.netns.conftest import Namespace, NetnsFactory
from tests.netns.kernel.netfilter.nft import connected
from tests.netns.kernel.oracle import wait_link
from tortie.kernel.netfilter.socket import NetfilterSocket


class Addresses(NamedTuple):
    family: int
    a: str
    host_a: str
    b: str
    host_b: str


V4 = Addresses(socket.AF_INET, "10.0.1.2", "10.0.1.1", "10.0.2.2", "10.0.2.1")
V6 = Addresses(socket.AF_INET6, "fd00:1::2", "fd00:1::1", "fd00:2::2", "fd00:2::1")

Datagram = tuple[bytes, tuple[str, int]]


class Path:
    """Interfaces `to_a` and `to_b` on the host, `eth0` in the guests; `sock` is the host's."""

    def __init__(self, stack: ExitStack, netns: NetnsFactory) -> None:
        self._stack = stack
        self.a, self.host, self.b = netns("a"), netns("host"), netns("b")
        for where in (self.a, self.host, self.b):
            # Until its own link-local address is proven, a host asks for no neighbour of a forwarded packet.
            where.run("sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.dad_transmits=0")
        self.host.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        for guest, name, net in ((self.a, "to_a", "1"), (self.b, "to_b", "2")):
            self.host.run(f"ip link add {name} type veth peer name eth0 netns {guest.name}")
            for where, link, last in ((self.host, name, "1"), (guest, "eth0", "2")):
                where.run(f"ip addr add 10.0.{net}.{last}/24 dev {link}; ip link set {link} up")
                where.run(f"ip addr add fd00:{net}::{last}/64 dev {link} nodad")
            wait_link(self.host, name, lambda found: found.running)
            wait_link(guest, "eth0", lambda found: found.running)
            guest.run(f"ip route add default via 10.0.{net}.1; ip -6 route add default via fd00:{net}::1")
        self.sock: NetfilterSocket = stack.enter_context(connected(self.host))

    def udp(self, where: Namespace, address: str, port: int = 0, protocol: int = socket.IPPROTO_UDP) -> socket.socket:
        """A datagram socket bound there; it is closed when the test ends."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def bind() -> socket.socket:
            made = socket.socket(family, socket.SOCK_DGRAM, protocol)
            made.bind((address, port))
            made.settimeout(5)
            return made

        return self._stack.enter_context(where.call(bind))

    def tcp(self, address: str, port: int) -> tuple[socket.socket, socket.socket]:
        """A connection from a to a port of b: both its ends."""
        server = self.listen(address, port)
        client = self.connect(address, port)
        accepted, _ = server.accept()
        return client, self._stack.enter_context(accepted)

    def listen(self, address: str, port: int) -> socket.socket:
        """A listening socket in b."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return self._stack.enter_context(
            self.b.call(lambda: socket.create_server((address, port), family=family, backlog=8))
        )

    def connect(self, address: str, port: int) -> socket.socket:
        """From a."""
        return self._stack.enter_context(self.a.call(lambda: socket.create_connection((address, port), timeout=5)))


def make(netns: NetnsFactory) -> Iterator[Path]:
    with ExitStack() as stack:
        yield Path(stack, netns)


def waiting(sock: socket.socket) -> bool:
    """Whether something has come, now."""
    return bool(select.select([sock], [], [], 0)[0])
