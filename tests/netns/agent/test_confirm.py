"""Changes that nobody confirms, by a real agent: packets say what is in force, and the store what it is in the end.

Each change is of more than policy: beside a policy that denies pings it makes an endpoint, whose route shows.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

from tests.netns.agent.running import RunningAgent
from tests.netns.agent.test_life import PREFIX, Ping, endpoint, get, pair
from tests.netns.agent.test_policy import answered, wait_saved
from tests.netns.conftest import Namespace
from tortie.datastore.confirmation import PREFIX as RECORDS

__all__ = ["pair"]

POLICY = f"{PREFIX}/globalnetworkpolicies/default.icmp"
NEW = "default/host--a-tortie-new-eth0"


def change() -> list[dict[str, Any]]:
    rule = {"action": "Deny", "protocol": "ICMP"}
    spec = {"order": 1, "selector": "all()", "types": ["Ingress"], "ingress": [rule, {"action": "Allow"}]}
    metadata = {"name": "default.icmp"}
    policy = {"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy", "metadata": metadata, "spec": spec}
    return [policy, dict(json.loads(endpoint("new", "cali9", "10.65.0.9")))]


def tortie(agent: RunningAgent, *words: str, stdin: str = "") -> str:
    command = [sys.executable, "-m", "tortie", "--config", str(agent.config), *words]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def apply(agent: RunningAgent, within: str) -> str:
    """Makes the change; the name of its record, once it is in force."""
    said = tortie(agent, "apply", "-f", "-", "--confirm", within, stdin=json.dumps(change()))
    name = said.split()[1].removesuffix(":")
    agent.wait(lambda board: NEW in board["endpoints"] and board["enforced_revision"] >= board["revision"])
    return name


def wait_gone_back(agent: RunningAgent) -> None:
    """Until the agent enforces what was before, and the store says it too."""
    agent.wait(lambda board: NEW not in board["endpoints"] and board["enforced_revision"] >= board["revision"])
    agent.wait(lambda _: not get(agent.store, RECORDS))
    assert get(agent.store, POLICY) == {}


def test_nobody_confirms(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, first = pair
    name = apply(agent, "3s")
    assert not answered(first, "10.65.0.2")
    [waiting] = agent.status()["confirmations"]
    assert (waiting["name"], waiting["gone_back"], len(waiting["objects"])) == (name, False, 2)
    wait_gone_back(agent)
    assert answered(first, "10.65.0.2")
    assert any("not confirmed" in each["text"] for each in agent.status()["errors"])


def test_somebody_does(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, first = pair
    name = apply(agent, "2s")
    assert tortie(agent, "confirm") == f"Confirmed {name}: the change stays.\n"
    agent.wait(lambda board: board["confirmations"] == [])
    # Another one, whose time is up later, shows that the first one's is.
    document = {"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet", "metadata": {"name": "later"}}
    text = json.dumps({**document, "spec": {"nets": ["10.0.0.0/8"]}})
    tortie(agent, "apply", "-f", "-", "--confirm", "2s", stdin=text)
    agent.wait(lambda _: not get(agent.store, RECORDS))
    assert not answered(first, "10.65.0.2")
    assert NEW in agent.status()["endpoints"]


def test_the_store_is_gone_at_the_deadline(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, first = pair
    apply(agent, "3s")
    aside = agent.store.with_name("aside")
    agent.store.rename(aside)
    agent.wait(lambda board: not board["connected"])
    assert not answered(first, "10.65.0.2")
    agent.wait(lambda board: NEW not in board["endpoints"] and board["confirmations"][0]["gone_back"])
    agent.wait(lambda _: answered(first, "10.65.0.2"))
    ping = Ping(first, "10.65.0.2", 4000)
    aside.rename(agent.store)
    wait_gone_back(agent)
    assert ping.lost() == 0  # not for a moment was the change in force again


def test_the_agent_is_killed_before_the_deadline_and_the_store_gone(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, first = pair
    apply(agent, "3s")
    wait_saved(agent)
    agent.stop(signal.SIGKILL)
    aside = agent.store.with_name("aside")
    agent.store.rename(aside)
    agent.start()
    board = agent.wait(lambda board: board["from_snapshot"])
    assert len(board["confirmations"]) == 1
    agent.wait(lambda board: NEW not in board["endpoints"] and board["confirmations"][0]["gone_back"])
    agent.wait(lambda _: answered(first, "10.65.0.2"))
    aside.rename(agent.store)
    wait_gone_back(agent)
