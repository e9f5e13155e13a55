"""Two hosts with a workload each, two reflectors, and a pair of machines that knows nothing of tortie.

near -- reflector1, reflector2 -- far: the workload of `near` sends to that of `far`, and `far` is the host that is
struck. What is denied is stopped by far, in either direction; what is allowed inwards, and what is denied outwards,
is so by the members of a selector's set.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from tests.netns.agent.test_policy import SETTINGS
from tests.netns.scenes.daemons import end
from tests.netns.scenes.stores import over_etcd
from tests.soak.matrix import probe
from tortie.kernel import libc
from tortie.lab import layout, topology
from tortie.lab.down import down
from tortie.lab.enter import Member
from tortie.lab.layout import Layout
from tortie.lab.process import Mark, Process, environment, running
from tortie.lab.topology import Topology
from tortie.lab.up import up

HOSTS = ("near", "far", "reflector1", "reflector2")
FACT_S = 60.0
DISK_BYTES = 256 << 20
MID_STREAM = "mid-stream"  # a rule that a new host does without for a minute
# What iptables and ipset print around rules, of tables too that only somebody's look has made.
SAYS_NOTHING = re.compile(r"#|\*|COMMIT|:[A-Z]+ ACCEPT")

TOPOLOGY = f"""
name: matrix
subnets:
  - {{name: fabric, prefixes: [192.0.2.0/24]}}
  - {{name: control, prefixes: [198.51.100.0/24]}}
hosts:
  - {{name: near, addresses: [192.0.2.11]}}
  - {{name: far, addresses: [192.0.2.12]}}
  - {{name: reflector1, addresses: [192.0.2.21], route_reflector: 244.0.0.1, labels: {{role: reflector}}}}
  - {{name: reflector2, addresses: [192.0.2.22], route_reflector: 244.0.0.1, labels: {{role: reflector}}}}
machines:
  - {{name: left, addresses: [{probe.LEFT}]}}
  - {{name: right, addresses: [{probe.RIGHT}]}}
workloads:
  - {{name: wnear, host: near, addresses: [{probe.NEAR}], labels: {{scene: matrix}}}}
  - {{name: wfar, host: far, addresses: [{probe.FAR}], labels: {{scene: matrix}}}}
resources:
  - apiVersion: projectcalico.org/v3
    kind: IPPool
    metadata: {{name: workloads}}
    spec: {{cidr: 10.65.0.0/16}}
  - apiVersion: projectcalico.org/v3
    kind: BGPConfiguration
    metadata: {{name: default}}
    spec: {{nodeToNodeMeshEnabled: false}}
  - apiVersion: projectcalico.org/v3
    kind: BGPPeer
    metadata: {{name: reflectors}}
    spec: {{nodeSelector: "!has(role)", peerSelector: role == 'reflector'}}
  - apiVersion: projectcalico.org/v3
    kind: GlobalNetworkPolicy
    metadata: {{name: matrix}}
    spec:
      selector: all()
      types: [Ingress, Egress]
      ingress:
        - action: Allow
          protocol: UDP
          source: {{selector: scene == 'matrix'}}
          destination: {{ports: [{probe.KEPT}, {probe.FRESH}, {probe.DENIED_OUT}]}}
      egress:
        - action: Deny
          protocol: UDP
          destination: {{selector: scene == 'matrix', ports: [{probe.DENIED_OUT}]}}
        - {{action: Allow}}
