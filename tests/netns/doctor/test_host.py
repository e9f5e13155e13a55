"""A host of a real kernel: settings, links, processes and sockets as others leave them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns.conftest import Namespace, NetnsFactory
from tests.netns.doctor.conftest import AS_NOBODY, Doctor, Examine, needs_readable_checkout
from tortie.bootstrap import Bootstrap
from tortie.doctor import bird, features, limits, mtu, rivals, rules, sysctls
from tortie.doctor.finding import Finding


@contextmanager
def running(host: Namespace, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A program in the host's namespace, from the first line that it says on."""
    inside = ["nsenter", f"--net={host.path}", *command]
    with subprocess.Popen(inside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@contextmanager
def agent(host: Namespace) -> Iterator[None]:
    """What looks like an agent by its command."""
    with running(host, sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)", "tortie", "agent"):
        yield


def places(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(str(finding.severity), finding.where) for finding in findings]


def test_settings_as_an_agent_leaves_them(examine: Examine) -> None:
    assert examine(sysctls.check) == []


def test_settings_that_others_changed(host: Namespace, examine: Examine) -> None:
    host.run("sysctl -qw net.ipv4.conf.cali1.rp_filter=1 net.ipv4.conf.all.proxy_arp=1")
    host.run("sysctl -qw net.ipv4.conf.eth0.forwarding=0")
    assert places(examine(sysctls.check)) == [
        ("error", "net.ipv4.conf.eth0.forwarding = 0"),
        ("warning", "net.ipv4.conf.cali1.rp_filter = 1"),
        ("warning", "net.ipv4.conf.all.proxy_arp = 1"),
    ]


def test_rules_that_come_before_the_main_table(host: Namespace, examine: Examine) -> None:
    host.run("ip rule add pref 90 from 192.0.2.1 lookup 77; ip rule add pref 91 to 192.0.2.0/24 prohibit")
    host.run("ip -6 rule add pref 92 fwmark 2 lookup 78")
    assert places(examine(rules.check)) == [], "nothing leads a workload's packets away: table 78 is empty"
    host.run("ip rule add pref 100 lookup 77; ip route add default via 172.18.203.1 dev eth0 table 77")
    host.run("ip -6 rule add pref 101 fwmark 1 prohibit")
    assert places(examine(rules.check)) == [
        ("error", "`ip rule`: 100: from all lookup 77"),
        ("warning", "`ip -6 rule`: 101: from all fwmark 0x1/0xffffffff prohibit"),
    ]
    host.run("ip rule add to 10.65.0.21/32 pref 99 lookup main")
    assert [where for severity, where in places(examine(rules.check)) if severity == "error"] == []


def test_a_default_route_by_router_advertisement(host: Namespace, examine: Examine) -> None:
    host.run("sysctl -qw net.ipv6.conf.eth0.accept_ra=1; ip -6 route add default via fe80::1 dev eth0 proto ra")
    assert places(examine(sysctls.check)) == [("error", "net.ipv6.conf.eth0.accept_ra = 1")]
    host.run("sysctl -qw net.ipv6.conf.eth0.accept_ra=2")
    assert examine(sysctls.check) == []


def test_an_uplink_that_is_too_small(host: Namespace, examine: Examine) -> None:
    assert examine(mtu.check) == []
    host.run("ip link set eth0 mtu 1400")
    assert places(examine(mtu.check)) == [("warning", "mtu of cali1, cali2")]


def test_interfaces_without_the_responder(examine: Examine) -> None:
    (found,) = examine(features.check)
    assert found.what == "no eBPF program answers ARP on 2 of 2 workload interfaces"


def test_no_table_is_full(examine: Examine) -> None:
    assert examine(limits.check) == []


def test_what_felix_left(host: Namespace, examine: Examine) -> None:
    host.run("ip route add 10.65.0.30/32 dev cali1 proto 80")
    assert places(examine(rivals.check)) == [("warning", "routes of protocol 80")]


def test_agents_here_and_elsewhere(netns: NetnsFactory, host: Namespace, examine: Examine) -> None:
    with agent(netns("other")), agent(host):
        assert examine(rivals.check) == []
        with agent(host):
            (found,) = examine(rivals.check)
    assert found.what == "2 agents of tortie run in this network namespace"


def test_another_program_has_the_port_of_bgp(host: Namespace, examine: Examine) -> None:
    def listen() -> socket.socket:
        listener = socket.socket(socket.AF_INET6)
        listener.bind(("::", 179))
        listener.listen()
        return listener

    with host.call(listen):
        dead, taken = examine(bird.check)
    assert dead.what == "BIRD does not answer: its control socket does not exist"
    assert taken.what == "TCP port 179 belongs to another program than tortie's BIRD"


@pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed")
def test_our_own_bird_is_known_by_its_control_socket(
    host: Namespace, examine: Examine, settings: Bootstrap, tmp_path: Path
) -> None:
    config = tmp_path / "bird.conf"
    config.write_text(
        "router id 10.0.0.1; protocol device {} protocol bgp { local port 179 as 1; neighbor 192.0.2.1 as 1; }"
    )
    with running(host, "bird", "-f", "-d", "-c", str(config), "-s", settings.bird_socket):
        assert examine(bird.check) == []


def test_the_program_without_an_agent(host: Namespace, doctor: Doctor) -> None:
    said = doctor()
    assert said.code == 1
    assert not said.report["healthy"]
    assert said.report["unseen"] == []
    assert [finding["what"] for finding in said.of("agent")] == ["no agent runs: its socket does not exist"]
    assert said.of("sysctls") == []


@needs_readable_checkout
def test_another_user_is_told_what_stays_unseen(doctor: Doctor) -> None:
    said = doctor(*AS_NOBODY)
    assert {each["check"] for each in said.report["unseen"]} >= {"nftables", "iptables-legacy"}
    assert "Traceback" not in said.stderr
