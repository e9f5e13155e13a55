"""What others do to a host's policy for a while: flushes each second, a lock that is held, sets beyond measure."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.netns.agent.conftest import AgentFactory, agent, agents
from tests.netns.agent.running import RunningAgent
from tests.netns.agent.test_life import PREFIX, put
from tests.netns.agent.test_policy import answered, use, wait_enforced
from tests.netns.conftest import Namespace, NetnsFactory, netns
from tests.soak.test_policy_changes import Probe

__all__ = ["AgentFactory", "agent", "agents", "netns"]

FLUSHES = 20
LOCKED_S = 30.0
SETS, MEMBERS = 20, 100_000
PATIENCE_S = 120.0


@pytest.fixture
def host(agents: AgentFactory, netns: NetnsFactory) -> tuple[RunningAgent, Namespace]:
    """An agent with a lock file of its own, and the first of four workloads; pings to the third are denied by a set."""
    made = agents("host-a")
    with made.config.open("a") as config:
        config.write(f'xtables_lock = "{made.directory}/xtables.lock"\n')
    made.start_and_wait()
    spaces = [netns(f"w{number}") for number in range(1, 5)]
    for number, space in enumerate(spaces, 1):
        made.attach(f"w{number}", netns=space.path, addresses=[f"10.65.0.{number}"], labels={"n": f"w{number}"})
    deny(made, "w3", {"source": {"selector": "n == 'w1'"}})
    return made, spaces[0]


def deny(agent: RunningAgent, workload: str, match: dict[str, object], action: str = "Deny") -> None:
    revision = write(agent, workload, match, action)
    patient(agent, lambda board: board["enforced_revision"] >= revision)


def patient(agent: RunningAgent, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Waits for long, also for an answer."""
    deadline, board = time.monotonic() + PATIENCE_S, dict[str, Any]()
    while time.monotonic() < deadline:
        with suppress(OSError):
            board = agent.status()
            if holds(board):
                return board
        time.sleep(0.02)
    raise AssertionError(board)


def write(agent: RunningAgent, workload: str, match: dict[str, object], action: str) -> int:
    rules = [{"action": action, **match}, {"action": "Allow"}]
    spec = {"order": 1, "selector": f"n == '{workload}'", "types": ["Ingress"], "ingress": rules}
    document = {"kind": "GlobalNetworkPolicy", "apiVersion": "projectcalico.org/v3", "spec": spec}
    value = json.dumps({**document, "metadata": {"name": f"default.{workload}"}}).encode()
    return put(agent.store, f"{PREFIX}/globalnetworkpolicies/default.{workload}", value)


def processor_s(agent: RunningAgent) -> float:
    """Of the agent and of the programs that it ran."""
    fields = Path(f"/proc/{agent.process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("backend", "flush"),
    [
        ("iptables-legacy", "iptables-legacy -F"),
        ("iptables-nft", "iptables-nft -F"),
        ("iptables-nft", "nft flush ruleset"),
        ("iptables-legacy", "ipset flush"),
        ("nftables", "nft flush ruleset"),
    ],
)
def test_a_flush_each_second_is_repaired_each_time(
    host: tuple[RunningAgent, Namespace], backend: str, flush: str
) -> None:
    agent, first = host
    use(agent, backend)
    assert not answered(first, "10.65.0.3")
    cannot = backend == "nftables"  # the table has an owner
    before, used, began, open_ms = agent.status()["policy_repairs"], processor_s(agent), time.monotonic(), []
    lock = f"XTABLES_LOCKFILE={agent.directory}/xtables.lock"
    with Probe(first, "10.65.0.2") as allowed:
        for number in range(FLUSHES):
            agent.namespace.run(f"{lock} {flush}")
            if not cannot:
                agent.wait(lambda board, number=number: board["policy_repairs"] > before + number)  # type: ignore[misc]
                open_ms.append(agent.status()["policy_open_ms"])
            assert "1 received" not in first.run("ping -c 1 -W 0.2 10.65.0.3", check=False)
            time.sleep(max(0.0, began + number + 1 - time.monotonic()))
    share = (processor_s(agent) - used) / (time.monotonic() - began)
    print(f"{backend}, {flush}: open for {sorted(open_ms)} ms at most, {100 * share:.0f} % of a processor")
    assert allowed.sent - allowed.answered <= 1
    assert agent.status()["policy_repairs"] - before == (0 if cannot else FLUSHES)
    assert share < 0.5
    told = agent.log.read_text().count("another program changed the rules of policy")
    assert told <= (time.monotonic() - began) / 10 + 1
    assert agent.status()["pending"] == []


@pytest.mark.timeout(120)
def test_the_lock_of_iptables_is_held_by_another_program(host: tuple[RunningAgent, Namespace]) -> None:
    agent, first = host
    use(agent, "iptables-legacy")
    process = agent.process.pid
    with Probe(first, "10.65.0.2") as allowed, Probe(first, "10.65.0.3") as denied:
        with (agent.directory / "xtables.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            until = time.monotonic() + LOCKED_S
            revision = write(agent, "w4", {"protocol": "ICMP"}, "Deny")
            board = agent.wait(lambda board: any("holds the lock" in each["reason"] for each in board["pending"]))
            assert board["enforced_revision"] < revision
            time.sleep(max(0.0, until - time.monotonic()))  # what is tested is that it lasts
            assert agent.status()["enforced_revision"] < revision
        wait_enforced(agent, revision)
        assert not answered(first, "10.65.0.4")
    assert (allowed.sent - allowed.answered <= 1, denied.answered) == (True, 0)
    assert agent.process.pid == process


@pytest.mark.timeout(600)
def test_two_million_members(host: tuple[RunningAgent, Namespace]) -> None:
    """Twice what maxIpsetSize allows: who is selected by the rule is closed, and the others go on."""
    agent, first = host
    process, slowest_s, lag_ms = agent.process.pid, 0.0, 0.0
    deny(agent, "w4", {"source": {"selector": "big == 'yes'"}})
    assert answered(first, "10.65.0.4")
    with Probe(first, "10.65.0.2") as allowed:
        for number in range(SETS):
            nets = [f"{20 + number}.{each >> 16}.{each >> 8 & 255}.{each & 255}/32" for each in range(MEMBERS)]
            document = {"kind": "GlobalNetworkSet", "apiVersion": "projectcalico.org/v3", "spec": {"nets": nets}}
            metadata = {"name": f"s{number}", "labels": {"big": "yes"}}
            value = json.dumps({**document, "metadata": metadata}).encode()
            put(agent.store, f"{PREFIX}/globalnetworksets/s{number}", value)
            action = ("Allow", "Deny")[number % 2]
            began = time.monotonic()
            deny(agent, "w3", {"protocol": "ICMP"}, action)
            slowest_s = max(slowest_s, time.monotonic() - began)
            lag_ms = max(lag_ms, patient(agent, bool)["loop_lag_ms"])
            assert answered(first, "10.65.0.3") == (action == "Allow")
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    peak_mib = int(status.split("VmHWM:")[1].split()[0]) >> 10
    print(f"another's policy took {slowest_s:.1f} s at most, the loop was {lag_ms:.0f} ms late, {peak_mib} MiB")
    assert not answered(first, "10.65.0.4")
    problems = {each["subject"]: each["reason"] for each in patient(agent, bool)["problems"]}
    assert "maxIpsetSize" in problems["GlobalNetworkPolicy(default.w4)"]
    assert allowed.sent - allowed.answered <= 1
    assert agent.process.pid == process
    assert peak_mib < 4096
