"""The pump as a wire: real TAPs in two namespaces, frames of every kind both ways."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.netns.conftest import Namespace, NetnsFactory
from tortie.lab import pump
from tortie.lab.process import wait_until


@contextmanager
def packet_socket(namespace: Namespace, interface: str) -> Iterator[socket.socket]:
    """A socket for whole frames of an interface."""
    every_protocol = socket.htons(0x0003)

    def make() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, every_protocol)
        made.bind((interface, 0x0003))
        return made

    with namespace.call(make) as opened:
        opened.settimeout(5)
        yield opened


class Wire:
    """A host with `tap0`, a workload with `eth0`, and the pump between them."""

    def __init__(self, netns: NetnsFactory) -> None:
        self.host, self.workload = netns("host"), netns("workload")
        self.host.run("ip tuntap add dev tap0 mode tap && ip link set tap0 up")
        self.workload.run("ip tuntap add dev eth0 mode tap && ip link set eth0 up")
        self.pump: subprocess.Popen[bytes] | None = None

    def plug(self) -> subprocess.Popen[bytes]:
        self.pump = subprocess.Popen(pump.command(self.host.name, "tap0", self.workload.name, "eth0"))
        return self.pump

    def unplug(self) -> None:
        if self.pump:
            self.pump.kill()
            self.pump.wait()
            self.pump = None

    def has_carrier(self) -> bool:
        return all("LOWER_UP" in where.run("ip link show type tun") for where in (self.host, self.workload))


@pytest.fixture
def wire(netns: NetnsFactory) -> Iterator[Wire]:
    made = Wire(netns)
    yield made
    made.unplug()


def run_quietly(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)


def ping(namespace: Namespace, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_quietly(["nsenter", f"--net={namespace.path}", "ping", "-n", *arguments])


async def test_the_tap_has_a_carrier_exactly_while_the_pump_runs(wire: Wire) -> None:
    assert not wire.has_carrier()
    wire.plug()
    assert await wait_until(wire.has_carrier, 5)
    wire.unplug()
    assert await wait_until(lambda: not wire.has_carrier(), 5)
    wire.plug()
    assert await wait_until(wire.has_carrier, 5)


@pytest.mark.parametrize("size", [14, 60, 1514], ids=lambda size: f"{size} bytes")
async def test_frames_arrive_unchanged_both_ways(wire: Wire, size: int) -> None:
    wire.plug()
    assert await wait_until(wire.has_carrier, 5)
    with packet_socket(wire.host, "tap0") as near, packet_socket(wire.workload, "eth0") as far:
        for sender, receiver, filler in ((near, far, b"\xaa"), (far, near, b"\xbb")):
            # IEEE 802 local experimental ethertype 1: nobody else sends it.
            frame = bytes.fromhex("0200000000020200000000 01 88b5") + filler * (size - 14)
            sender.send(frame)
            assert receive(receiver, lambda received: received[12:14] == b"\x88\xb5") == frame


def receive(receiver: socket.socket, wanted: Callable[[bytes], bool]) -> bytes:
    while True:
        frame = receiver.recv(65535)
        if wanted(frame):
            return frame


async def test_hosts_at_both_ends_resolve_and_reach_each_other_with_full_packets(wire: Wire) -> None:
    wire.host.run("ip addr add 192.0.2.1/24 dev tap0; ip addr add 2001:db8::1/64 dev tap0 nodad")
    wire.workload.run("ip addr add 192.0.2.2/24 dev eth0; ip addr add 2001:db8::2/64 dev eth0 nodad")
    wire.plug()
    assert await wait_until(wire.has_carrier, 5)
    for namespace, address in (
        (wire.host, "192.0.2.2"),
        (wire.workload, "192.0.2.1"),
        (wire.host, "2001:db8::2"),
        (wire.workload, "2001:db8::1"),
    ):
        full_mtu = "1452" if ":" in address else "1472"
        result = ping(namespace, "-c", "5", "-i", "0.01", "-W", "5", "-M", "do", "-s", full_mtu, address)
        assert "5 received" in result.stdout, result.stdout
    mac = wire.workload.run("cat /sys/class/net/eth0/address").strip()
    assert f"192.0.2.2 dev tap0 lladdr {mac}" in wire.host.run("ip neigh")


async def test_a_flood_one_way_does_not_silence_the_other(wire: Wire) -> None:
    wire.host.run("ip addr add 192.0.2.1/24 dev tap0")
    wire.workload.run("ip addr add 192.0.2.2/24 dev eth0")
    wire.plug()
    assert await wait_until(wire.has_carrier, 5)
    with flood(wire.host, "192.0.2.255"):
        result = ping(wire.workload, "-c", "10", "-i", "0.02", "-W", "5", "192.0.2.1")
    assert "10 received" in result.stdout, result.stdout


@contextmanager
def flood(namespace: Namespace, address: str) -> Iterator[None]:
    """As many packets as one process can send, for as long as the block."""
    argv = ["nsenter", f"--net={namespace.path}", "ping", "-f", "-q", "-b", address]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield
        process.kill()


async def test_it_survives_an_interface_that_is_set_down(wire: Wire) -> None:
    wire.host.run("ip addr add 192.0.2.1/24 dev tap0")
    wire.workload.run("ip addr add 192.0.2.2/24 dev eth0")
    running = wire.plug()
    assert await wait_until(wire.has_carrier, 5)
    wire.workload.run("ip link set eth0 down")
    ping(wire.host, "-c", "1", "-W", "0.2", "192.0.2.2")
    wire.workload.run("ip link set eth0 up")
    assert await wait_until(lambda: ping(wire.host, "-c", "1", "-W", "1", "192.0.2.2").returncode == 0, 10)
    assert running.poll() is None


async def test_it_ends_when_its_tap_is_deleted(wire: Wire) -> None:
    running = wire.plug()
    assert await wait_until(wire.has_carrier, 5)
    wire.host.run("ip link delete tap0")
    assert running.wait(5) == 0


async def test_it_ends_with_the_reason_when_there_is_no_such_namespace() -> None:
    result = run_quietly(pump.command("tt-nosuch-a", "tap0", "tt-nosuch-b", "eth0"))
    assert result.returncode == 1
    assert "tt-nosuch-a" in result.stderr.splitlines()[-1]
