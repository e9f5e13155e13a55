"""What tortie does not understand stays as it is: every command and an agent over a store with such keys."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.netns.agent.conftest import AgentFactory
from tests.netns.agent.running import RunningAgent
from tortie.datastore.api import Item, Put
from tortie.datastore.sqlite import SqliteDatastore

V3 = "/calico/resources/v3/projectcalico.org"
STRANGE = {
    f"{V3}/unheardofs/a": b'{"kind": "Unheardof", "spec": {"node": "host-a"}}',
    f"{V3}/unheardofs/default/a": b"{}",
    f"{V3}/nodes/host-a/more": b"one part too many",
    f"{V3}/workloadendpoints/host--a-tortie-x-eth0": b'{"spec": {"node": "host-a"}}',
    f"{V3}/workloadendpoints/default/host--a-tortie-x-eth0/more": b'{"spec": {"node": "host-a"}}',
    f"{V3}/ippools/broken": b"\x00\xff is no JSON",
    f"{V3}/ippools/odd": b'{"kind": "IPPool", "spec": ["what"]}',
    f"{V3}/nodes/newer": b'{"kind": "Node", "spec": {"bgp": {"ipv4Address": {"new": "form"}}}}',
    f"{V3}": b"",
    "/calico/resources/v4/projectcalico.org/nodes/host-a": b"of a later version",
    "/calico/resources/v3/example.org/nodes/host-a": b"of another group",
    "/calico/ipam/v2/host/host-b/ipv4/block/10.65.1.0-26": b'{"state": "confirmed", "new": 1}',
    "/calico/ipam/v2/assignment/ipv4/block/10.65.1.0-26": b"half a block",
    "/calico/ipam/v2/lease/host-a": b"new in IPAM",
    "/calico/felix/v2/no-region/host/host-a/mood": b"good",
    "/calico/felix/v3/no-region/host/host-a/status": b"{}",
    "/calico/bgp/v1/host/host-a/ip_addr_v4": b"172.18.203.5",
    "/calico/v1/Ready": b"true",
    "/calico": b"",
    "/calicoish/x": b"",
    "/somebody/else": b"\xff",
}

OBJECTS = """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.65.0.0/24}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: gone}
spec: {bgp: {ipv4Address: 172.18.203.9/24}}
---
apiVersion: projectcalico.org/v3
kind: Profile
metadata: {name: web}
spec: {labelsToApply: {role: web}}
---
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {namespace: default}
spec:
  {node: gone, orchestrator: tortie, workload: w, endpoint: eth0, interfaceName: caliw, ipNetworks: [10.65.0.9/32]}
"""

COMMANDS = (
    "apply -f objects.yaml",
    "replace -f objects.yaml",
    "diff -f objects.yaml",
    "validate -f objects.yaml",
    "get node -o wide",
    "get ippool -o yaml",
    "get workloadendpoint --all-namespaces -o json",
    "label node gone rack=r1",
    'patch profile web -p {"spec":{"labelsToApply":{"role":"db"}}}',
    "delete workloadendpoint gone-tortie-w-eth0",
    "delete node gone",
    "delete profile web",
    "delete ippool pool",
    "apply -f objects.yaml",
)


def strange(path: Path) -> list[Item]:
    """What the store says of the strange keys."""

    async def read() -> list[Item]:
        store = SqliteDatastore(path)
        items = (await store.list("")).items
        await store.close()
        return [item for item in items if item.key in STRANGE]

    return asyncio.run(read())


def fill(path: Path) -> None:
    async def write() -> None:
        store = SqliteDatastore(path, create=True)
        await store.txn([], [Put(key, value) for key, value in STRANGE.items()])
        await store.close()

    asyncio.run(write())


def tortie(agent: RunningAgent, words: str) -> None:
    """Runs a command. One that writes does so; one that reads may fail for an object that it cannot read."""
    done = subprocess.run(
        [sys.executable, "-m", "tortie", *words.split()],
        cwd=agent.directory,
        env=os.environ | {"TORTIE_DATASTORE": f"sqlite://{agent.store}", "TORTIE_NODE": "host-a"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 or words.startswith(("get ", "diff ")), (words, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr


def test_nobody_touches_them(agents: AgentFactory) -> None:
    agent = agents("host-a")
    fill(agent.store)
    before = strange(agent.store)
    assert {item.key: item.value for item in before} == STRANGE
    (agent.directory / "objects.yaml").write_text(OBJECTS)

    agent.namespace.run("ip addr add 172.18.203.5/32 dev lo")
    agent.start_and_wait()
    for words in COMMANDS:
        tortie(agent, words)
        assert strange(agent.store) == before, words
    tortie(agent, "apply -f objects.yaml")
    agent.stop()
    agent.start_and_wait()
    assert agent.stop() == 0
    assert strange(agent.store) == before
