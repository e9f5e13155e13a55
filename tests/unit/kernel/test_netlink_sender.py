"""What a port id of netlink says of its owner, and no more than that."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from tortie.kernel.netlink.sender import describe, ports

ME = f"{os.getpid()} ({Path('/proc/self/comm').read_text().strip()})"


def test_the_first_socket_of_a_process_has_its_id() -> None:
    assert describe(os.getpid()) == f"port id {os.getpid()}, perhaps process {ME}"


def test_libraries_put_a_number_above_the_process() -> None:
    port = os.getpid() + (3 << 22)
    assert describe(port) == f"port id {port}, perhaps process {ME}"


def test_who_has_ended_has_no_name() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert describe(process.pid) == f"port id {process.pid}, perhaps process {process.pid}, which has ended"


def test_a_number_at_random_says_nothing() -> None:
    assert describe(2349472550) == "port id 2349472550, a further socket of some process"


def test_nobody() -> None:
    assert describe(0) == "the kernel does not tell who"


def test_all_sockets_of_a_process_are_known_by_their_ports() -> None:
    with (
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as first,
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as second,
    ):
        for each in (first, second):
            each.bind((0, 0))
        found = ports(os.getpid())
        assert {first.getsockname()[0], second.getsockname()[0]} <= found
    with subprocess.Popen(["true"]) as process:
        process.wait()
        assert ports(process.pid) == frozenset()
