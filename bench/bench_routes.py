"""How long until the kernel has acknowledged many routes?

`tortie.kernel.netlink.route.add` against `ip -batch` with the same rows, in an empty namespace: the first is handed
`Route` values, the second a file that is written already, and starts as a process as it does for everyone.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bench.turns import Turn, print_table, take_turns
from tests.netns.conftest import NetnsFactory
from tests.netns.kernel.oracle import veth
from tortie.kernel.netlink import link, route
from tortie.kernel.netlink.route import SCOPE_LINK, Route

FIRST = IPv4Address("10.64.0.0")
PROTOCOL = 116
BASELINE = "ip -batch"


@pytest.mark.parametrize(("number", "rounds"), [(10_000, 15), (100_000, 5)])
def test_routes(netns: NetnsFactory, tmp_path: Path, number: int, rounds: int) -> None:
    host = netns("host")
    file = tmp_path / "routes"
    with host.netlink() as sock:
        ifindex = veth(sock).ifindex
        rows = [
            Route(socket.AF_INET, (FIRST + offset).packed, 32, ifindex, protocol=PROTOCOL, scope=SCOPE_LINK)
            for offset in range(number)
        ]
        file.write_text(
            "".join(f"route add {FIRST + offset} dev host0 scope link proto {PROTOCOL}\n" for offset in range(number))
        )

        def packed() -> None:
            assert not route.add(sock, rows)

        def ip_batch() -> None:
            subprocess.run(["ip", "-n", host.name, "-batch", str(file)], check=True)

        def timed(add: Callable[[], None]) -> Turn:
            def turn() -> float:
                start = time.perf_counter()
                add()
                took_ms = (time.perf_counter() - start) * 1000
                assert len(route.dump(sock, socket.AF_INET, protocol=PROTOCOL)) == number
                # The kernel drops all IPv4 routes of a link that is set down, faster than one by one.
                link.change(sock, ifindex, up=False)
                link.change(sock, ifindex, up=True)
                return took_ms

            return turn

        taken = take_turns({BASELINE: timed(ip_batch), "packed in Python": timed(packed)}, rounds, BASELINE)
    print_table(f"{number} routes added", taken, BASELINE)