"""

Board = dict[str, Any]


@dataclass
class Seen:
    """What the probe saw; moments are on the monotonic clock."""

    sent: int
    lost: list[float]
    leaked: list[float]
    lost_by_control: int
    worst_pause_s: float


class Scene:
    """A lab that is up, and what faults do to it and ask of it."""

    def __init__(self, lab: Topology, backend: str, store: str) -> None:
        self.lab = lab
        self.backend = backend
        self.store = store
        self.layout = Layout(lab.name)
        self.disk = layout.BASE
        self.told = ""  # what a fault has to say besides, in the row of its cell

    @classmethod
    async def make(cls, backend: str, store: str) -> Scene:
        layout.BASE = small_disk()
        wanted = topology.renamed(topology.parse(TOPOLOGY, "matrix"), f"tt{os.urandom(4).hex()}")
        felix = {
            "apiVersion": "projectcalico.org/v3",
            "kind": "FelixConfiguration",
            "metadata": {"name": "default"},
            "spec": SETTINGS[backend],
        }
        wanted = msgspec.structs.replace(wanted, resources=(felix, *wanted.resources))
        scene = cls(over_etcd(wanted) if store == "etcd" else wanted, backend, store)
        try:
            assert await up(scene.lab, lambda _: None, wait_s=30) == {}
            await scene.whole()
        except BaseException:
            scene.remove()
            raise
        return scene

    def remove(self) -> None:
        down(self.lab.name)
        libc.umount(str(self.disk), libc.MNT_DETACH)
        self.disk.rmdir()

    async def run(self, member: str, command: str, check: bool = True) -> str:
        """Runs a line of shell on a member."""
        code, output = await Member(self.lab, member).run(["sh", "-c", command])
        assert code == 0 or not check, f"{member}: {command}: {output}"
        return output

    def end(self, member: str, program: str, number: int) -> None:
        end(self.lab, member, program, number)

    def process(self, member: str, program: str) -> Process:
        """The daemon itself, which is older than the programs that it runs."""
        return min(self._processes(member, program), key=lambda each: started(each.pid))

    def runs(self, member: str, program: str) -> bool:
        return bool(self._processes(member, program))

    def _processes(self, member: str, program: str) -> list[Process]:
        return [each for each in running(self.lab.name) if each.mark == Mark(self.lab.name, member, program)]

    async def apply(self, *documents: dict[str, Any]) -> None:
        """Writes resources, from near."""
        file = self.disk / "applied.json"
        file.write_text(json.dumps(documents))
        await self.run("near", f"tortie apply -f {file}")

    async def call(self, host: str, word: str, **request: Any) -> None:
        """Asks a host's agent to attach or detach."""
        connector = aiohttp.UnixConnector(str(self.layout.member(host).agent_socket))
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session,
            session.post(f"http://agent/v1/{word}", json=request) as response,
        ):
            assert response.status == 200, await response.text()

    async def board(self, host: str) -> Board:
        connector = aiohttp.UnixConnector(str(self.layout.member(host).agent_socket))
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.get("http://agent/v1/status") as response,
        ):
            return dict(await response.json())

    async def board_when(self, host: str, holds: Callable[[Board], bool], timeout_s: float = FACT_S) -> Board:
        """The agent's board as soon as it says so."""
        deadline = time.monotonic() + timeout_s
        board: Board = {}
        while time.monotonic() < deadline:
            try:
                if holds(board := await self.board(host)):
                    return board
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass
            await asyncio.sleep(0.02)
        raise AssertionError(f"{host}: never: {board}")

    async def whole(self) -> None:
        """Returns when every BIRD and every agent says that all is as it should be."""
        for host in HOSTS:
            await self.until(partial(self._speaks, host))  # what the board says of BIRD may be some seconds old
            await self.board_when(host, is_whole)

    async def until(self, fact: Callable[[], Awaitable[bool]]) -> None:
        """Waits for a fact that others bring about."""
        async with asyncio.timeout(FACT_S):
            while not await fact():  # noqa: ASYNC110 - there is no event of it here
                await asyncio.sleep(0.05)

    async def _speaks(self, host: str) -> bool:
        """The host's BIRD has its sessions, and has heard everything again that it forgot in a restart."""
        control = self.layout.member(host).bird_socket
        said = await self.run(host, f"birdc -s {control} show status; birdc -s {control} show protocols", check=False)
        sessions = [line for line in said.splitlines() if " BGP " in line]
        recovers = "Graceful restart" in said
        return bool(sessions) and not recovers and all("Established" in line for line in sessions)

    async def photograph(self) -> list[str]:
        """The rows of far's kernel, without what changes by itself."""
        rules = {
            "nftables": "nft --stateless list ruleset",
            "iptables-nft": "iptables-nft-save; ip6tables-nft-save; ipset save | sort",
            "iptables-legacy": "iptables-legacy-save; ip6tables-legacy-save; ipset save | sort",
        }[self.backend]
        links = "ip -o link show | cut -d' ' -f2; ip -o -4 address show | cut -d' ' -f2-7"
        shown = f"ip route show table all; ip rule; ip neigh show nud permanent; {links}; {rules}"
        # What they say of rows that go while they list them is no row.
        text = await self.run("far", f"{{ {shown}; }} 2>/dev/null", check=False)
        lines = (line.strip() for line in text.splitlines() if not SAYS_NOTHING.match(line))
        # Without counters, names made of what a chain says, numbers of links, and what comes after the first minute.
        named = (re.sub(r"\[\d+:\d+\]$|[0-9a-f]{16,}|@if\d+", "", line) for line in lines if MID_STREAM not in line)
        return sorted(named)

    async def as_on(self, photograph: list[str], timeout_s: float = FACT_S) -> list[str]:
        """Waits for the kernel of the photograph; what still differs after the time."""
        deadline = time.monotonic() + timeout_s
        while (now := await self.photograph()) != photograph:
            if time.monotonic() > deadline:
                before, after = Counter(photograph), Counter(now)
                return [f"- {line}" for line in before - after] + [f"+ {line}" for line in after - before]
            await asyncio.sleep(0.05)
        return []

    async def host_end(self) -> str:
        """The name of the interface by which far reaches its workload."""
        (found,) = re.findall(r"^\d+: (cali\w+)@", await self.run("far", "ip -o link show"), re.MULTILINE)
        return str(found)

    def traffic(self) -> Probing:
        members = {"near": "wnear", "far": "wfar", "left": "left", "right": "right"}
        return Probing({each: self.layout.namespace(member) for each, member in members.items()}, self.lab.name)


def small_disk() -> Path:
    """A file system of a scene's own, which a fault can fill."""
    made = Path(tempfile.mkdtemp(prefix="tt-matrix-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tt-matrix", str(made)], check=True)
    return made


def started(pid: int) -> float:
    """When the process began, in ticks since the machine did; numbers of processes come again and say nothing of it."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return math.inf


class Probing:
    """The probe, while the block runs; `seen` is there afterwards."""

    def __init__(self, namespaces: dict[str, str], lab: str) -> None:
        self._namespaces = namespaces
        self._mark = Mark(lab, "fabric", "probe")
        self.seen = Seen(0, [], [], 0, 0.0)

    async def __aenter__(self) -> Probing:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.soak.matrix.probe", json.dumps(self._namespaces)),
            stdin=pipe,
            stdout=pipe,
            env=environment(self._mark),
            limit=1 << 26,
        )
        assert self._process.stdout is not None
        assert await self._process.stdout.readline() == b"ready\n"
        return self

    async def __aexit__(self, *_: object) -> None:
        output = (await self._process.communicate(b""))[0]
        self.seen = msgspec.json.decode(output, type=Seen)


def is_whole(board: Board) -> bool:
    bird = board["bird"]
    return bool(
        board["connected"]
        and board["in_sync"]
        and not board["pending"]
        and board["enforced_revision"] >= board["revision"]
        and {each["state"] for each in board["endpoints"].values()} <= {"up"}
        and bird["configured"]
        and {each["state"] for each in bird["sessions"]} == {"Established"}
    )
