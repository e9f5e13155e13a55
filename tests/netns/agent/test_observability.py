"""What a real agent tells of itself and of its kernel: counters, facts, figures, metrics."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any
from urllib.parse import quote

import pytest

from tests.netns.agent.running import ApiError, RunningAgent
from tests.netns.agent.test_life import pair
from tests.netns.agent.test_policy import BACKENDS, answered, deny_from, use
from tests.netns.conftest import Namespace

__all__ = ["pair"]

POLICY = "GlobalNetworkPolicy(default.icmp)"
PROFILE = "Profile(projectcalico-default-allow)"


def counted(agent: RunningAgent, *policies: str) -> dict[str, Any]:
    query = "&".join(f"policy={quote(each)}" for each in policies)
    return dict(agent.call("GET", f"/v1/counters?{query}"))


def rules(counters: dict[str, Any], policy: str) -> dict[str, int]:
    found = counters["policies"][policy]
    return {f"{each['direction']} {each['rule']}": each["packets"] for each in found if each["packets"]}


def tortie(agent: RunningAgent, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tortie", "--config", str(agent.config), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("backend", BACKENDS)
def test_flows_and_drops_are_counted(pair: tuple[RunningAgent, Namespace], backend: str) -> None:
    agent, first = pair
    use(agent, backend)
    deny_from(agent, "Allow")
    first.run("ping -c 1 10.65.0.2 && ping -c 1 10.65.0.2 && ping -c 1 10.65.0.2")
    found = counted(agent, POLICY, PROFILE)
    assert (found["node"], found["backend"]) == ("host-a", backend)
    assert rules(found, POLICY) == {"ingress 0": 3}
    assert rules(found, PROFILE)["egress 0"] >= 3
    deny_from(agent, "Deny")
    first.run("ping -c 2 -i 0.1 -W 0.2 10.65.0.2", check=False)
    assert rules(counted(agent, POLICY), POLICY) == {"ingress 0": 2}, "another rule now"
    agent.wait(lambda board: board["vitals"]["dropped"]["policy"]["packets"] == 2)
    assert counted(agent)["dropped"]["policy"]["packets"] == 2
    listed = json.loads(tortie(agent, "policy", "endpoints", "default.icmp", "-o", "json").stdout)
    assert [each["rules"][0]["packets"] for each in listed] == [2, 2]


def test_facts_of_the_kernel_and_figures_of_the_agent(
    pair: tuple[RunningAgent, Namespace],
) -> None:
    agent, first = pair
    assert answered(first, "10.65.0.2")
    deny_from(agent, "Deny")
    assert not answered(first, "10.65.0.2")
    with _udp(first):
        facts = agent.call("GET", "/v1/facts?source=10.65.0.1&destination=10.65.0.2")
    ends = {each["address"]: each for each in facts["ends"]}
    assert {each["exists"] and each["up"] and each["state"] == "up" for each in ends.values()} == {True}
    assert {each["lacking"] for each in ends.values()} == {""}
    assert facts["enforced_revision"] == facts["revision"]
    hops = {each["to"]: each for each in facts["hops"]}
    assert hops["10.65.0.2"]["by"] == "tortie"
    assert hops["10.65.0.2"]["interface"] == ends["10.65.0.2"]["interface"]
    assert hops["10.65.0.2"]["neighbour_state"] == "permanent"
    (tracked,) = (each for each in facts["connections"] if each["protocol"] == 17)
    assert (tracked["destination"], tracked["destination_port"]) == ("10.65.0.2", 9)
    assert "default.icmp" in facts["drops"][0]["rule"]
    said = tortie(agent, "explain", "10.65.0.1", "10.65.0.2").stdout
    for words in ("DENIED", "is up", "by tortie", "permanent", "\n  dropped ", "(1 packet, "):
        assert words in said
    found = agent.call("GET", "/v1/facts?source=192.0.2.1&destination=192.0.2.2")
    assert ([each["routed"] for each in found["hops"]], found["ends"]) == ([False, False], [])
    for query in ("source=10.65.0.1", "source=a&destination=b", "source=10.65.0.1&destination=fd00::1"):
        with pytest.raises(ApiError, match="query: ") as raised:
            agent.call("GET", f"/v1/facts?{query}")
        assert raised.value.status == 400
    assert counted(agent, "Profile(absent)")["policies"] == {}
    for wrong in ("web", "Profile(a/b/c)", "Profile()"):
        with pytest.raises(ApiError, match="write it as") as raised:
            counted(agent, wrong)
        assert raised.value.status == 400
    figures(agent)


def _udp(namespace: Namespace) -> socket.socket:
    def send() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.sendto(b"x", ("10.65.0.2", 9))
        return made

    return namespace.call(send)


def figures(agent: RunningAgent) -> None:
    """Vitals and metrics, when a packet was denied."""
    stages = {"policy", "enforced", "routes", "resync"}
    agent.wait(lambda board: board["vitals"]["dropped"]["policy"]["packets"] == 1)
    board = agent.wait(lambda board: stages <= board["vitals"]["applied"].keys())
    vitals = board["vitals"]
    assert vitals["resyncs"]["start"] == 1
    assert vitals["datastore_stale_s"] == 0
    assert 10 << 20 < vitals["resident_bytes"] < 1 << 30
    assert vitals["applied"]["policy"]["count"] >= 1
    assert len(vitals["applied"]["policy"]["within"]) == 7
    text = agent.text("/metrics")
    for line in (
        "tortie_datastore_stale_seconds 0.0",
        'tortie_resyncs_total{cause="start"} 1.0',
        'tortie_dropped_packets_total{reason="policy"} 1.0',
        'tortie_policy_backend_info{backend="nftables"} 1.0',
    ):
        assert line in text.splitlines()
    assert 'tortie_apply_seconds_bucket{le="+Inf",stage="policy"}' in text
