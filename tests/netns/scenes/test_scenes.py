"""The main job in every variant that users run: real agents, BIRDs and packets, everybody reaches everybody."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from tests.netns.scenes.stores import needs_etcd, over_etcd
from tortie.kernel.netlink import route
from tortie.kernel.netlink.socket import NetlinkSocket
from tortie.lab import guest, probe, routes, topology
from tortie.lab.command import SHIPPED
from tortie.lab.enter import Member
from tortie.lab.layout import FABRIC, Layout
from tortie.lab.process import Process, running, wait_until
from tortie.lab.state import read_state
from tortie.lab.topology import Topology, family

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed"),
    pytest.mark.timeout(180),
]

BIRD_PROTOCOL = 12  # RTPROT_BIRD
DEFAULT_BIRD_METRIC = 32
ICMP = 1


def shipped(name: str) -> Topology:
    return topology.parse((SHIPPED / f"{name}.yaml").read_text(), name)


def default_metric(scene: Topology) -> Topology:
    return msgspec.structs.replace(scene, bird_kernel_metric=None)


def only(version: int, scene: Topology) -> Topology:
    """The same scene where the other family does not exist."""

    def keep(addresses: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(address for address in addresses if family(address) == version)

    def keeps(resource: dict[str, Any]) -> bool:
        address = resource["spec"].get("peerIP") or resource["spec"].get("cidr")
        return address is None or family(address) == version

    replace = msgspec.structs.replace
    assert scene.router is not None
    return replace(
        scene,
        subnets=tuple(replace(one, prefixes=keep(one.prefixes)) for one in scene.subnets),
        router=replace(scene.router, addresses=keep(scene.router.addresses)),
        machines=tuple(replace(one, addresses=keep(one.addresses)) for one in scene.machines),
        hosts=tuple(replace(one, addresses=keep(one.addresses)) for one in scene.hosts),
        workloads=tuple(replace(one, addresses=keep(one.addresses)) for one in scene.workloads),
        resources=tuple(one for one in scene.resources if keeps(one)),
    )


def with_a_virtual_machine(scene: Topology) -> Topology:
    def machine(workload: topology.Workload) -> topology.Workload:
        if workload.name != "vm24" or workload.tap is None:
            return workload
        return msgspec.structs.replace(workload, tap=msgspec.structs.replace(workload.tap, guest="qemu"))

    return msgspec.structs.replace(scene, workloads=tuple(machine(one) for one in scene.workloads))


needs_guest = pytest.mark.skipif(bool(guest.missing()), reason=guest.missing() or "a guest can run")

SCENES = [
    pytest.param(lambda: shipped("classic"), id="reflector"),
    pytest.param(lambda: default_metric(shipped("classic")), id="reflector, default metric"),
    pytest.param(lambda: only(4, shipped("mesh")), id="mesh"),
    pytest.param(lambda: only(6, shipped("mesh")), id="IPv6"),
    pytest.param(lambda: shipped("mesh"), id="dual stack"),
    pytest.param(lambda: shipped("racks"), id="two subnets"),
    pytest.param(lambda: with_a_virtual_machine(shipped("classic")), id="QEMU guest", marks=needs_guest),
    pytest.param(lambda: over_etcd(shipped("classic")), id="reflector, etcd", marks=needs_etcd),
    pytest.param(lambda: over_etcd(only(6, shipped("mesh"))), id="IPv6, etcd", marks=needs_etcd),
    pytest.param(lambda: over_etcd(shipped("mesh")), id="dual stack, etcd", marks=needs_etcd),
    pytest.param(lambda: over_etcd(shipped("racks")), id="two subnets, etcd", marks=needs_etcd),
]


@pytest.mark.parametrize("scene", SCENES, indirect=True)
async def test_a_scene(scene: Topology) -> None:
    """One test per scene, since building it is most of the work: sessions, kernel rows, pings, the wire."""
    assert (await settled(scene)) == []
    assert bird_routes(scene) == expected_bird_routes(scene)
    assert await unreached(scene) == []
    await nothing_is_encapsulated(scene)


async def settled(scene: Topology) -> list[str]:
    """What `tortie lab status` complains of, once the last session had its time."""
    deadline = asyncio.get_running_loop().time() + 20
    while True:
        state = await read_state(scene.name)
        problems = [f"{member.name}: {problem}" for member in state.members for problem in member.problems]
        problems += [f"{workload.name}: {problem}" for workload in state.workloads for problem in workload.problems]
        if not problems or asyncio.get_running_loop().time() > deadline:
            return problems


def bird_routes(scene: Topology) -> dict[str, dict[str, int]]:
    """By host: the destinations that BIRD wrote to its kernel, with their metric."""
    found: dict[str, dict[str, int]] = {}
    for host in scene.hosts:
        with NetlinkSocket.open_in(str(Layout(scene.name).namespace_path(host.name))) as sock:
            rows = [row for version in (2, 10) for row in route.dump(sock, version, protocol=BIRD_PROTOCOL)]
        found[host.name] = {str(ip_network((row.destination, row.prefix_length))): row.metric for row in rows}
    return found


def expected_bird_routes(scene: Topology) -> dict[str, dict[str, int]]:
    """Exactly the other hosts' workloads: no default route, no host subnet, no DHCP subnet was announced."""
    metric = DEFAULT_BIRD_METRIC if scene.bird_kernel_metric is None else scene.bird_kernel_metric
    return {
        host: {
            str(ip_network(address)): metric
            for workload in scene.workloads
            if workload.host != host
            for address in workload.addresses
            if address in addresses
        }
        for host, addresses in routes.expected(scene).items()
        if host in {one.name for one in scene.hosts}
    }


