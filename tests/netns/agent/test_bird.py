"""The agent beside a BIRD whose port another program holds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.netns.agent.conftest import AgentFactory
from tests.netns.agent.running import RunningAgent
from tests.netns.agent.test_life import PREFIX, put
from tests.netns.conftest import Namespace, NetnsFactory


def put_node(agent: RunningAgent, name: str, address: str) -> None:
    document = {
        "kind": "Node",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name},
        "spec": {"bgp": {"ipv4Address": address}},
    }
    put(agent.store, f"{PREFIX}/nodes/{name}", json.dumps(document).encode())


@contextmanager
def started(namespace: Namespace, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program of a host."""
    process = subprocess.Popen(
        ["nsenter", f"--net={namespace.path}", *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


HOLD = "import socket, time; s = socket.create_server(('', 179)); print(flush=True); time.sleep(1000)"


def test_a_taken_port_costs_the_sessions_alone_and_is_taken_over(agents: AgentFactory, netns: NetnsFactory) -> None:
    agent = agents("host-a")
    agent.namespace.run("ip link add eth0 type veth peer name far0 && ip link set eth0 up && ip link set far0 up")
    agent.namespace.run("ip addr add 172.18.203.5/24 dev eth0")
    agent.start_and_wait()
    put_node(agent, "host-a", "172.18.203.5/24")
    put_node(agent, "host-b", "172.18.203.6/24")
    bird = ("bird", "-f", "-c", f"{agent.directory}/state/bird.conf", "-s", f"{agent.directory}/run/bird.ctl")
    with started(agent.namespace, "python3", "-c", HOLD) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with started(agent.namespace, *bird):
            board = agent.wait(lambda board: any(each["subject"] == "TCP port 179" for each in board["problems"]))
            [problem] = [each for each in board["problems"] if each["subject"] == "TCP port 179"]
            assert problem["reason"].startswith(f"python3 (pid {holder.pid}) listens there, so 1 BGP sessions of this")
            workload, other = netns("w1"), netns("w2")
            agent.attach("w1", netns=workload.path, addresses=["10.65.0.1"])
            agent.attach("w2", netns=other.path, addresses=["10.65.0.2"])
            workload.run("ping -c 1 -W 2 10.65.0.2")
            holder.kill()
            board = agent.wait(lambda board: [each["state"] for each in board["bird"]["sessions"]] != ["down"])
            agent.wait(lambda board: not any(each["subject"] == "TCP port 179" for each in board["problems"]))
            assert '"bird"' in agent.namespace.run("ss -Hltnp 'sport = :179'")
