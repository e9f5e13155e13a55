"""A host with two workloads and an uplink, each of them a TAP that the test holds: frames in, frames out.

    world ── eth0 ──┐
                    ├─ host in a namespace ── calia (10.65.0.1, fd00:65::1)
                    └─────────────────────── calib (10.65.0.2, fd00:65::2)

The kernel takes a frame from a TAP, and hands what becomes of it to another, within the write: so what was sent is
through when a marked packet sent after it comes out.
"""

from __future__ import annotations

import os
import select
import time
from ipaddress import IPv4Address, ip_address, ip_network
from typing import NamedTuple

from tests.contract.wire import Frame, build, parse
from tests.netns.conftest import Namespace
from tortie.intent.packet import Fib, Packet, Route
from tortie.intent.policy import Address
from tortie.kernel.netfilter import conntrack
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netlink import link
from tortie.kernel.tap import open_tap

HOST_MAC = "02:00:00:00:00:99"
DEADLINE_S = 5.0


class Port(NamedTuple):
    """An interface of the host: its own address there, and those behind it."""

    interface: str
    mac: str  # of whoever is at the other end
    addresses: tuple[Address, ...]


A = Port("calia", "02:00:00:00:00:01", (ip_address("10.65.0.1"), ip_address("fd00:65::1")))
B = Port("calib", "02:00:00:00:00:02", (ip_address("10.65.0.2"), ip_address("fd00:65::2")))
WORLD = Port("eth0", "02:00:00:00:00:03", (ip_address("172.18.203.1"), ip_address("fd00:18::1")))
PORTS = (A, B, WORLD)
HOST_ADDRESSES: tuple[Address, ...] = (ip_address("172.18.203.125"), ip_address("fd00:18::125"))


class Arena:
    """The host and its TAPs."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self._taps: dict[str, int] = {}
        for port in PORTS:
            self._open(port)
        namespace.run("; ".join(self._set_up()))

    def close(self) -> None:
        for descriptor in self._taps.values():
            os.close(descriptor)

    def make_anew(self, port: Port) -> None:
        """Takes the interface away, and makes another of its name."""
        os.close(self._taps[port.interface])
        self._open(port)
        self.namespace.run("; ".join(self._set_up()))

    def _open(self, port: Port) -> None:
        self._taps[port.interface] = self.namespace.call(lambda: open_tap(port.interface))
        os.set_blocking(self._taps[port.interface], False)
        with self.namespace.netlink() as sock:
            link.change(sock, link.get(sock, port.interface).ifindex, up=True)

    def forget_flows(self, sock: NetfilterSocket) -> None:
        """From now on every packet begins a conversation."""
        for some in list(conntrack.walk(sock)):
            conntrack.delete(sock, some)

    @property
    def fib(self) -> Fib:
        """What the host's routes say."""
        routes = [Route(ip_network(address), port.interface) for port in (A, B) for address in port.addresses]
        routes += [Route(ip_network(net), "eth0", source) for net, source in zip(("0.0.0.0/0", "::/0"), HOST_ADDRESSES)]  # noqa: B905 - two each
        held = {"eth0": frozenset(HOST_ADDRESSES), "lo": frozenset[Address]({IPv4Address("127.0.0.1")})}
        return Fib(routes=tuple(routes), addresses=held)

    def send(self, packet: Packet, mark: int) -> None:
        """As the neighbour at the packet's interface would, with a number by which it is known again."""
        self.send_frame(packet.interface, build(packet, HOST_MAC, mark))

    def send_frame(self, interface: str, frame: bytes) -> None:
        """Whatever the neighbour may say."""
        os.write(self._taps[interface], frame)

    def received(self, until: set[int]) -> dict[int, tuple[str, Frame]]:
        """All marked packets that came out, by their number; waits until those of `until` did, or it is too late."""
        found: dict[int, tuple[str, Frame]] = {}
        deadline = time.monotonic() + DEADLINE_S
        names = {descriptor: name for name, descriptor in self._taps.items()}
        while True:
            for descriptor, name in names.items():
                while (raw := self._read(descriptor)) is not None:
                    frame = parse(raw)
                    if frame is not None:
                        found[frame.mark] = (name, frame)
            left = deadline - time.monotonic()
            if until <= found.keys() or left <= 0:
                return found
            select.select(list(names), [], [], left)

    @staticmethod
    def _read(descriptor: int) -> bytes | None:
        try:
            return os.read(descriptor, 65536)
        except BlockingIOError:
            return None

    @staticmethod
    def _set_up() -> list[str]:
        commands = [
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0",
            "sysctl -qw net.netfilter.nf_conntrack_checksum=0",
            "sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.conf.all.accept_dad=0 net.ipv4.conf.all.send_redirects=0",
        ]
        for port in PORTS:
            name = port.interface
            commands += [
                f"sysctl -qw net.ipv4.conf.{name}.rp_filter=0 net.ipv4.conf.{name}.send_redirects=0",
                f"sysctl -qw net.ipv6.conf.{name}.accept_dad=0 net.ipv6.conf.{name}.accept_ra=0",
                f"ip link set {name} address {HOST_MAC}",
            ]
        for address in HOST_ADDRESSES:
            # An address that is still being probed for is not the host's yet.
            length = "/24" if address.version == 4 else "/64 nodad"
            commands.append(f"ip address replace dev eth0 {address}{length}")
        for port in PORTS:
            for address in port.addresses:
                commands.append(f"ip neigh replace {address} lladdr {port.mac} dev {port.interface} nud permanent")
                if port is not WORLD:
                    commands.append(f"ip route replace {address} dev {port.interface}")
                else:
                    commands.append(f"ip -{address.version} route replace default via {address} dev eth0")
        return commands
