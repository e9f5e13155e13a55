"""The end of the first minute of policy on a host: until then a connection may be older than its tracking.

Of three connections that began before policy one talks all the time, one is silent in that minute, and one is denied.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from tests.netns.agent.conftest import AgentFactory, agent, agents
from tests.netns.agent.running import RunningAgent
from tests.netns.agent.test_policy import store
from tests.netns.conftest import Namespace, NetnsFactory, netns
from tortie.agent.enforcement import LENIENT_S

__all__ = ["AgentFactory", "agent", "agents", "netns"]

CLIENT, SERVER = "10.65.0.1", "10.65.0.2"
TALKS, SILENT, DENIED = 80, 81, 82
ANSWER_S = 2.0


class Ends(NamedTuple):
    """Both ends of a connection."""

    client: socket.socket
    server: socket.socket

    def talks(self) -> bool:
        """Whether what the client sends arrives."""
        self.client.send(b"x")
        try:
            return self.server.recv(1) == b"x"
        except TimeoutError:
            return False


@pytest.fixture
def workloads(agent: RunningAgent, netns: NetnsFactory) -> tuple[Namespace, Namespace]:
    """Of an agent that is stopped; on its host policy was never in force."""
    first, second = netns("w1"), netns("w2")
    agent.attach("w1", netns=first.path, addresses=[CLIENT])
    agent.attach("w2", netns=second.path, addresses=[SERVER])
    rules = [
        {"action": "Deny", "protocol": "TCP", "destination": {"ports": [DENIED]}},
        {"action": "Allow"},
    ]
    spec = {"order": 1, "selector": "all()", "types": ["Ingress"], "ingress": rules}
    store(agent, "GlobalNetworkPolicy", "globalnetworkpolicies", "default.tcp", spec)
    agent.stop()
    agent.namespace.run("nft delete table inet tortie")
    assert not (agent.directory / "state" / "policy-was-in-force").exists()
    return first, second


@pytest.fixture
def connections(workloads: tuple[Namespace, Namespace]) -> Iterator[dict[int, Ends]]:
    """By port."""
    first, second = workloads
    with ExitStack() as sockets:

        def connect(port: int) -> Ends:
            listener = sockets.enter_context(second.call(lambda: socket.create_server((SERVER, port))))
            client = sockets.enter_context(first.call(lambda: socket.create_connection((SERVER, port), timeout=5)))
            server = sockets.enter_context(listener.accept()[0])
            server.settimeout(ANSWER_S)
            return Ends(client, server)

        yield {port: connect(port) for port in (TALKS, SILENT, DENIED)}


@pytest.mark.timeout(180)
def test_after_the_first_minute_nothing_unknown_goes_on_in_its_middle(
    agent: RunningAgent, connections: dict[int, Ends]
) -> None:
    assert all(each.talks() for each in connections.values())
    agent.start_and_wait()
    began = time.monotonic()
    assert connections[TALKS].talks()
    assert not connections[DENIED].talks()
    over = agent.directory / "state" / "policy-was-in-force"
    while not over.exists():
        assert time.monotonic() - began < LENIENT_S + 30
        assert connections[TALKS].talks()
        time.sleep(0.2)
    assert time.monotonic() - began > LENIENT_S - 30, "it is a minute, or the test says nothing"
    assert connections[TALKS].talks()
    for _ in range(2):
        assert not connections[SILENT].talks()
        drops = agent.call("GET", "/v1/packets?kind=drop&wait_s=5")["events"]
        assert {(each["reason"], each["destination_port"]) for each in drops} >= {("mid-stream", SILENT)}
        # A start that is not the first is no time of grace.
        agent.stop()
        agent.start_and_wait()
        assert connections[TALKS].talks()
