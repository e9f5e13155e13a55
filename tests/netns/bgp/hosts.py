"""Hosts in namespaces with real BIRDs, configured from resources as an agent would do it, but without an agent."""

from __future__ import annotations

import asyncio
import select
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable
from datetime import datetime
from ipaddress import ip_interface
from pathlib import Path
from typing import IO, Any

import pytest

from tests.netns.conftest import Namespace, NetnsFactory
from tests.unit.calc.cluster import node, pool
from tortie import bgp
from tortie.bgp import Applied, Bgp, Protocol, Unreachable, make
from tortie.calc.bgp import compute_bgp
from tortie.intent.bgp import BgpIntent
from tortie.model.resource import Resource

POOLS = (pool("main", "10.65.0.0/16"), pool("quiet", "10.66.0.0/16", disableBGPExport=True), pool("v6", "fd65::/64"))
WORKLOAD = "tapa429fb36-04"


_STRANGER = """\
log stderr all;
router id {router_id};
protocol device {{ scan time 1; }}
protocol direct {{ ipv4; }}
protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; merge paths on; }}
"""


async def until(fact: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Returns as soon as the fact holds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not fact():
        if loop.time() > deadline:
            raise TimeoutError(f"not true within {timeout_s:g} s")
        await asyncio.sleep(0.02)


def bounced(before: Protocol, after: Protocol) -> bool:
    """The session was down meanwhile: then it is younger by a second at least, its connect delay.

    BIRD counts by a clock of its own and tells the host's time: the same moment varies by a millisecond.
    """
    younger = datetime.fromisoformat(after.since) - datetime.fromisoformat(before.since)
    return after.info != "Established" or abs(younger.total_seconds()) > 0.5


class Host:
    """A namespace with an uplink, one interface that stands for all workloads, and a BIRD."""

    def __init__(self, namespace: Namespace, directory: Path, resource: Resource[Any]) -> None:
        self.namespace = namespace
        self.name = resource.key.name
        self.node = resource
        self.config = directory / "bird.conf"
        self.socket = directory / "bird.ctl"
        self.bird: subprocess.Popen[bytes] | None = None
        self._log = directory / "bird.log"
        self.bgp = self.new_sink()

    def new_sink(self, kernel_metric: int = 32, included: bool = False) -> Bgp:
        """What a fresh agent would have."""
        return make(self.config, self.socket, bgp.Host(kernel_metric, included), secrets=self.config.parent)

    def intent(self, cluster: Iterable[Resource[Any]]) -> BgpIntent:
        def of(kind: str) -> list[Resource[Any]]:
            return [each for each in cluster if each.key.kind == kind]

        return compute_bgp(
            self.name,
            nodes=of("Node"),
            peers=of("BGPPeer"),
            configurations=of("BGPConfiguration"),
            pools=of("IPPool"),
            filters=of("BGPFilter"),
            interface_prefixes=("cali", "tap"),
        )

    async def apply(self, cluster: Iterable[Resource[Any]]) -> Applied:
        return await self.bgp.apply(self.intent(cluster))

    def start_bird(self, config: Path | None = None, recover: bool = True) -> None:
        command = ["ip", "netns", "exec", self.namespace.name, "bird", "-f", *(["-R"] if recover else [])]
        with self._log.open("ab") as log:
            self.bird = subprocess.Popen([*command, "-c", config or self.config, "-s", self.socket], stderr=log)

    def birdc(self, command: str) -> str:
        return self.namespace.run(f"birdc -s {self.socket} {command}")

    def signal_bird(self, number: signal.Signals) -> None:
        assert self.bird is not None
        self.bird.send_signal(number)

    def bird_has_ended(self) -> bool:
        return self.bird is None or self.bird.poll() is not None

    def end_bird(self) -> None:
        if self.bird is not None:
            self.bird.kill()
            self.bird.wait()
            self.bird = None

    def log(self) -> str:
        return self._log.read_text()

    def ip(self, command: str) -> str:
        return self.namespace.run(f"ip {command}")

    def add_workload(self, address: str, protocol: int = 116) -> None:
        family, metric = ("-6", 16) if ":" in address else ("-4", 0)
        self.ip(f"{family} route add {address} dev {WORKLOAD} scope link proto {protocol} metric {metric}")

    def remove_workload(self, address: str) -> None:
        self.ip(f"{'-6' if ':' in address else '-4'} route del {address} dev {WORKLOAD}")

    def bird_routes(self) -> dict[str, str]:
        """What BIRD wrote: prefix -> the rest of its line."""
        lines = (self.ip("-4 route show proto bird") + self.ip("-6 route show proto bird")).splitlines()
        return {prefix: rest.strip() for prefix, _, rest in (line.partition(" ") for line in lines)}

    def next_hops(self) -> dict[str, str]:
        """Prefix -> address of the gateway, of the routes that BIRD wrote."""
        return {prefix: rest.split()[1] for prefix, rest in self.bird_routes().items() if rest.startswith("via ")}

    async def sessions_up(self, count: int) -> None:
        """Waits until so many sessions are established, and no more are configured."""
        async with asyncio.timeout(30):
            while True:
                if [each.info for each in (await self.bgp.state()).sessions] == ["Established"] * count:
                    return
                await asyncio.sleep(0.05)


class RouteMonitor:
    """What happens to the routes of a host from now on."""

    _BEGINNING, _END = "192.0.2.98", "192.0.2.99"  # routes of our own: it listens when it tells of them

    def __init__(self, host: Host) -> None:
        self._host = host
        command = ["ip", "-n", host.namespace.name, "monitor", "route"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while not self._has_told():
            self._leave_mark(self._BEGINNING)

    def stop(self) -> list[str]:
        """All events since the beginning."""
        self._leave_mark(self._END)
        events = []
        while self._END not in (line := self._output.readline()):
            if self._BEGINNING not in line:
                events.append(line.strip())
        self.close()
        return events

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()

    @property
    def _output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _leave_mark(self, address: str) -> None:
        self._host.ip(f"route add {address} dev lo && ip route del {address} dev lo")

    def _has_told(self) -> bool:
        return bool(select.select([self._output], [], [], 0.05)[0])


class Fabric:
    """Hosts on bridges, one bridge per subnet."""

    def __init__(self, netns: NetnsFactory, directory: Path) -> None:
        if shutil.which("bird") is None:
            pytest.skip("BIRD is not installed")
        self._netns = netns
        self._directory = directory
        self._switch = netns("switch")
        self._bridges: dict[str, str] = {}  # subnet -> bridge
        self._ports = 0
        self.hosts: list[Host] = []
        self._strangers: list[Host] = []

    def plug(self, namespace: Namespace, interface: str, *addresses: str) -> None:
        """Gives a namespace an interface on the subnet of the first address."""
        self._ports += 1
        bridge = self._bridge(str(ip_interface(addresses[0]).network))
        port = f"port{self._ports}"
        self._switch.run(f"ip link add {port} type veth peer name {interface} netns {namespace.name}")
        self._switch.run(f"ip link set {port} master {bridge} up")
        namespace.run(f"sysctl -qw net.ipv6.conf.{interface}.accept_dad=0 && ip link set {interface} up")
        for address in addresses:
            namespace.run(f"ip addr add {address} dev {interface}")

    def host(self, name: str, *addresses: str, labels: dict[str, str] | None = None, **bgp: Any) -> Host:
        """A host with these addresses; `host.node` is its resource."""
        namespace = self._netns(name)
        namespace.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        self.plug(namespace, "eth0", *addresses)
        namespace.run(f"ip link add {WORKLOAD} type veth peer name guest && ip link set {WORKLOAD} up")
        namespace.run("ip link set guest up")
        directory = self._directory / name
        directory.mkdir()
        host = Host(namespace, directory, node(name, *addresses, labels=labels, **bgp))
        self.hosts.append(host)
        return host

    def stranger(self, name: str, address: str, text: str) -> Host:
        """A router of the network: plain BIRD, with this text beside the lines that every BIRD has."""
        stranger = self.host(name, address)
        self.hosts.remove(stranger)
        self._strangers.append(stranger)
        stranger.config.write_text(_STRANGER.format(router_id=address.partition("/")[0]) + text)
        stranger.start_bird()
        return stranger

    def router(self, *legs: str) -> Namespace:
        """A plain router with a leg in each subnet."""
        namespace = self._netns("router")
        namespace.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        for number, leg in enumerate(legs):
            self.plug(namespace, f"eth{number}", leg)
        return namespace

    def _bridge(self, subnet: str) -> str:
        if subnet not in self._bridges:
            self._bridges[subnet] = f"br{len(self._bridges)}"
            self._switch.run(
                f"ip link add {self._bridges[subnet]} type bridge && ip link set {self._bridges[subnet]} up"
            )
        return self._bridges[subnet]

    async def start(self, *more: Resource[Any], recover: bool = True) -> list[Resource[Any]]:
        """Starts a BIRD per host, configured from all nodes, the pools and `more`; returns these objects."""
        cluster = [*(host.node for host in self.hosts), *POOLS, *more]
        for host in self.hosts:
            with pytest.raises(Unreachable):
                await host.apply(cluster)
            host.start_bird(recover=recover)
        return cluster

    def end(self) -> None:
        for host in (*self.hosts, *self._strangers):
            host.end_bird()
