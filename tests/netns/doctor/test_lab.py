"""Whole hosts with agents and BIRDs: a well one is well, and what is found is what packets meet."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.netns.lab.conftest import traces
from tests.netns.scenes.daemons import end, in_sync, status_when
from tortie.lab import topology
from tortie.lab.down import down
from tortie.lab.enter import Member
from tortie.lab.topology import Topology
from tortie.lab.up import up

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed"),
]

TOPOLOGY = """
name: any
subnets: [{name: fabric, prefixes: [172.18.203.0/24]}]
hosts:
  - {name: node1, addresses: [172.18.203.1]}
  - {name: node2, addresses: [172.18.203.2]}
workloads:
  - {name: web1, host: node1, addresses: [10.65.0.21]}
  - {name: web2, host: node2, addresses: [10.65.0.22]}
resources:
  - apiVersion: projectcalico.org/v3
    kind: IPPool
    metadata: {name: workloads}
    spec: {cidr: 10.65.0.0/16}
"""


@pytest.fixture
async def lab() -> AsyncIterator[Topology]:
    wanted = topology.renamed(topology.parse(TOPOLOGY, "test"), f"tt{secrets.token_hex(4)}")
    try:
        assert await up(wanted, print, wait_s=30) == {}
        yield wanted
    finally:
        down(wanted.name)
    assert traces(wanted.name) == []


async def findings(lab: Topology) -> list[dict[str, Any]]:
    """What is wrong with the first host."""
    code, output = await Member(lab, "node1").run(["tortie", "doctor", "-o", "json"])
    report = json.loads(output)
    assert code == (0 if report["healthy"] else 1)
    assert report["unseen"] == []
    return [finding for finding in report["findings"] if finding["severity"] != "note"]


async def well(lab: Topology) -> None:
    """The first host's agent is in sync and has seen its sessions, which it looks at from time to time."""

    def is_well(board: dict[str, Any]) -> bool:
        sessions = board["bird"]["sessions"]
        established = bool(sessions) and all(each["state"] == "Established" for each in sessions)
        return bool(board["in_sync"] and board["connected"]) and established

    await status_when(lab, "node1", is_well)


async def reaches(lab: Topology) -> bool:
    code, _ = await Member(lab, "web1").run(["ping", "-n", "-c", "3", "-i", "0.01", "-W", "1", "10.65.0.22"])
    return code == 0


async def test_a_host_that_is_well_and_one_whose_agent_died(lab: Topology) -> None:
    await well(lab)
    assert await findings(lab) == []
    end(lab, "node1", "agent", signal.SIGKILL)
    (dead,) = await findings(lab)
    assert dead["what"] == "no agent runs: nobody listens on its socket"
    end(lab, "node1", "bird", signal.SIGKILL)
    assert [found["check"] for found in await findings(lab)] == ["agent", "bird"]


@pytest.mark.parametrize("program", ["iptables-legacy", "iptables-nft"])
async def test_what_is_said_of_a_chain_is_what_becomes_of_packets(lab: Topology, program: str) -> None:
    await in_sync(lab, "node1")
    node = Member(lab, "node1")
    assert await reaches(lab)
    await node.run([program, "-P", "FORWARD", "DROP"])
    (found,) = await findings(lab)
    assert found["what"] == f"a chain of {program} drops packets from workloads, to workloads"
    assert not await reaches(lab)
    # Just what it says to do.
    for command in found["do"].split("; ")[1:]:
        code, output = await node.run(command.split())
        assert code == 0, output
    assert await reaches(lab)
    assert await findings(lab) == []
