"""Policy that changes all the time, and an agent that dies meanwhile: what is allowed passes, what is denied does not.

Three workloads of one host: 10.65.0.1 may always ping 10.65.0.2, and never 10.65.0.3.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
from typing import Any

import pytest

from tests.netns.agent.conftest import AgentFactory, agent, agents
from tests.netns.agent.running import RunningAgent
from tests.netns.agent.test_life import PREFIX
from tests.netns.agent.test_policy import BACKENDS, store, use, wait_enforced
from tests.netns.conftest import Namespace, NetnsFactory, netns
from tortie.datastore import open_datastore
from tortie.datastore.api import Put

__all__ = ["AgentFactory", "agent", "agents", "netns"]

CHANGES = 1000
DEATHS = 100


class Probe:
    """A ping each millisecond while the block runs: how many were sent, and how many were answered."""

    def __init__(self, namespace: Namespace, address: str) -> None:
        self._command = ["nsenter", f"--net={namespace.path}", "ping", "-q", "-i", "0.001", "-W", "1", address]
        self.sent = self.answered = 0

    def __enter__(self) -> Probe:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGINT)
        output, _ = self._process.communicate(timeout=20)
        words = next(line for line in str(output).splitlines() if "transmitted" in line).split()
        self.sent, self.answered = int(words[0]), int(words[3])


@pytest.fixture
def host(agent: RunningAgent, netns: NetnsFactory, request: pytest.FixtureRequest) -> tuple[RunningAgent, Namespace]:
    """An agent that enforces by a backend, and the namespace of the workload that pings."""
    first = netns("w1")
    agent.attach("w1", netns=first.path, addresses=["10.65.0.1"])
    for number in (2, 3):
        agent.attach(
            f"w{number}", netns=netns(f"w{number}").path, addresses=[f"10.65.0.{number}"], labels={"n": f"w{number}"}
        )
    use(agent, request.param)
    denial = {"order": 0, "selector": "n == 'w3'", "types": ["Ingress"], "ingress": [{"action": "Deny"}]}
    store(agent, "GlobalNetworkPolicy", "globalnetworkpolicies", "default.never", denial)
    return agent, first


def policy(number: int) -> bytes:
    """One that says something else each time, and never anything of pings."""
    ports = [number % 60000 + 1, f"{number % 1000 + 1}:{number % 1000 + 50}"]
    rules = [
        {"action": "Allow", "protocol": "TCP", "destination": {"ports": ports}},
        {"action": "Deny", "protocol": "UDP", "source": {"nets": [f"10.{number % 250}.0.0/16"]}},
        {"action": "Allow", "protocol": "TCP", "source": {"selector": f"n == 'w{number % 4}'"}},
    ]
    last = [{"action": "Pass"}]
    spec = {"order": number % 20 + 1, "selector": "all()", "types": ["Ingress"], "ingress": rules + last}
    return document(f"default.p{number % 10}", spec)


def document(name: str, spec: dict[str, Any]) -> bytes:
    whole = {"kind": "GlobalNetworkPolicy", "apiVersion": "projectcalico.org/v3", "metadata": {"name": name}}
    return json.dumps({**whole, "spec": spec}).encode()


def change(agent: RunningAgent, numbers: range, pause_s: float = 0.0) -> int:
    """Writes policies, one a transaction; the last revision."""

    async def write() -> int:
        datastore = open_datastore(f"sqlite://{agent.store}")
        try:
            for number in numbers:
                path = f"{PREFIX}/globalnetworkpolicies/default.p{number % 10}"
                revision = (await datastore.txn([], [Put(path, policy(number))])).revision
                await asyncio.sleep(pause_s)
            return revision
        finally:
            await datastore.close()

    return asyncio.run(write())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("host", BACKENDS, indirect=True)
def test_a_thousand_changes(host: tuple[RunningAgent, Namespace]) -> None:
    agent, first = host
    change(agent, range(10))
    with Probe(first, "10.65.0.2") as allowed, Probe(first, "10.65.0.3") as denied:
        revision = change(agent, range(10, CHANGES), pause_s=0.005)
        wait_enforced(agent, revision)
    assert allowed.sent - allowed.answered <= 1  # the last may be under way at the end
    assert denied.answered == 0
    assert denied.sent > CHANGES / 10  # each waits for its answer for 10 ms


@pytest.mark.timeout(600)
@pytest.mark.parametrize("host", BACKENDS, indirect=True)
def test_a_hundred_deaths_while_policy_changes(host: tuple[RunningAgent, Namespace]) -> None:
    agent, first = host
    chance = random.Random(7)
    with Probe(first, "10.65.0.2") as allowed, Probe(first, "10.65.0.3") as denied:
        for number in range(DEATHS):
            revision = change(agent, range(5 * number, 5 * number + 5))
            try:
                agent.process.wait(chance.random() * 0.05)
            except subprocess.TimeoutExpired:
                agent.stop(signal.SIGKILL)
            agent.start()
            if number % 10 == 9:
                wait_enforced(agent, revision)
        wait_enforced(agent, revision)
    assert allowed.sent - allowed.answered <= 1
    assert denied.answered == 0
