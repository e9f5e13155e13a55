"""The agent's life: killed, stopped, started without its datastore, beside broken objects and a locked store."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.netns.agent.conftest import AgentFactory
from tests.netns.agent.running import ApiError, RunningAgent
from tests.netns.conftest import Namespace, NetnsFactory

PREFIX = "/calico/resources/v3/projectcalico.org"
STATUS = "/calico/felix/v2/no-region/host/host-a"


def put(store: Path, key: str, value: bytes) -> int:
    """Writes past every check, as another program might: a row, the log's line, and the bell. The revision."""
    import asyncio

    from tortie.datastore import open_datastore
    from tortie.datastore.api import Put

    async def write() -> int:
        datastore = open_datastore(f"sqlite://{store}")
        try:
            return (await datastore.txn([], [Put(key, value)])).revision
        finally:
            await datastore.close()

    return asyncio.run(write())


def get(store: Path, prefix: str) -> dict[str, Any]:
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    try:
        return dict(connection.execute("select key, value from kv where key like ? || '%'", (prefix,)).fetchall())
    finally:
        connection.close()


def endpoint(name: str, interface: str, address: str, **changes: Any) -> bytes:
    spec = {
        "orchestrator": "tortie",
        "node": "host-a",
        "workload": name,
        "endpoint": "eth0",
        "ipNetworks": [f"{address}/32"],
        "profiles": ["projectcalico-default-allow"],
        "interfaceName": interface,
        "mac": "02:00:00:00:00:01",
    }
    metadata = {"name": f"host--a-tortie-{name}-eth0", "namespace": "default"}
    document = {"kind": "WorkloadEndpoint", "apiVersion": "projectcalico.org/v3", "metadata": metadata}
    return json.dumps(document | {"spec": spec | changes}).encode()


def endpoint_key(name: str) -> str:
    return f"{PREFIX}/workloadendpoints/default/host--a-tortie-{name}-eth0"


class Ping:
    """A ping every millisecond from one namespace, and how many were lost when it ends."""

    def __init__(self, namespace: Namespace, address: str, count: int) -> None:
        self._process = subprocess.Popen(
            ["nsenter", f"--net={namespace.path}", "ping", "-q", "-i", "0.001", "-c", str(count), "-W", "2", address],
            stdout=subprocess.PIPE,
            text=True,
        )

    def lost(self) -> int:
        output, _ = self._process.communicate(timeout=60)
        words = next(line for line in output.splitlines() if "transmitted" in line).split()
        return int(words[0]) - int(words[3])


@pytest.fixture
def pair(agent: RunningAgent, netns: NetnsFactory) -> tuple[RunningAgent, Namespace]:
    """An agent with workloads 10.65.0.1 and .2; the namespace of the first."""
    first, second = netns("w1"), netns("w2")
    agent.attach("w1", netns=first.path, addresses=["10.65.0.1"])
    agent.attach("w2", netns=second.path, addresses=["10.65.0.2"])
    return agent, first


class Events:
    """Everything that changes in a namespace's routes, neighbours, addresses and links while it listens."""

    def __init__(self, namespace: Namespace) -> None:
        self._process = subprocess.Popen(
            ["nsenter", f"--net={namespace.path}", "ip", "monitor", "route", "address", "link"],
            stdout=subprocess.PIPE,
            text=True,
        )
        # It listens once it holds its socket.
        while not any("socket" in link for link in self._descriptors()):
            time.sleep(0.005)

    def _descriptors(self) -> list[str]:
        try:
            return [str(each.readlink()) for each in Path(f"/proc/{self._process.pid}/fd").iterdir()]
        except OSError:
            return []

    def stop(self) -> str:
        self._process.terminate()
        output, _ = self._process.communicate(timeout=10)
        return str(output)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_restarts_lose_no_packet_and_write_nothing(pair: tuple[RunningAgent, Namespace], number: int) -> None:
    agent, first = pair
    # The kernel's own late news of the new links, which is none of the restart's.
    agent.wait(lambda _: agent.namespace.run("ip -o link show type veth").count("state UP") == 2)
    events = Events(agent.namespace)
    ping = Ping(first, "10.65.0.2", 4000)
    for _ in range(2):
        code = agent.stop(number)
        assert code == (0 if number == signal.SIGTERM else -number)
        agent.start()
        board = agent.wait(lambda board: board["in_sync"] and len(board["endpoints"]) == 2)
        assert {report["state"] for report in board["endpoints"].values()} == {"up"}
        assert (board["writes"], board["policy_writes"]) == (0, 0)
    assert ping.lost() == 0
    assert events.stop() == ""


