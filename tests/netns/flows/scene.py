"""A host with the real policy backend, two workloads behind veths and the world behind an uplink, each a namespace.

world 192.0.2.1 ── eth0 ──┐
                          ├─ host ── calia ── a 10.65.0.1, fd00:65::1
                          └───────── calib ── b 10.65.0.2, fd00:65::2
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

from tests.contract.driver import interfaces
from tests.netns.conftest import Namespace, NetnsFactory
from tests.netns.kernel.oracle import wait_link
from tortie.dataplane import nftables
from tortie.dataplane.flows import FlowAudit
from tortie.errors import Busy
from tortie.intent.bulk import BulkJudge
from tortie.intent.indexed import IndexedState
from tortie.intent.state import PolicyChanges
from tortie.kernel.netfilter import conntrack
from tortie.kernel.netfilter.conntrack import Connection
from tortie.kernel.netfilter.socket import NetfilterSocket

PREFIXES = ("cali", "tap")
TIMEOUT_S = 5


class Net(NamedTuple):
    """The addresses of one family."""

    family: int
    a: str
    b: str
    world: str
    host: str


V4 = Net(socket.AF_INET, "10.65.0.1", "10.65.0.2", "192.0.2.1", "192.0.2.2")
V6 = Net(socket.AF_INET6, "fd00:65::1", "fd00:65::2", "fd00:18::1", "fd00:18::2")
MACS = {"a": "02:00:00:00:00:01", "b": "02:00:00:00:00:02"}


class Agent:
    """What an agent holds, from its start on: intent, backend, judge and audit; nothing is kept from another."""

    def __init__(self, host: Namespace) -> None:
        self._host = host
        self._socket = NetfilterSocket.open_in(host.path)
        self._netlink = host.netlink()
        self.backend = nftables.make(self._socket, PREFIXES)
        self.state = IndexedState()
        self.judge = BulkJudge(self.state)
        self.refusals = 0  # so many times no connections are listed
        self.audit = FlowAudit(self.state, self.judge, self._open, self._netlink)
        self.now = time.monotonic()

        self._host = host

    def _open(self) -> NetfilterSocket:
        if self.refusals:
            self.refusals -= 1
            raise Busy("list connections: try again")
        return NetfilterSocket.open_in(self._host.path)

    def stop(self) -> None:
        self.audit.close()
        self._socket.close()
        self._netlink.close()

    def take(self, changes: PolicyChanges) -> None:
        """The kernel has the policy, and what it forbids is cut."""
        self.enforce(changes)
        self.settle()

    def enforce(self, changes: PolicyChanges) -> None:
        self.backend.observe(interfaces(self._host, {}))
        for part in (self.backend, self.state, self.judge, self.audit):
            part.take(changes)
        for _ in self.backend.resync():
            pass
        while self.backend.apply(time.monotonic()):
            pass
        assert list(self.backend.pending) == []

    def settle(self) -> None:
        """Walks until nothing is found."""
        while not self.audit.quiet:
            self.step()
        assert self.audit.problem is None

    def step(self) -> None:
        """Of the audit; time goes as fast as it wishes."""
        self.audit.apply(self.now)
        self.now = max(self.now, self.audit.next_due() or 0.0)


class Scene:
    """The namespaces, and sockets in them that are closed with the test."""

    def __init__(self, stack: ExitStack, netns: NetnsFactory) -> None:
        self._stack = stack
        self.host, self.a, self.b, self.world = (netns(name) for name in ("host", "a", "b", "world"))
        self.host.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0")
        for name, guest in (("a", self.a), ("b", self.b)):
            self._join(name, guest, getattr(V4, name), getattr(V6, name))
        self.host.run(f"ip link add eth0 type veth peer name eth0 netns {self.world.name}")
        for where, v4, v6 in ((self.host, V4.host, V6.host), (self.world, V4.world, V6.world)):
            where.run(f"ip addr add {v4}/24 dev eth0; ip addr add {v6}/64 dev eth0 nodad; ip link set eth0 up")
        for where in (self.host, self.world):
            wait_link(where, "eth0", lambda found: found.running)
        self.world.run(f"ip route add default via {V4.host}; ip -6 route add default via {V6.host}")
        self.host.run(f"ip route add default via {V4.world}; ip -6 route add default via {V6.world}")
        self.sock = stack.enter_context(NetfilterSocket.open_in(self.host.path))
        self.agent = Agent(self.host)
        stack.callback(lambda: self.agent.stop())

    def restart(self) -> None:
        """A fresh agent, before it knows anything."""
        self.agent.stop()
        self.agent = Agent(self.host)

    def connections(self, protocol: int) -> list[Connection]:
        return [each for piece in conntrack.walk(self.sock) for each in piece if each.original.protocol == protocol]

    def udp(self, where: Namespace, address: str, port: int = 0) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def bind() -> socket.socket:
            made = socket.socket(family, socket.SOCK_DGRAM)
            made.bind((address, port))
            made.settimeout(TIMEOUT_S)
            return made

        return self._stack.enter_context(where.call(bind))

    def tcp(self, client: Namespace, server: Namespace, address: str, port: int) -> tuple[socket.socket, socket.socket]:
        """Both ends of a connection over which something went."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = self._stack.enter_context(
            server.call(lambda: socket.create_server((address, port), family=family, backlog=8))
        )
        return self.connect(client, address, port, listener)

    def connect(
        self, client: Namespace, address: str, port: int, listener: socket.socket
    ) -> tuple[socket.socket, socket.socket]:
        one = self._stack.enter_context(
            client.call(lambda: socket.create_connection((address, port), timeout=TIMEOUT_S))
        )
        listener.settimeout(TIMEOUT_S)
        other, _ = listener.accept()
        self._stack.enter_context(other)
        other.settimeout(TIMEOUT_S)
        talk(one, other)
        return one, other

    def _join(self, name: str, guest: Namespace, v4: str, v6: str) -> None:
        end = f"cali{name}"
        self.host.run(f"ip link add {end} type veth peer name eth0 address {MACS[name]} netns {guest.name}")
        self.host.run(
            f"ip addr add 169.254.1.1/32 dev {end}; ip addr add fe80::1/64 dev {end} nodad; ip link set {end} up"
        )
        guest.run(f"ip addr add {v4}/32 dev eth0; ip addr add {v6}/128 dev eth0 nodad; ip link set eth0 up")
        wait_link(self.host, end, lambda found: found.running)
        wait_link(guest, "eth0", lambda found: found.running)
        guest.run(
            "ip route add 169.254.1.1 dev eth0; ip route add default via 169.254.1.1;"
            "ip -6 route add default via fe80::1 dev eth0"
        )
        mac = MACS[name]
        self.host.run(
            f"ip route add {v4} dev {end}; ip -6 route add {v6} dev {end};"
            f"ip neigh replace {v4} lladdr {mac} dev {end}; ip neigh replace {v6} lladdr {mac} dev {end}"
        )


def talk(one: socket.socket, other: socket.socket) -> None:
    """Both ways, and both arrive."""
    for sender, receiver in ((one, other), (other, one)):
        sender.send(b"x")
        assert receiver.recv(10) == b"x"


def make(netns: NetnsFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(stack, netns)