async def unreached(scene: Topology) -> list[str]:
    """Pairs of workloads and machines, either way and in each family, between which a ping is lost."""
    ends = [(workload.name, workload.addresses) for workload in scene.workloads]
    ends += [(machine.name, machine.addresses) for machine in scene.machines]
    pairs = [
        (name, address) for name, own in ends for other, addresses in ends if name != other for address in addresses
    ]
    echoes = await asyncio.gather(*(probe.ping(Member(scene, name), address) for name, address in pairs))
    return [f"{name} to {address}" for (name, address), echo in zip(pairs, echoes, strict=True) if echo is None]


async def nothing_is_encapsulated(scene: Topology) -> None:
    """An IPv4 ping between two hosts crosses the first one's bridge as ICMP in IP in Ethernet, one hop counted."""
    speakers = [workload for workload in scene.workloads if family(workload.addresses[0]) == 4]
    if not speakers:
        return  # the wiretap reads IPv4
    sender = speakers[0]
    receiver = next(workload for workload in speakers if workload.host != sender.host)
    subnet = scene.subnet_of(scene.host(sender.host).addresses[0])
    assert subnet is not None
    layout = Layout(scene.name)
    with probe.Wiretap(layout, FABRIC, f"br-{subnet.name}") as tap:
        assert await probe.ping(Member(scene, sender.name), receiver.addresses[0])
        request = next(frame for frame in tap.frames() if frame.protocol == ICMP)
    assert (request.source, request.destination) == (sender.addresses[0], receiver.addresses[0])
    assert request.source_mac == probe.mac_address(layout, sender.host, "eth0")
    assert request.ttl == 63


@pytest.mark.parametrize("scene", SCENES[:1], indirect=True)
async def test_a_host_that_loses_its_daemons_keeps_its_traffic(scene: Topology) -> None:
    """What was programmed stays in the kernels, its own and its peers', when agent and BIRD are killed."""
    host = "node129"
    victims = daemons(scene, host)
    assert len(victims) == 2
    for victim in victims:
        os.kill(victim.pid, signal.SIGKILL)
    assert await wait_until(lambda: daemons(scene, host) == [], 5)
    assert await unreached(scene) == []


def daemons(scene: Topology, host: str) -> list[Process]:
    return [process for process in running(scene.name) if process.mark.member == host]
