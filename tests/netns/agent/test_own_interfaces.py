"""Interfaces that are called like a workload's: which are the host's own, and stay so, and which are not."""

from __future__ import annotations

import signal

import pytest

from tests.netns.agent.conftest import AgentFactory
from tests.netns.agent.running import RunningAgent
from tests.netns.agent.test_policy import answered
from tests.netns.conftest import Namespace, NetnsFactory

HOST, FAR, WORKLOAD = "172.18.203.5", "192.0.2.2", "10.65.0.1"


def join(agent: RunningAgent, far: Namespace, interface: str) -> None:
    """A wire from the host to what is behind the interface, which has a route back and no address on the host."""
    agent.namespace.run(f"ip link add {interface} type veth peer name far0 netns {far.name}")
    agent.namespace.run(f"ip link set {interface} up && sysctl -qw net.ipv4.ip_forward=1")
    far.run(f"ip addr add {FAR}/24 dev far0 && ip link set far0 up")
    far.run(f"ip route add {HOST} dev far0 && ip route add default via {HOST}")


def settings(agent: RunningAgent, interface: str) -> str:
    """All that the agent would change of an interface that it governs."""
    sysctls = " ".join(f"net.ipv4.conf.{interface}.{name}" for name in ("rp_filter", "proxy_arp", "forwarding"))
    shown = agent.namespace.run(f"ip -br link show {interface}; tc qdisc show dev {interface}; sysctl {sysctls}")
    return shown + agent.namespace.run(f"ip route show dev {interface}; ip -o -4 addr show dev {interface}")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("ip addr add 192.0.2.1/24 dev cali-up", "the host's address 192.0.2.1"),
        ("ip route add default dev cali-up", "a default route of the host"),
    ],
)
def test_the_hosts_uplink_is_left_alone_whatever_its_name(
    agents: AgentFactory, netns: NetnsFactory, what: str, said: str
) -> None:
    agent, far, workload = agents("host-a"), netns("far"), netns("w")
    agent.namespace.run(f"ip addr add {HOST}/32 dev lo")
    join(agent, far, "cali-up")
    agent.namespace.run(what)
    before = settings(agent, "cali-up")
    agent.start_and_wait()
    agent.attach("w", netns=workload.path, addresses=[WORKLOAD])
    for _ in range(2):
        # From the host, to it, and through it.
        assert answered(agent.namespace, f"-I {HOST} {FAR}")
        assert answered(far, HOST)
        assert answered(workload, FAR)
        assert answered(far, WORKLOAD)
        problems = {each["subject"]: each["reason"] for each in agent.status()["problems"]}
        assert said in problems["interface cali-up"]
        assert settings(agent, "cali-up") == before
        agent.stop(signal.SIGKILL)
        agent.start_and_wait()


def test_what_was_closed_stays_closed_whatever_comes_later(agent: RunningAgent, netns: NetnsFactory) -> None:
    far = netns("far")
    join(agent, far, "cali-later")
    agent.namespace.run("ip route add 192.0.2.2 dev cali-later")
    assert not answered(far, HOST)
    agent.namespace.run("ip addr add 192.0.2.1/24 dev cali-later")
    reported = "the host's address 192.0.2.1"
    agent.wait(lambda board: any(reported in each["reason"] for each in board["problems"]))
    for number in (signal.SIGKILL, signal.SIGTERM):
        agent.stop(number)
        agent.start_and_wait()
        assert not answered(far, HOST)
        assert any(reported in each["reason"] for each in agent.status()["problems"])
    # It leaves the kernel: what comes by that name is judged anew.
    agent.stop()
    agent.namespace.run("ip link del cali-later")
    join(agent, far, "cali-later")
    agent.namespace.run("ip addr add 192.0.2.1/24 dev cali-later")
    agent.start_and_wait()
    agent.wait(lambda _: answered(far, HOST))
