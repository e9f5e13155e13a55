"""A workload's interface that somebody renames: closed under whatever name, and open again under its own."""

from __future__ import annotations

import fcntl
import json
import signal

import pytest

from tests.netns.agent.conftest import AgentFactory
from tests.netns.agent.running import RunningAgent
from tests.netns.agent.test_policy import BACKENDS, answered, use
from tests.netns.conftest import Namespace, NetnsFactory

FIRST, SECOND = "10.65.0.1", "10.65.0.2"


def host_end(agent: RunningAgent, address: str) -> str:
    (route,) = json.loads(agent.namespace.run(f"ip -j route show {address}"))
    return str(route["dev"])


def rename(agent: RunningAgent, name: str, other: str) -> None:
    agent.namespace.run(f"ip link set {name} down; ip link set {name} name {other}; ip link set {other} up")


def filters(agent: RunningAgent, name: str) -> int:
    shown = agent.namespace.run(f"tc filter show dev {name} ingress; tc filter show dev {name} egress")
    return shown.count("tortie_gate")


@pytest.fixture
def pair(agents: AgentFactory, netns: NetnsFactory) -> tuple[RunningAgent, Namespace, Namespace]:
    """An agent with a lock file of its own, and two workloads."""
    agent = agents("host-a")
    with agent.config.open("a") as config:
        config.write(f'xtables_lock = "{agent.directory}/xtables.lock"\n')
    agent.namespace.run("ip addr add 172.18.203.5/32 dev lo")
    agent.start_and_wait()
    first, second = netns("w1"), netns("w2")
    agent.attach("w1", netns=first.path, addresses=[FIRST])
    agent.attach("w2", netns=second.path, addresses=[SECOND])
    return agent, first, second


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_packet_passes_it_under_another_name(pair: tuple[RunningAgent, Namespace, Namespace], backend: str) -> None:
    agent, first, second = pair
    use(agent, backend)
    assert answered(first, SECOND)
    name = host_end(agent, FIRST)
    for killed in (False, True):
        rename(agent, name, "other0")
        agent.wait(lambda board: board["endpoints"]["default/host--a-tortie-w1-eth0"]["state"] == "down")
        # The way back is there: only the interface is closed.
        agent.namespace.run(f"ip route add {FIRST} dev other0 proto static")
        assert not answered(first, SECOND)
        assert not answered(second, FIRST)
        if killed:
            agent.stop(signal.SIGKILL)
            assert not answered(first, SECOND)
            agent.start_and_wait()
        agent.wait(lambda _: filters(agent, "other0") == 0)  # the drops have their reason again
        assert not answered(first, SECOND)
        rename(agent, "other0", name)
        agent.wait(lambda board: {each["state"] for each in board["endpoints"].values()} == {"up"})
        assert filters(agent, name) == 0
        assert answered(first, SECOND)
        assert answered(second, FIRST)


def test_it_is_closed_while_iptables_cannot_be_written(pair: tuple[RunningAgent, Namespace, Namespace]) -> None:
    agent, first, second = pair
    use(agent, "iptables-legacy")
    name = host_end(agent, FIRST)
    with (agent.directory / "xtables.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rename(agent, name, "other0")
        agent.wait(lambda _: filters(agent, "other0") == 2)
        agent.namespace.run(f"ip route add {FIRST} dev other0 proto static")
        assert not answered(first, SECOND)
        assert not answered(second, FIRST)
        # A dead agent, and the next one, which cannot write either.
        agent.stop(signal.SIGKILL)
        agent.start()
        agent.wait(lambda board: any("holds the lock" in each["reason"] for each in board["pending"]))
        assert filters(agent, "other0") == 2
        assert not answered(first, SECOND)
    agent.wait(lambda _: filters(agent, "other0") == 0)
    assert not answered(first, SECOND)
    assert not answered(second, FIRST)


def test_a_reset_takes_the_gate_away(pair: tuple[RunningAgent, Namespace, Namespace]) -> None:
    agent, _, _ = pair
    use(agent, "iptables-legacy")
    with (agent.directory / "xtables.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rename(agent, host_end(agent, FIRST), "other0")
        agent.wait(lambda _: filters(agent, "other0") == 2)
        agent.stop(signal.SIGKILL)
    agent.namespace.run(f"{agent.python} -m tortie --config {agent.config} node reset --yes")
    assert filters(agent, "other0") == 0
