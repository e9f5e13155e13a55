"""A host to be examined: an uplink, a workload interface as an agent leaves it, and the program run inside."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.netns.conftest import Namespace, NetnsFactory
from tortie.bootstrap import Bootstrap
from tortie.doctor.examination import Check
from tortie.doctor.finding import Finding
from tortie.doctor.host import Host

Examine = Callable[[Check], list[Finding]]
Doctor = Callable[..., "Said"]

SOURCE = Path(__file__).parents[3] / "src"

AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
needs_readable_checkout = pytest.mark.skipif(
    not all(path.stat().st_mode & stat.S_IXOTH for path in [*SOURCE.parents, *Path(sys.executable).parents]),
    reason="another user may not read this checkout or its Python",
)


class Said:
    """What the program said as JSON, and its exit code."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        assert code in (0, 1), stderr
        self.code = code
        self.stderr = stderr
        self.report: dict[str, Any] = json.loads(stdout)

    def of(self, check: str) -> list[Mapping[str, str]]:
        return [finding for finding in self.report["findings"] if finding["check"] == check]


@pytest.fixture
def host(netns: NetnsFactory) -> Namespace:
    namespace = netns("host")
    namespace.run(
        "ip link add eth0 type veth peer name fabric; ip link add cali1 type veth peer name guest1;"
        "ip link add cali2 type veth peer name guest2;"
        "for each in eth0 fabric cali1 guest1 cali2 guest2; do ip link set $each up; done;"
        "ip address add 172.18.203.125/24 dev eth0; ip route add default via 172.18.203.1 dev eth0;"
        "for each in cali1 cali2; do ip address add 169.254.1.1/32 dev $each scope host; done;"
        "ip route add 10.65.0.21/32 dev cali1 scope link proto 116;"
        "ip route add fd00:65::21/128 dev cali1 metric 16 proto 116;"
        "ip route add 10.65.0.22/32 dev cali2 scope link proto 116;"
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.send_redirects=0"
        " net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0;"
        "for each in cali1 cali2; do sysctl -qw net.ipv4.conf.$each.send_redirects=0 net.ipv4.conf.$each.rp_filter=0;"
        " done"
    )
    return namespace


@pytest.fixture
def settings(tmp_path: Path) -> Bootstrap:
    return Bootstrap(run_dir=str(tmp_path), bird_socket=str(tmp_path / "bird.ctl"))


@pytest.fixture
def examine(host: Namespace, settings: Bootstrap) -> Examine:
    """The findings of one check, and that it saw everything."""

    def run(check: Check) -> list[Finding]:
        results = host.call(lambda: list(check(Host(settings))))
        return [result for result in results if isinstance(result, Finding) or pytest.fail(f"unseen: {result}")]

    return run


@pytest.fixture
def doctor(host: Namespace, settings: Bootstrap) -> Doctor:
    """The program, as a command."""

    def run(*prefix: str) -> Said:
        environment = {
            **os.environ,
            "TORTIE_RUN_DIR": settings.run_dir,
            "TORTIE_BIRD_SOCKET": settings.bird_socket,
            "PYTHONPATH": str(SOURCE),
        }
        command = [*prefix, sys.executable, "-m", "tortie", "doctor", "-o", "json"]
        done = subprocess.run(
            ["ip", "netns", "exec", host.name, *command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return run
