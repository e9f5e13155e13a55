"""The demonstration: the classic lab, and the proof, with real packets, that it is what tortie promises.

Every section prints what it saw and records what is not as it must be; nothing is taken on trust from the agents.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path

import click

from tortie.conventions import GATEWAY_V4, VETH_MAC, host_end_mac
from tortie.kernel import netns
from tortie.lab import probe, topology
from tortie.lab.down import down
from tortie.lab.enter import Member
from tortie.lab.layout import FABRIC, Layout
from tortie.lab.printing import columns, heading, stopwatch
from tortie.lab.topology import Topology
from tortie.lab.up import up

LAB = "demo"
SHOWN_HOST = "node125"
INTERNET = "internet"

ROUTES_TIMEOUT_S = 20.0
FOLLOW_TIMEOUT_S = 10.0
# What a workload waits for the answer to its ARP request, at most.
ARP_LIMIT_MS = 5.0
ARP_TRIES = 3

FOREIGN_ADDRESS = "203.0.113.7"  # RFC 5737: nobody's
LIVE_WORKLOAD = "live25"
LIVE_ADDRESS = "10.65.0.25"
LIVE_HOST = "node126"

# Destination, gateway, mask, flags, metric and interface: `route -n` on the shown host, Ref and Use aside.
ROUTE_TABLE = """\
0.0.0.0         172.18.203.1    0.0.0.0         UG    0      eth0
10.65.0.0       0.0.0.0         255.255.0.0     U     0      ns-db03ab89-b4
10.65.0.21      172.18.203.126  255.255.255.255 UGH   0      eth0
10.65.0.22      172.18.203.129  255.255.255.255 UGH   0      eth0
10.65.0.23      172.18.203.129  255.255.255.255 UGH   0      eth0
10.65.0.24      0.0.0.0         255.255.255.255 UH    0      tapa429fb36-04
172.18.203.0    0.0.0.0         255.255.255.0   U     0      eth0
"""

_ICMP = 1
_TCP = 6  # the hosts' BGP sessions
_PROTOCOLS = {_ICMP: "ICMP", _TCP: "TCP"}


class Demonstration:
    """The running lab, and what is wrong with it so far."""

    def __init__(self, wanted: Topology) -> None:
        self.topology = wanted
        self.layout = Layout(wanted.name)
        self.checks = 0
        self.faults: list[str] = []

    def expect(self, fact: bool, fault: str) -> None:
        """Counts a check; `fault` says what is wrong where the fact does not hold."""
        self.checks += 1
        if not fact:
            self.faults.append(fault)
            click.echo(click.style(f"WRONG: {fault}", fg="red"))

    def member(self, name: str) -> Member:
        return Member(self.topology, name)

    def namespace_path(self, name: str) -> str:
        return str(self.layout.namespace_path(name))


async def run(keep: bool, name: str = LAB) -> bool:
    """Builds, shows, checks and removes; True when everything is as it must be."""
    text = (resources.files("tortie.lab") / "topologies" / "classic.yaml").read_text()
    wanted = topology.renamed(topology.parse(text, "classic"), name)
    if down(name):
        click.echo("a demonstration was left behind: removed")
    heading("Building three hosts, a route reflector, a gateway and a machine on the internet")
    progress = stopwatch()
    show = Demonstration(wanted)
    finished = False
    try:
        lacking = await up(wanted, progress, ROUTES_TIMEOUT_S)
        show.expect(not lacking, f"no route to {lacking} after {ROUTES_TIMEOUT_S:g} s")
        progress("every host knows the way to every workload")
        for section in SECTIONS:
            await section(show)
        finished = True
    finally:
        if not (keep and finished):
            down(name)
    _conclude(show, progress, keep)
    return not show.faults


def _conclude(show: Demonstration, progress: Callable[[str], None], keep: bool) -> None:
    heading("Result")
    progress(f"{show.checks} checks, {len(show.faults)} failed")
    for fault in show.faults:
        click.echo(click.style(f"  {fault}", fg="red"))
    if not show.faults:
        click.echo(click.style("everything is as it must be", fg="green"))
    if not keep:
        click.echo("the lab is removed; to keep it and look around: KEEP=1")
        return
    lab, tortie = show.topology.name, Path(sys.executable).with_name("tortie")
    click.echo(
        f"the lab is still running:\n"
        f"  {tortie} lab status {lab}\n"
        f"  {tortie} lab exec {lab} {SHOWN_HOST} -- tortie status\n"
        f"  {tortie} lab exec {lab} {SHOWN_HOST} -- ip route\n"
        f"  {tortie} lab exec {lab} vm24 -- ping 10.65.0.22\n"
        f"  {tortie} lab capture {lab} {FABRIC}\n"
        f"  {tortie} lab down {lab}"
    )


async def routing_table(show: Demonstration) -> None:
    heading(f"The routing table of {SHOWN_HOST}: route -n")
    _, output = await show.member(SHOWN_HOST).run(["route", "-n"])
    click.echo(output.rstrip())
    rows = [line.split() for line in output.splitlines()[2:]]
    found = {(*row[:5], row[7]) for row in rows if len(row) == 8}
    wanted = {tuple(line.split()) for line in ROUTE_TABLE.splitlines()}
    for row in sorted(wanted):
        show.expect(row in found, f"{SHOWN_HOST} has no route {' '.join(row)}")
    for row in sorted(found - wanted):
        show.expect(False, f"{SHOWN_HOST} has a route too many: {' '.join(row)}")


async def reachability(show: Demonstration) -> None:
    heading("Who reaches whom: milliseconds of a real ping, row to column")
    addresses = {workload.name: workload.addresses[0] for workload in show.topology.workloads}
    addresses |= {machine.name: machine.addresses[0] for machine in show.topology.machines}
    pairs = [(one, other) for one in addresses for other in addresses if one != other]
    echoes = dict(
        zip(
            pairs,
            await asyncio.gather(*(probe.ping(show.member(one), addresses[other]) for one, other in pairs)),
            strict=True,
        )
    )
    rows = [["", *addresses]]
    for one in addresses:
        row = [one]
        for other in addresses:
            echo = echoes.get((one, other))
            row.append("." if one == other else f"{echo.ms:.2f}" if echo else "LOST")
        rows.append(row)
    click.echo(columns(rows))
    for (one, other), echo in echoes.items():
        show.expect(echo is not None, f"{one} does not reach {other} ({addresses[other]})")


async def the_wire(show: Demonstration) -> None:
    heading("What the fabric saw of one ping from vm24 to web22")
    near, far = SHOWN_HOST, "node129"
    own, target = "10.65.0.24", "10.65.0.22"
    with probe.Wiretap(show.layout, FABRIC, f"br-{show.topology.subnets[0].name}") as tap:
        await probe.ping(show.member("vm24"), target)
        frames = tap.frames()
    macs = {probe.mac_address(show.layout, host, "eth0"): host for host in (near, far)}
    rows = [["FROM MAC", "TO MAC", "FROM IP", "TO IP", "TTL", "PROTOCOL", "BYTES"]]
    for frame in frames:
        rows.append(
            [
                f"{frame.source_mac} ({macs.get(frame.source_mac, '?')})",
                f"{frame.destination_mac} ({macs.get(frame.destination_mac, '?')})",
                frame.source,
                frame.destination,
                str(frame.ttl),
                _PROTOCOLS.get(frame.protocol, str(frame.protocol)),
                str(frame.length),
            ]
        )
    click.echo(columns(rows))
    seen = [
        (macs.get(frame.source_mac), macs.get(frame.destination_mac), frame.source, frame.destination, frame.ttl)
        for frame in frames
        if frame.protocol == _ICMP
    ]
    # One hop each way has been counted, that of the sender's host; ICMP follows IP, IP follows Ethernet.
    wanted = [(near, far, own, target, 63), (far, near, target, own, 63)]
    show.expect(seen == wanted, f"the ping crossed the fabric as {seen}, not as {wanted}")
    lengths = {frame.length for frame in frames if frame.protocol == _ICMP}
    show.expect(lengths == {98}, f"14 bytes of Ethernet, 20 of IP and 64 of ICMP make 98, not {lengths}")
    others = {frame.protocol for frame in frames} - {_ICMP, _TCP}
    show.expect(not others, f"there are packets of IP protocol {others} on the fabric: is that a tunnel?")
    if seen == wanted and not others:
        click.echo("plain IP between the two hosts' MACs: nothing is encapsulated")


async def arp(show: Demonstration) -> None:
    heading("Who answers a workload's ARP requests: its host, whatever the address")
    asked = [
        ("vm24", "10.65.0.24", "10.65.0.1", "the gateway of its subnet"),
        ("vm24", "10.65.0.24", "10.65.0.22", "a neighbour in its subnet, on another host"),
        ("vm24", "10.65.0.24", "10.65.200.200", "an address in its subnet that nobody has"),
        ("vm24", "10.65.0.24", FOREIGN_ADDRESS, "a foreign address"),
        ("web21", "10.65.0.21", str(GATEWAY_V4), "the link-local gateway"),
        ("web21", "10.65.0.21", "10.65.0.24", "another workload"),
        ("web21", "10.65.0.21", FOREIGN_ADDRESS, "a foreign address"),
    ]
    rows = [["WORKLOAD", "ASKS FOR", "WHICH IS", "ANSWER", "MS"]]
    for name, own, target, meaning in asked:
        workload = show.topology.workload(name)
        assert workload is not None
        expected = host_end_mac("tun", workload.mac) if workload.tap else VETH_MAC
        answers = [probe.who_has(show.layout, name, "eth0", own, target) for _ in range(ARP_TRIES)]
        given = [answer for answer in answers if answer]
        best_ms = min((answer.ms for answer in given), default=0.0)
        macs = {answer.mac for answer in given}
        rows.append([name, target, meaning, ", ".join(macs) or "none", f"{best_ms:.3f}" if given else "-"])
        show.expect(len(given) == ARP_TRIES, f"{name} asks for {target} and gets {len(given)} of {ARP_TRIES} answers")
        show.expect(macs == {expected}, f"{name} asks for {target} and is told {macs}, not {expected}")
        show.expect(best_ms < ARP_LIMIT_MS, f"{name} waits {best_ms:.1f} ms for the MAC of {target}")
    own_answer = probe.who_has(show.layout, "vm24", "eth0", "10.65.0.24", "10.65.0.24", wait_s=0.2)
    rows.append(["vm24", "10.65.0.24", "its own address", own_answer.mac if own_answer else "none", "-"])
    show.expect(own_answer is None, "vm24 is told that somebody else has its address")
    click.echo(columns(rows))


async def live(show: Demonstration) -> None:
    heading(f"A workload comes and goes: milliseconds after the kernel of {LIVE_HOST} had, or lost, its route")
    assert show.topology.router is not None
    others = [host.name for host in show.topology.hosts if host.name not in (LIVE_HOST, "reflector")]
    others.append(show.topology.router.name)
    namespace = netns.create(show.layout.namespace(LIVE_WORKLOAD))
    commands = {
        "added": ["tortie", "attach", LIVE_WORKLOAD, "--netns", namespace, "--address", LIVE_ADDRESS],
        "removed": ["tortie", "detach", LIVE_WORKLOAD],
    }
    rows = [["", "COMMAND", *others]]
    with probe.RouteWatch(show.layout, [LIVE_HOST, *others]) as watch:
        for word, command in commands.items():
            start = time.monotonic()
            code, output = await show.member(LIVE_HOST).run(command)
            took_ms = (time.monotonic() - start) * 1000
            show.expect(code == 0, f"{' '.join(command)}: {' '.join(output.splitlines()[-1:])}")
            if code:
                continue
            moments = await watch.wait(LIVE_ADDRESS, there=word == "added", timeout_s=FOLLOW_TIMEOUT_S)
            origin = moments.get(LIVE_HOST)
            delays = {other: (moments[other] - origin) * 1000 for other in others if other in moments and origin}
            rows.append([word, f"{took_ms:.0f}", *(f"+{delays[x]:.1f}" if x in delays else "NEVER" for x in others)])
            for other in others:
                show.expect(other in delays, f"{other} did not follow when {LIVE_ADDRESS} was {word} on {LIVE_HOST}")
            if word == "added":
                echo = await probe.ping(show.member(INTERNET), LIVE_ADDRESS)
                show.expect(echo is not None, f"{INTERNET} does not reach {LIVE_ADDRESS}, just added")
    netns.delete(show.layout.namespace(LIVE_WORKLOAD))
    click.echo(columns(rows))


SECTIONS: tuple[Callable[[Demonstration], Awaitable[None]], ...] = (routing_table, reachability, the_wire, arp, live)
