"""Policy by a real agent: from the store into the kernel, under traffic, across restarts, by one backend or another."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.netns.agent.conftest import AgentFactory
from tests.netns.agent.running import ApiError, RunningAgent
from tests.netns.agent.test_life import PREFIX, Ping, endpoint, endpoint_key, pair, put
from tests.netns.conftest import Namespace, NetnsFactory
from tortie.kernel.netfilter import table
from tortie.kernel.netfilter.message import Family
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.transaction import commit

__all__ = ["pair"]

BACKENDS = ("nftables", "iptables-legacy", "iptables-nft")
SETTINGS: dict[str, dict[str, Any]] = {
    "nftables": {},
    "iptables-legacy": {"nftablesMode": "Disabled", "iptablesBackend": "Legacy"},
    "iptables-nft": {"nftablesMode": "Disabled", "iptablesBackend": "NFT"},
}


def store(agent: RunningAgent, kind: str, plural: str, name: str, spec: dict[str, Any]) -> None:
    """Writes an object past every check, and waits until what it says holds."""
    document = {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": {"name": name}, "spec": spec}
    wait_enforced(agent, put(agent.store, f"{PREFIX}/{plural}/{name}", json.dumps(document).encode()))


def wait_enforced(agent: RunningAgent, revision: int) -> None:
    agent.wait(lambda board: board["enforced_revision"] >= revision)


def deny_from(agent: RunningAgent, action: str) -> None:
    rule = {"action": action, "protocol": "ICMP"}
    spec = {"order": 1, "selector": "all()", "types": ["Ingress"], "ingress": [rule, {"action": "Allow"}]}
    store(agent, "GlobalNetworkPolicy", "globalnetworkpolicies", "default.icmp", spec)


def use(agent: RunningAgent, backend: str) -> None:
    store(agent, "FelixConfiguration", "felixconfigurations", "default", SETTINGS[backend])
    agent.wait(lambda board: board["policy_backend"] == backend)


def answered(namespace: Namespace, address: str) -> bool:
    return "1 received" in namespace.run(f"ping -c 1 -W 1 {address}", check=False)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_policy_holds_when_the_agent_says_so(pair: tuple[RunningAgent, Namespace], backend: str) -> None:
    agent, first = pair
    use(agent, backend)
    assert answered(first, "10.65.0.2")
    deny_from(agent, "Deny")
    assert not answered(first, "10.65.0.2")
    agent.stop(signal.SIGKILL)
    assert not answered(first, "10.65.0.2")
    agent.start_and_wait()
    assert not answered(first, "10.65.0.2")
    deny_from(agent, "Allow")
    assert answered(first, "10.65.0.2")


def test_a_connection_that_is_denied_now_is_cut(pair: tuple[RunningAgent, Namespace], netns: NetnsFactory) -> None:
    agent, first = pair

    second = netns("w3")
    agent.attach("w3", netns=second.path, addresses=["10.65.0.3"])
    with ExitStack() as open_sockets:
        listener = open_sockets.enter_context(second.call(lambda: socket.create_server(("10.65.0.3", 80))))
        client = open_sockets.enter_context(first.call(lambda: socket.create_connection(("10.65.0.3", 80), timeout=5)))
        server = open_sockets.enter_context(listener.accept()[0])
        talk(agent, client, server)


def talk(agent: RunningAgent, client: socket.socket, server: socket.socket) -> None:
    """Until TCP is denied; then the end that did not begin speaks first."""
    server.settimeout(1)
    client.send(b"before")
    assert server.recv(10) == b"before"
    rule = {"action": "Deny", "protocol": "TCP"}
    spec = {"order": 1, "selector": "all()", "types": ["Ingress"], "ingress": [rule, {"action": "Allow"}]}
    store(agent, "GlobalNetworkPolicy", "globalnetworkpolicies", "default.tcp", spec)
    server.send(b"the peer talks first")
    client.send(b"after")
    with pytest.raises(TimeoutError):
        server.recv(10)
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(10)


@pytest.mark.parametrize(("one", "other"), [("nftables", "iptables-legacy"), ("iptables-nft", "nftables")])
def test_another_backend_under_traffic(pair: tuple[RunningAgent, Namespace], one: str, other: str) -> None:
    agent, first = pair
    use(agent, one)
    ping = Ping(first, "10.65.0.2", count=3000)
    use(agent, other)
    assert ping.lost() == 0
    agent.wait(lambda board: not traces(agent, one))
    assert not traces(agent, one)


def test_what_cannot_be_removed_is_named_until_it_can_be(agents: AgentFactory) -> None:
    agent = agents("host-a")
    flags = table.OWNED if table.can_persist() else table.TableFlag.OWNER
    named = "tortie-closed.service"
    with NetfilterSocket.open_in(agent.namespace.path) as owner:
        commit(owner, [table.put(table.Table(Family.INET, "tortie-closed", flags))])
        agent.start_and_wait()
        agent.wait(lambda board: named in [each["subject"] for each in board["problems"]])
    agent.wait(lambda _: "closed" not in agent.namespace.run("nft list tables"))
    agent.wait(lambda board: named not in [each["subject"] for each in board["problems"]])


def traces(agent: RunningAgent, backend: str) -> str:
    """What a backend left in the kernel."""
    if backend == "nftables":
        return agent.namespace.run("nft list tables | grep tortie | grep -v tortie-fragments", check=False)
    variant = backend.removeprefix("iptables-")
    command = f"iptables-{variant}-save | grep -i tortie; ipset list -n | grep tortie"
    return agent.namespace.run(f"{command}; nft list tables | grep tortie-fragments-{variant}", check=False)


def test_settings_follow_the_labels_of_the_node(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, first = pair

    def label(role: str) -> None:
        document = {"kind": "Node", "metadata": {"name": "host-a", "labels": {"role": role}}, "spec": {}}
        wait_enforced(agent, put(agent.store, f"{PREFIX}/nodes/host-a", json.dumps(document).encode()))

    label("other")
    gateways = {"nodeSelector": "role == 'gateway'", "defaultEndpointToHostAction": "Accept"}
    store(agent, "FelixConfiguration", "felixconfigurations", "gateways", gateways)
    assert not answered(first, "172.18.203.5")
    label("gateway")
    assert answered(first, "172.18.203.5")
    store(agent, "FelixConfiguration", "felixconfigurations", "node.host-a", {"defaultEndpointToHostAction": "Drop"})
    assert not answered(first, "172.18.203.5")


def test_an_interface_without_an_endpoint_is_closed(agent: RunningAgent, netns: NetnsFactory) -> None:
    workload = netns("w")
    agent.namespace.run(f"ip link add cali77 type veth peer name p77 netns {workload.name} && ip link set cali77 up")
    agent.namespace.run("ip route add 10.65.0.77/32 dev cali77")
    workload.run("ip addr add 10.65.0.77/32 dev p77 && ip link set p77 up && ip route add 172.18.203.5 dev p77")
    assert not answered(workload, "172.18.203.5")
    agent.stop()
    assert not answered(workload, "172.18.203.5")
    agent.namespace.run("nft delete table inet tortie")
    assert answered(workload, "172.18.203.5")  # nothing else was in the way


def test_a_broken_policy_closes_and_the_others_go_on(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, first = pair
    before = agent.process.pid
    store(agent, "GlobalNetworkPolicy", "globalnetworkpolicies", "default.broken", {"selector": "a ==", "order": 0})
    assert answered(first, "10.65.0.2")  # its selector cannot be read: it selects nobody
    spec = {"selector": "all()", "order": 0, "types": ["Ingress"], "ingress": [{"action": "Perhaps"}]}
    store(agent, "GlobalNetworkPolicy", "globalnetworkpolicies", "default.broken", spec)
    assert not answered(first, "10.65.0.2")
    assert any("default.broken" in each["subject"] for each in agent.status()["problems"])
    assert agent.process.pid == before


def test_a_missing_profile_closes_its_endpoint(agent: RunningAgent, netns: NetnsFactory) -> None:
    first, second = netns("w1"), netns("w2")
    agent.attach("w1", netns=first.path, addresses=["10.65.0.1"])
    agent.attach("w2", netns=second.path, addresses=["10.65.0.2"], profiles=["absent"])
    assert not answered(first, "10.65.0.2")
    store(agent, "Profile", "profiles", "absent", {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]})
    assert answered(first, "10.65.0.2")


def test_a_set_above_the_limit_closes_its_endpoint(pair: tuple[RunningAgent, Namespace], netns: NetnsFactory) -> None:
    agent, first = pair
    db = netns("db")
    agent.attach("db", netns=db.path, addresses=["10.65.0.3"], labels={"app": "db"})
    rule = {"action": "Allow", "source": {"selector": "!has(app)"}}
    spec = {"order": 1, "selector": "app == 'db'", "types": ["Ingress"], "ingress": [rule]}
    store(agent, "GlobalNetworkPolicy", "globalnetworkpolicies", "default.db", spec)
    assert answered(first, "10.65.0.3")
    store(agent, "FelixConfiguration", "felixconfigurations", "default", {"maxIpsetSize": 1})
    assert not answered(first, "10.65.0.3")
    assert not answered(db, "10.65.0.1")
    assert answered(first, "10.65.0.2")
    said = "the set of !has(app) has 2 IPv4 members, and maxIpsetSize is 1"
    board = agent.status()
    report = board["endpoints"]["default/host--a-tortie-db-eth0"]
    assert (report["state"], report["reason"]) == ("error", f"closed: {said}")
    problems = {each["subject"]: each["reason"] for each in board["problems"]}
    assert said in problems["GlobalNetworkPolicy(default.db)"]
    event = agent.call("GET", "/v1/packets?kind=drop&wait_s=5")["events"][-1]
    assert "above maxIpsetSize" in event["rule"]
    agent.detach("w2")
    assert answered(first, "10.65.0.3")
    assert agent.status()["endpoints"]["default/host--a-tortie-db-eth0"]["state"] == "up"


def test_an_endpoint_by_the_store_alone(agent: RunningAgent) -> None:
    put(agent.store, endpoint_key("x"), endpoint("x", "cali0", "10.65.0.9"))
    board = agent.wait(lambda board: "default/host--a-tortie-x-eth0" in board["endpoints"])
    assert board["endpoints"]["default/host--a-tortie-x-eth0"]["state"] == "down"


def test_drops_and_logs_are_told_with_names(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, first = pair
    rules = [{"action": "Log", "protocol": "ICMP"}, {"action": "Deny", "protocol": "ICMP"}, {"action": "Allow"}]
    spec = {"order": 1, "selector": "all()", "types": ["Ingress"], "ingress": rules}
    store(agent, "GlobalNetworkPolicy", "globalnetworkpolicies", "default.icmp", spec)
    assert not answered(first, "10.65.0.2")
    for kind, said in (("drop", "rule"), ("log", "logged_by")):
        page = agent.call("GET", f"/v1/packets?kind={kind}&wait_s=5")
        event = page["events"][-1]
        assert (event["kind"], event["source"], event["destination"]) == (kind, "10.65.0.1", "10.65.0.2")
        assert "default.icmp" in str(event[said])
        assert event["endpoint"].startswith("WorkloadEndpoint(default/")
        later = agent.call("GET", f"/v1/packets?kind={kind}&since={page['number']}&counter={page['counter']}")
        assert (later["events"], later["missed"]) == ([], 0)
    with pytest.raises(ApiError, match="kind"):
        agent.call("GET", "/v1/packets?kind=all")


def test_drops_are_followed_across_a_restart(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, first = pair
    deny_from(agent, "Deny")
    command = [sys.executable, "-m", "tortie", "--config", str(agent.config), "drops", "-f", "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as followed:
        assert followed.stdout is not None
        try:
            for _ in range(2):
                assert not answered(first, "10.65.0.2")
                # A workload's own neighbour discovery may be dropped too, before its interface is governed.
                assert any(json.loads(line)["source"] == "10.65.0.1" for line in followed.stdout)
                agent.stop()
                agent.start_and_wait()
        finally:
            followed.terminate()


def test_the_last_valid_version_of_a_policy_outlives_a_restart(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, first = pair
    broken = {"selector": "all()", "order": 1, "types": ["Ingress"], "ingress": [{"action": "Perhaps"}]}
    deny_from(agent, "Deny")
    deny_from(agent, "Allow")
    store(agent, "GlobalNetworkPolicy", "globalnetworkpolicies", "default.icmp", broken)
    assert answered(first, "10.65.0.2")
    wait_saved(agent)
    agent.stop(signal.SIGKILL)
    agent.start_and_wait()
    assert answered(first, "10.65.0.2")
    # It is broken while no agent looks.
    deny_from(agent, "Deny")
    wait_saved(agent)
    agent.stop(signal.SIGKILL)
    document = {"kind": "GlobalNetworkPolicy", "apiVersion": "projectcalico.org/v3", "spec": broken}
    value = json.dumps(document | {"metadata": {"name": "default.icmp"}}).encode()
    put(agent.store, f"{PREFIX}/globalnetworkpolicies/default.icmp", value)
    agent.start_and_wait()
    assert not answered(first, "10.65.0.2")


def wait_saved(agent: RunningAgent) -> None:
    """Until the snapshot is of what the agent enforces."""
    revision = agent.status()["enforced_revision"]
    file = agent.directory / "state" / "snapshot.json"
    agent.wait(lambda _: file.exists() and json.loads(file.read_text())["revision"] >= revision)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_restart_writes_and_loses_nothing(pair: tuple[RunningAgent, Namespace], backend: str) -> None:
    agent, first = pair
    use(agent, backend)
    if backend != "nftables":
        agent.wait(lambda _: not traces(agent, "nftables"))  # the change is another test's
    ping = Ping(first, "10.65.0.2", 3000)
    for _ in range(3):
        agent.stop(signal.SIGKILL)
        agent.start()
        board = agent.wait(lambda board: board["in_sync"] and len(board["endpoints"]) == 2)
        assert {report["state"] for report in board["endpoints"].values()} == {"up"}
        assert (board["writes"], board["policy_writes"], board["policy_backend"]) == (0, 0, backend)
    assert ping.lost() == 0


def test_a_first_start_ends_no_connection(agent: RunningAgent, netns: NetnsFactory) -> None:
    first, second = netns("w1"), netns("w2")
    agent.attach("w1", netns=first.path, addresses=["10.65.0.1"])
    agent.attach("w2", netns=second.path, addresses=["10.65.0.2"])
    # As a version without policy leaves a host.
    agent.stop()
    agent.namespace.run("nft delete table inet tortie")
    with ExitStack() as sockets:
        listener = sockets.enter_context(second.call(lambda: socket.create_server(("10.65.0.2", 80))))
        client = sockets.enter_context(first.call(lambda: socket.create_connection(("10.65.0.2", 80), timeout=5)))
        server = sockets.enter_context(listener.accept()[0])
        server.settimeout(5)
        agent.start_and_wait()
        for text in (b"goes", b"on"):
            client.send(text)
            assert server.recv(10) == text
    assert not (agent.directory / "state" / "policy-was-in-force").exists()


def test_what_is_closed_from_boot_on_is_opened_by_policy(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, first = pair
    agent.stop()
    unit = (Path(__file__).parents[3] / "systemd" / "tortie-closed.service").read_text().replace("\\\n", "")
    condition, command = (re.search(f"^{word}=(.*)$", unit, re.MULTILINE) for word in ("ExecCondition", "ExecStart"))
    assert condition is not None
    assert command is not None
    with pytest.raises(pytest.fail.Exception):
        agent.namespace.run(condition[1])  # policy is in force already
    agent.namespace.run("nft delete table inet tortie")
    agent.namespace.run(condition[1])
    agent.namespace.run(command[1])
    assert not answered(first, "10.65.0.2")
    agent.start_and_wait()
    agent.wait(lambda _: "closed" not in agent.namespace.run("nft list tables"))
    assert answered(first, "10.65.0.2")
