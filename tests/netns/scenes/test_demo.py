"""The demonstration: it ends well, and it does not end well when something is wrong."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import AsyncIterator

import pytest

from tests.netns.lab.conftest import traces
from tortie.lab import demo, topology
from tortie.lab.command import SHIPPED
from tortie.lab.demo import Demonstration
from tortie.lab.down import down
from tortie.lab.up import up

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed"),
    pytest.mark.timeout(180),
]


@pytest.fixture
async def show() -> AsyncIterator[Demonstration]:
    """The demonstration's lab, up."""
    name = f"tt{secrets.token_hex(4)}"
    wanted = topology.renamed(topology.parse((SHIPPED / "classic.yaml").read_text(), "classic"), name)
    try:
        assert await up(wanted, print, wait_s=30) == {}
        yield Demonstration(wanted)
    finally:
        down(name)


async def test_it_ends_well_and_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    name = f"tt{secrets.token_hex(4)}"
    assert await demo.run(keep=False, name=name), capsys.readouterr().out
    output = capsys.readouterr().out
    assert "everything is as it must be" in output
    assert "\x1b" not in output  # no colour on a pipe
    assert traces(name) == []


async def test_kept_it_says_how_to_explore_it_and_the_next_run_replaces_it(capsys: pytest.CaptureFixture[str]) -> None:
    name = f"tt{secrets.token_hex(4)}"
    try:
        assert await demo.run(keep=True, name=name)
        assert traces(name) != []
        assert f"tortie lab down {name}" in capsys.readouterr().out
        assert await demo.run(keep=False, name=name)
        assert "was left behind: removed" in capsys.readouterr().out
    finally:
        down(name)


async def test_it_finds_a_route_too_many_and_one_too_few(show: Demonstration) -> None:
    host = show.member(demo.SHOWN_HOST)
    await host.run(["ip", "route", "add", "10.65.99.99", "via", "172.18.203.129"])
    await host.run(["ip", "route", "del", "default"])
    await demo.routing_table(show)
    assert show.faults == [
        "node125 has no route 0.0.0.0 172.18.203.1 0.0.0.0 UG 0 eth0",
        "node125 has a route too many: 10.65.99.99 172.18.203.129 255.255.255.255 UGH 0 eth0",
    ]


async def test_it_finds_who_does_not_reach_whom(show: Demonstration) -> None:
    await show.member("gateway").run(["sysctl", "-w", "net.ipv4.ip_forward=0"])
    await demo.reachability(show)
    inside = ["vm24", "web21", "web22", "vm23"]
    assert [fault.partition(" (")[0] for fault in show.faults] == [
        *(f"{name} does not reach internet" for name in inside),
        *(f"internet does not reach {name}" for name in inside),
    ]


async def test_it_finds_packets_that_go_another_way(show: Demonstration) -> None:
    await show.member(demo.SHOWN_HOST).run(
        ["ip", "route", "replace", "10.65.0.22", "via", "172.18.203.1", "proto", "bird"]
    )
    await demo.the_wire(show)
    assert len(show.faults) >= 1
    assert show.faults[0].startswith("the ping crossed the fabric as ")


async def test_it_finds_a_workload_that_nobody_answers(show: Demonstration) -> None:
    host = show.member("node126")
    _, links = await host.run(["ip", "-br", "link", "show", "type", "veth"])
    (interface,) = (line.partition("@")[0] for line in links.splitlines() if line.startswith("cali"))
    code, output = await host.run(["tc", "qdisc", "del", "dev", interface, "clsact"])  # the responder is attached there
    assert code == 0, output
    await demo.arp(show)
    # 169.254.1.1 stands on the interface: for this address the kernel itself answers.
    assert "web21 asks for 203.0.113.7 and gets 0 of 3 answers" in show.faults
    assert not [fault for fault in show.faults if fault.startswith("vm24")]
