"""Workloads that come up on three hosts: how soon is one reached from another host, and what do a thousand take?

Three hosts, a route reflector, one datastore, policy in force; a namespace is given for each workload. One attach is
measured from the request on the agent's socket to the answer, and to the first answered ping of another host, which
asks each half of a millisecond, from before the request on.

Promises: from the request to the first answered ping 30 ms in the median and 100 ms in 99 of 100, and among a thousand
workloads an attach takes at most 1.5 times what it takes among ten.
"""

from __future__ import annotations

import asyncio
import errno
import select
import shutil
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path

import pytest

from bench.reflected import RESOURCES
from bench.turns import percentile, print_table
from tortie.cli.agent_client import post
from tortie.kernel import netns
from tortie.lab import topology
from tortie.lab.layout import Layout
from tortie.lab.up import up

ROUNDS = 100
FEW, MANY = 10, 1000
HOSTS = ("a", "b", "c")
TIMEOUT_S = 30.0
PING_S = 0.0005
MEDIAN_MS, P99_MS, MANY_TO_FEW = 30.0, 100.0, 1.5

TOPOLOGY = """\
name: fleet
subnets:
  - {name: fabric, prefixes: [192.0.2.0/24]}
hosts:
  - {name: reflector, addresses: [192.0.2.1], route_reflector: 244.0.0.1, labels: {role: reflector}}
  - {name: a, addresses: [192.0.2.11]}
  - {name: b, addresses: [192.0.2.12]}
  - {name: c, addresses: [192.0.2.13]}
# One for each host: when all routes are known, all sessions are up.
workloads:
  - {name: first, host: a, addresses: [10.65.255.1]}
  - {name: second, host: b, addresses: [10.65.255.2]}
  - {name: third, host: c, addresses: [10.65.255.3]}
"""


class Pinger:
    """Asks for echoes from one host."""

    def __init__(self, namespace: Path) -> None:
        made = netns.run_in(str(namespace), lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
        made.setblocking(False)
        self._socket = made

    def close(self) -> None:
        self._socket.close()

    def first_answer(self, address: IPv4Address) -> float:
        """Asks until there is an answer, and returns its moment (time.monotonic)."""
        deadline = time.monotonic() + TIMEOUT_S
        for sequence in count(1):
            self._ask(address, sequence & 0xFFFF)
            due = time.monotonic() + PING_S
            while (left := due - time.monotonic()) > 0:
                if select.select([self._socket], [], [], left)[0] and self._is_from(address):
                    return time.monotonic()
            assert due < deadline, f"{address} does not answer"
        raise AssertionError

    def _ask(self, address: IPv4Address, sequence: int) -> None:
        words = (8 << 8, 1, sequence)  # type and code, identifier, sequence
        total = sum(words)
        checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF  # RFC 1071
        try:
            self._socket.sendto(struct.pack("!4H", words[0], checksum, *words[1:]), (str(address), 0))
        except OSError as error:  # no route yet, or the host said that there was none
            if error.errno not in (errno.ENETUNREACH, errno.EHOSTUNREACH):
                raise

    def _is_from(self, address: IPv4Address) -> bool:
        try:
            packet = self._socket.recv(2048)
        except OSError:  # an unreachable that came back
            return False
        return packet[12:16] == address.packed and packet[20] == 0


class Fleet:
    """The hosts, with the workloads that were attached."""

    def __init__(self, lab: Layout) -> None:
        self._lab = lab
        self._fresh = (IPv4Address("10.65.0.0") + number for number in count(1))
        self._guest = netns.create(lab.namespace("guest"))
        self._pinger = Pinger(lab.namespace_path("c"))
        self.size = 0

    def close(self) -> None:
        self._pinger.close()

    def grow(self, size: int) -> float:
        """Attaches workloads to all hosts, each in turn and all beside each other; so many seconds."""
        guests = [(number, netns.create(self._lab.namespace(f"g{number}"))) for number in range(self.size, size)]
        work = [[(number, guest, next(self._fresh)) for number, guest in guests[n :: len(HOSTS)]] for n in range(3)]

        def one_host(host: str, some: list[tuple[int, str, IPv4Address]]) -> None:
            for number, guest, address in some:
                self._attach(host, f"w{number}", guest, address)

        start = time.monotonic()
        with ThreadPoolExecutor(len(HOSTS)) as pool:
            for done in [pool.submit(one_host, *each) for each in zip(HOSTS, work, strict=True)]:
                done.result()
        self.size = size
        return time.monotonic() - start

    def attach_once(self) -> tuple[float, float]:
        """Milliseconds from the request to the answer, and to the first answered ping of another host."""
        address = next(self._fresh)
        with ThreadPoolExecutor(1) as pool:
            pinging = pool.submit(self._pinger.first_answer, address)
            start = time.monotonic()
            self._attach("a", "new", self._guest, address)
            answered = time.monotonic()
            reached = pinging.result()
        post(self._lab.member("a").agent_socket, "/v1/detach", {"name": "new"}, TIMEOUT_S)
        return (answered - start) * 1000, (reached - start) * 1000

    def _attach(self, host: str, name: str, guest: str, address: IPv4Address) -> None:
        asked = {"name": name, "netns": guest, "addresses": [str(address)]}
        post(self._lab.member(host).agent_socket, "/v1/attach", asked, TIMEOUT_S)


@pytest.mark.timeout(1200)
@pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed")
def test_fleet(lab_name: str) -> None:
    wanted = topology.renamed(topology.parse(TOPOLOGY + RESOURCES, "fleet"), lab_name)
    assert asyncio.run(up(wanted, print, wait_s=30)) == {}
    fleet = Fleet(Layout(lab_name))
    answered: dict[str, list[float]] = {}
    reached: dict[str, list[float]] = {}
    try:
        for size in (FEW, MANY):
            before = fleet.size
            took_s = fleet.grow(size)
            print(f"\n{size - before} more workloads: {took_s:.1f} s, {(size - before) / took_s:.0f} a second")
            turns = [fleet.attach_once() for _ in range(ROUNDS)]
            answered[f"{size} workloads"], reached[f"{size} workloads"] = (
                list(each) for each in zip(*turns, strict=True)
            )
    finally:
        fleet.close()
    print_table("from the request to the answer, among", answered, f"{FEW} workloads")
    print_table("from the request to the first answered ping of another host, among", reached, f"{FEW} workloads")
    few, many = reached[f"{FEW} workloads"], reached[f"{MANY} workloads"]
    assert percentile(few, 50) <= MEDIAN_MS
    assert percentile(few, 99) <= P99_MS
    assert percentile(many, 50) <= MANY_TO_FEW * percentile(few, 50)
    ratio = percentile(answered[f"{MANY} workloads"], 50) / percentile(answered[f"{FEW} workloads"], 50)
    assert ratio <= MANY_TO_FEW