def test_what_is_others_is_bit_identical_after_start_run_and_stop(agents: AgentFactory, netns: NetnsFactory) -> None:
    agent = agents("host-a")
    run = agent.namespace.run
    run(
        "ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up &&"
        " ip addr add 172.18.203.5/24 dev up0 && ip route add default via 172.18.203.1 &&"
        " ip link add cali0 address ee:ee:ee:ee:ee:ee type veth peer name p0 && ip link set p0 up &&"
        " ip link set cali0 up && ip route add 10.99.0.1/32 dev cali0 proto static &&"
        " ip route add 10.99.0.2/32 dev up0 proto 80 && ip route add 10.99.0.0/24 dev up0 proto 116 metric 9 &&"
        " ip rule add from 10.99.0.1 table 77 && ip route add default dev up0 table 77 &&"
        " ip -6 route add fd99::1/128 dev cali0 proto static metric 16 &&"
        " ip neigh add 10.99.0.1 lladdr 02:00:00:00:00:99 dev cali0 nud permanent"
    )
    # Their links' late news changes what `ip` shows, and is none of the agent's doing.
    agent_links = "ip -o link show type veth"
    while run(agent_links).count("state UP") < 4 or "tentative" in run("ip -6 addr"):
        time.sleep(0.05)
    before = others(agent.namespace)
    agent.start_and_wait()
    put(agent.store, endpoint_key("w"), endpoint("w", "cali0", "10.65.0.9"))
    agent.wait(lambda _: agent.routes() != [] and "10.65.0.9" in agent.routes())
    assert others(agent.namespace) == before
    agent.attach("w3", netns=netns("w3").path, addresses=["10.65.0.3"])
    agent.detach("w3")
    agent.stop()
    assert others(agent.namespace) == before


def others(namespace: Namespace) -> list[str]:
    """Routes, rules, neighbours and addresses that are not ours, nor follow from our link-local address."""
    shown = namespace.run(
        "ip route show table all; ip -6 route show table all; ip rule; ip -6 rule; ip neigh; ip -o addr"
    )
    ours = ("10.65.0.", "169.254.1.1", "fe80::ecee:eeff:feee:eeee", "anycast fe80::", "fe80::/64 dev cali0")
    return sorted(line for line in shown.splitlines() if not any(mark in line for mark in ours))


