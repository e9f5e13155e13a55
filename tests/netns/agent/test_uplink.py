"""The node's address and its uplink's MTU, as they come and go under a running agent; and path MTU discovery."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

import pytest

from tests.netns.agent.conftest import AgentFactory
from tests.netns.agent.running import ApiError, RunningAgent
from tests.netns.agent.test_bird import put_node
from tests.netns.agent.test_policy import store, use
from tests.netns.conftest import Namespace, NetnsFactory

ADDRESS = "172.18.203.5"


@pytest.fixture
def agent(agents: AgentFactory) -> RunningAgent:
    """The agent of a host with an uplink, whose Node exists."""
    made = agents("host-a")
    made.namespace.run("ip link add eth0 type veth peer name far0 && ip link set far0 up && ip link set eth0 up")
    made.namespace.run(f"ip addr add {ADDRESS}/24 dev eth0")
    made.start_and_wait()
    put_node(made, "host-a", f"{ADDRESS}/24")
    made.wait(lambda board: not any("no BGP" in each["reason"] for each in board["problems"]))
    return made


def mtu(namespace: Namespace, interface: str) -> int:
    return int(namespace.run(f"cat /sys/class/net/{interface}/mtu").strip())


def wait_mtu(wanted: int, *ends: tuple[Namespace, str]) -> None:
    deadline = time.monotonic() + 10
    while (found := [mtu(*end) for end in ends]) != [wanted] * len(ends):
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


def test_workloads_follow_the_uplink_but_those_with_an_mtu_of_their_own(
    agent: RunningAgent, netns: NetnsFactory
) -> None:
    host, follower, own = agent.namespace, netns("w1"), netns("w2")
    ends = ((host, agent.attach("w1", netns=follower.path, addresses=["10.65.0.1"])["interface"]), (follower, "eth0"))
    kept = ((host, agent.attach("w2", netns=own.path, addresses=["10.65.0.2"], mtu=1300)["interface"]), (own, "eth0"))
    larger = netns("w3")
    large = agent.attach("w3", netns=larger.path, addresses=["10.65.0.3"], mtu=9000)["interface"]
    wait_mtu(1500, *ends)
    for size in (1400, 9000, 1500):
        host.run(f"ip link set eth0 mtu {size}")
        wait_mtu(size, *ends)
    # A new agent does not know who gave what; what does not fit is put right, what was asked for stays.
    agent.stop()
    host.run("ip link set eth0 mtu 1350")
    agent.start_and_wait()
    wait_mtu(1350, *ends)
    wait_mtu(1300, *kept)
    wait_mtu(9000, (host, large), (larger, "eth0"))
    host.run("ip link set eth0 mtu 1450")
    wait_mtu(1450, *ends)


def test_an_address_that_goes_is_told_and_another_is_not_taken(agent: RunningAgent) -> None:
    def told(board: dict[str, object]) -> bool:
        return "is on no interface of this host" in str(board["problems"])

    host = agent.namespace
    assert not told(agent.status())
    host.run("ip addr add 172.18.203.77/24 dev eth0 && ip addr add 172.18.203.78/32 dev eth0")  # a VIP or two
    host.run(f"ip addr del {ADDRESS}/24 dev eth0")
    board = agent.wait(told)
    [problem] = [each for each in board["problems"] if each["subject"] == "Node(host-a)"]
    assert problem["reason"].startswith(f"its address {ADDRESS} is on no interface of this host")
    assert f"router id {ADDRESS};" in (agent.directory / "state" / "bird.conf").read_text()
    host.run(f"ip addr add {ADDRESS}/24 dev eth0")
    agent.wait(lambda board: not told(board))


def test_a_caller_who_means_another_node_is_refused_at_once(agent: RunningAgent, netns: NetnsFactory) -> None:
    workload = netns("w1")
    with pytest.raises(ApiError, match="agent is node host-a, and node host-b is asked for") as refused:
        agent.attach("w1", netns=workload.path, addresses=["10.65.0.1"], node="host-b")
    assert refused.value.status == 400
    assert agent.routes() == []
    agent.attach("w1", netns=workload.path, addresses=["10.65.0.1"], node="host-a")


class TestPathMtu:
    """A link of 1400 bytes between two routers, so that neither end knows of it."""

    BYTES = 1_000_000

    @pytest.fixture
    def far(self, agent: RunningAgent, netns: NetnsFactory) -> Namespace:
        host, near, beyond, far = agent.namespace, netns("r1"), netns("r2"), netns("far")
        host.run("ip link del eth0")
        for left, name, right, peer in (
            (host, "eth0", near, "in"),
            (near, "out", beyond, "in"),
            (beyond, "out", far, "eth0"),
        ):
            left.run(f"ip link add {name} type veth peer name {peer} netns {right.name} && ip link set {name} up")
            right.run(f"ip link set {peer} up")
        near.run("ip link set out mtu 1400")
        beyond.run("ip link set in mtu 1400")
        host.run(f"ip addr add {ADDRESS}/24 dev eth0 && ip route add default via 172.18.203.1")
        near.run("ip addr add 172.18.203.1/24 dev in && ip addr add 10.8.0.1/24 dev out")
        near.run(f"ip route add 10.65.0.0/16 via {ADDRESS} && ip route add 10.9.0.0/24 via 10.8.0.2")
        beyond.run(
            "ip addr add 10.8.0.2/24 dev in && ip addr add 10.9.0.1/24 dev out && ip route add default via 10.8.0.1"
        )
        far.run("ip addr add 10.9.0.9/24 dev eth0 && ip route add default via 10.9.0.1")
        for each in (host, near, beyond):
            each.run("sysctl -qw net.ipv4.ip_forward=1")
        return far

    def test_a_transfer_passes_under_a_policy_that_names_its_port_alone(
        self, agent: RunningAgent, netns: NetnsFactory, far: Namespace
    ) -> None:
        workload = netns("w1")
        agent.attach("w1", netns=workload.path, addresses=["10.65.0.1"])
        allow = [{"action": "Allow", "protocol": "TCP", "destination": {"ports": [8080]}}]
        spec = {"order": 1, "selector": "all()", "types": ["Ingress", "Egress"], "ingress": allow, "egress": allow}
        store(agent, "GlobalNetworkPolicy", "globalnetworkpolicies", "default.web", spec)
        for backend in ("nftables", "iptables-nft"):
            use(agent, backend)
            for source, target, address in ((workload, far, "10.9.0.9"), (far, workload, "10.65.0.1")):
                for each in (source, target):  # what an earlier transfer learned, and would announce as its MSS
                    each.run("ip route flush cache")
                self.transfer(source, target, address)

    def transfer(self, source: Namespace, target: Namespace, address: str) -> None:
        listener = target.call(lambda: socket.create_server(("0.0.0.0", 8080)))
        connection = source.call(lambda: socket.create_connection((address, 8080), timeout=10))
        with listener, connection:
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(10)
                connection.setblocking(False)
                assert connection.getsockopt(socket.IPPROTO_IP, IP_MTU) == 1500
                received, pending = 0, memoryview(bytes(self.BYTES))
                while received < self.BYTES:
                    if pending:
                        with suppress(BlockingIOError):
                            pending = pending[connection.send(pending) :]
                    received += len(accepted.recv(65536))
                # Learned from the router's message, which no rule of the policy names.
                assert connection.getsockopt(socket.IPPROTO_IP, IP_MTU) == 1400


IP_MTU = 14  # include/uapi/linux/in.h