def test_a_restart_without_the_datastore_keeps_everything(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, _ = pair
    snapshot = agent.directory / "state" / "snapshot.json"
    agent.wait(lambda _: snapshot.exists() and "w2" in snapshot.read_text())
    agent.stop(signal.SIGKILL)
    agent.store.chmod(0o600)
    away = agent.store.with_name("away.db")
    agent.store.rename(away)
    agent.store.mkdir()  # what is there now is no database
    agent.start()
    board = agent.wait(lambda board: board["from_snapshot"] and len(board["endpoints"]) == 2)
    assert {report["state"] for report in board["endpoints"].values()} == {"up"}
    assert (board["writes"], board["policy_writes"], board["connected"]) == (0, 0, False)
    assert str(agent.store) in board["datastore_problem"]
    agent.namespace.run("ip route flush proto 116")
    agent.wait(lambda _: agent.routes() == ["10.65.0.1", "10.65.0.2"])
    agent.store.rmdir()
    away.rename(agent.store)
    agent.wait(lambda board: board["in_sync"] and board["connected"] and not board["from_snapshot"])


def test_what_was_deleted_meanwhile_goes_when_the_datastore_is_back(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, _ = pair
    snapshot = agent.directory / "state" / "snapshot.json"
    agent.wait(lambda _: snapshot.exists() and "w2" in snapshot.read_text())
    agent.stop()
    agent.namespace.run(f"{agent.python} -m tortie -c {agent.config} delete wep host--a-tortie-w2-eth0")
    agent.start()
    agent.wait(lambda board: board["in_sync"] and len(board["endpoints"]) == 1)
    assert agent.routes() == ["10.65.0.1"]


def test_the_audit_repairs_what_no_event_tells_of(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, first = pair
    document = {"metadata": {"name": "default"}, "spec": {"routeRefreshInterval": "1s"}}
    put(agent.store, f"{PREFIX}/felixconfigurations/default", json.dumps(document).encode())
    run = agent.namespace.run
    name = run("ip -o route show 10.65.0.1").split()[2]
    run(f"sysctl -qw net.ipv4.conf.{name}.rp_filter=1 && tc qdisc del dev {name} clsact")
    agent.wait(
        lambda _: (
            run(f"sysctl -n net.ipv4.conf.{name}.rp_filter").strip() == "0"
            and "tortie_responder" in run(f"tc filter show dev {name} ingress")
        )
    )
    first.run("ping -c1 -W2 10.65.0.2")


def test_a_locked_store_stops_neither_routes_nor_the_api(
    pair: tuple[RunningAgent, Namespace], netns: NetnsFactory
) -> None:
    agent, _ = pair
    guest = netns("w3")
    holder = sqlite3.connect(agent.store, isolation_level=None)
    holder.execute("begin exclusive")
    try:
        agent.namespace.run("ip route flush proto 116")
        agent.wait(lambda _: agent.routes() == ["10.65.0.1", "10.65.0.2"])
        with pytest.raises(ApiError) as refused:
            agent.attach("w3", netns=guest.path, addresses=["10.65.0.3"], timeout_s=1)
        assert refused.value.status == 503
        assert "eth0" not in guest.run("ip link")
    finally:
        holder.execute("rollback")
        holder.close()
    agent.wait(lambda board: board["connected"])


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        (endpoint_key("bad"), b"{", "bad"),
        (endpoint_key("bad"), b"\xff\xfe", "bad"),
        (endpoint_key("bad"), endpoint("bad", "cali9", "10.65.0.9", ipNetworks=["10.65.0.0/24"]), "ipNetworks"),
        (endpoint_key("bad"), endpoint("bad", "cali9", "10.65.0.9", mac="nonsense"), "mac"),
        (endpoint_key("bad"), endpoint("bad", "a-name-that-is-too-long", "10.65.0.9"), "interfaceName"),
        (endpoint_key("bad"), endpoint("other", "cali9", "10.65.0.9"), "name"),
        (f"{PREFIX}/nodes/bad", b'{"spec":{"bgp":{"ipv4Address":"fd00::1/64"}}}', "Node(bad)"),
        (f"{PREFIX}/ippools/bad", b'{"spec":{"cidr":"10.65.0.1/16"}}', "IPPool(bad)"),
        (f"{PREFIX}/bgppeers/bad", b'{"spec":{"peerIP":"nowhere"}}', "BGPPeer(bad)"),
        (f"{PREFIX}/felixconfigurations/default", b'{"spec":{"interfacePrefix":7}}', "FelixConfiguration(default)"),
    ],
)
def test_a_broken_object_is_named_and_the_others_carry_on(
    pair: tuple[RunningAgent, Namespace], netns: NetnsFactory, key: str, value: bytes, named: str
) -> None:
    agent, _ = pair
    put(agent.store, key, value)
    board = agent.wait(lambda board: any(named in str(problem) for problem in board["problems"]))
    assert {report["state"] for report in board["endpoints"].values()} == {"up"}
    agent.attach("w3", netns=netns("w3").path, addresses=["10.65.0.3"])
    assert len(agent.routes()) == 3


def test_one_address_on_two_interfaces_has_one_winner_and_the_conflict_is_reported(agent: RunningAgent) -> None:
    for name in ("cali1", "cali2"):
        agent.namespace.run(f"ip link add {name} type veth peer name p{name} && ip link set p{name} up")
        agent.namespace.run(f"ip link set {name} up")
    put(agent.store, endpoint_key("b"), endpoint("b", "cali2", "10.65.0.9"))
    agent.wait(lambda _: "cali2" in agent.namespace.run("ip route show proto 116"))
    put(agent.store, endpoint_key("a"), endpoint("a", "cali1", "10.65.0.9"))
    board = agent.wait(lambda board: board["endpoints"].get("default/host--a-tortie-a-eth0", {}).get("state") == "up")
    loser = board["endpoints"]["default/host--a-tortie-b-eth0"]
    assert loser["state"] == "error"
    assert "host--a-tortie-a-eth0" in loser["reason"]
    assert "cali1" in agent.namespace.run("ip route show 10.65.0.9")


def test_a_locked_cluster_is_followed_and_not_acted_on_until_it_is_unlocked(
    pair: tuple[RunningAgent, Namespace],
) -> None:
    agent, _ = pair
    key = f"{PREFIX}/clusterinformations/default"
    document = json.loads(get(agent.store, key)[key])
    agent.namespace.run("ip link add cali9 type veth peer name p9 && ip link set p9 up && ip link set cali9 up")
    document["spec"]["datastoreReady"] = False
    put(agent.store, key, json.dumps(document).encode())
    put(agent.store, endpoint_key("w"), endpoint("w", "cali9", "10.65.0.9"))
    revision = agent.wait(lambda board: board["revision"] >= 1)["revision"]
    put(agent.store, f"{STATUS}/nobody-cares", b"1")
    put(agent.store, endpoint_key("x"), endpoint("x", "cali8", "10.65.0.8"))
    agent.wait(lambda board: board["revision"] > revision)
    assert agent.routes() == ["10.65.0.1", "10.65.0.2"]
    document["spec"]["datastoreReady"] = True
    put(agent.store, key, json.dumps(document).encode())
    agent.wait(lambda _: agent.routes() == ["10.65.0.1", "10.65.0.2", "10.65.0.9"])


def test_a_restart_while_the_cluster_is_locked_writes_nothing(
    pair: tuple[RunningAgent, Namespace], netns: NetnsFactory
) -> None:
    agent, _ = pair
    agent.stop()
    key = f"{PREFIX}/clusterinformations/default"
    document = json.loads(get(agent.store, key)[key])
    document["spec"]["datastoreReady"] = False
    put(agent.store, key, json.dumps(document).encode())
    events = Events(agent.namespace)
    agent.start()
    agent.wait(lambda board: board["connected"] and "datastoreReady" in str(board["problems"]))
    with pytest.raises(ApiError, match="datastoreReady"):
        agent.attach("w3", netns=netns("w3").path, addresses=["10.65.0.3"])
    assert agent.status()["writes"] == 0
    assert events.stop() == ""
    assert agent.routes() == ["10.65.0.1", "10.65.0.2"]
    document["spec"]["datastoreReady"] = True
    put(agent.store, key, json.dumps(document).encode())
    agent.wait(lambda board: board["in_sync"] and len(board["endpoints"]) == 2)


def test_errors_stay_readable_after_they_are_over(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, _ = pair
    run = agent.namespace.run
    run("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up")
    run("ip route replace 10.65.0.1 dev up0")
    agent.wait(lambda board: board["endpoints"]["default/host--a-tortie-w1-eth0"]["state"] == "error")
    run("ip route del 10.65.0.1 dev up0")
    board = agent.wait(lambda board: board["endpoints"]["default/host--a-tortie-w1-eth0"]["state"] == "up")
    assert any("host--a-tortie-w1-eth0" in error["text"] for error in board["errors"])


def test_statuses_are_written_as_calico_writes_them(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, _ = pair
    key = f"{STATUS}/workload/tortie/default%2fw1/endpoint/eth0"
    agent.wait(lambda _: get(agent.store, key) == {key: b'{"status":"up"}'})
    agent.wait(lambda _: f"{STATUS}/status" in get(agent.store, STATUS))
    status = json.loads(get(agent.store, f"{STATUS}/status")[f"{STATUS}/status"])
    assert set(status) == {"time", "uptime", "first_update"}
    agent.detach("w1")
    agent.wait(lambda _: get(agent.store, key) == {})


def test_statuses_follow_the_region(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, _ = pair
    host, workload = "host/host-a", "workload/tortie/default%2fw1/endpoint/eth0"
    none, north = (f"/calico/felix/v2/{region}/{host}" for region in ("no-region", "region-north"))
    agent.wait(lambda _: get(agent.store, f"{none}/{workload}") != {})
    document = {"metadata": {"name": "default"}, "spec": {"openstackRegion": "north", "reportingInterval": "1s"}}
    put(agent.store, f"{PREFIX}/felixconfigurations/default", json.dumps(document).encode())
    agent.detach("w2")
    agent.wait(lambda _: list(get(agent.store, f"{north}/workload")) == [f"{north}/{workload}"])
    assert get(agent.store, f"{none}/workload") == {}


def test_a_status_of_an_endpoint_that_went_while_the_agent_was_away_is_removed(agents: AgentFactory) -> None:
    agent = agents("host-a")
    agent.start_and_wait()
    stale = f"{STATUS}/workload/tortie/default%2fold/endpoint/eth0"
    other = "/calico/felix/v2/no-region/host/host-b/workload/tortie/default%2fw/endpoint/eth0"
    agent.stop()
    put(agent.store, stale, b'{"status":"up"}')
    put(agent.store, other, b'{"status":"up"}')
    agent.start_and_wait()
    agent.wait(lambda _: get(agent.store, stale) == {})
    assert get(agent.store, other) == {other: b'{"status":"up"}'}


def test_an_unknown_setting_warns_and_a_second_agent_is_refused(agents: AgentFactory, tmp_path: Path) -> None:
    agent = agents("host-a")
    agent.config.write_text(agent.config.read_text() + 'interfce_prefix = "cali"\n')
    agent.start_and_wait()
    assert any("interfce_prefix" in problem["reason"] for problem in agent.status()["problems"])
    command = [agent.python, "-m", "tortie", "--config", str(agent.config), "agent"]
    second = subprocess.run(
        ["nsenter", f"--net={agent.namespace.path}", *command], capture_output=True, text=True, timeout=30, check=False
    )
    assert second.returncode == 1
    assert "another agent" in second.stderr
    assert "Traceback" not in second.stderr
    assert agent.status()["in_sync"]


def test_a_directory_that_cannot_be_written_is_one_sentence(agents: AgentFactory) -> None:
    agent = agents("host-a")
    (agent.directory / "state").write_text("a file where the state directory should be")
    agent.start()
    assert agent.wait_exit() == 1
    said = agent.log.read_text()
    assert str(agent.directory / "state") in said
    assert "Traceback" not in said


def test_rename_of_a_workloads_interface_and_back(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, _ = pair
    run = agent.namespace.run
    name = run("ip -o route show 10.65.0.1").split()[2]
    run(f"ip link set {name} name other")
    agent.wait(lambda board: board["endpoints"]["default/host--a-tortie-w1-eth0"]["state"] == "down")
    assert agent.routes() == ["10.65.0.2"]
    run(f"ip link set other name {name}")
    agent.wait(lambda _: agent.routes() == ["10.65.0.1", "10.65.0.2"])
