"""A store that is another than it was, under traffic: nothing is swept or written, and it is said what to do."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from tests.netns.agent.conftest import AgentFactory
from tests.netns.agent.running import ApiError, RunningAgent
from tests.netns.agent.test_life import PREFIX, Events, Ping, endpoint, endpoint_key, get, put
from tests.netns.conftest import Namespace, NetnsFactory
from tortie.datastore import open_datastore
from tortie.datastore.api import Delete, Put

INFORMATION = f"{PREFIX}/clusterinformations/default"
OTHER = "f" * 32


def replace(agent: RunningAgent, content: dict[str, bytes]) -> None:
    """From now on the store holds this and nothing else."""

    async def write() -> None:
        datastore = open_datastore(f"sqlite://{agent.store}")
        gone = [Delete(item.key) for item in (await datastore.list("/")).items if item.key not in content]
        await datastore.txn([], [*gone, *(Put(key, value) for key, value in content.items())])
        await datastore.close()

    asyncio.run(write())


@pytest.fixture
def pair(agent: RunningAgent, netns: NetnsFactory) -> tuple[RunningAgent, Namespace]:
    """An agent with workloads 10.65.0.1 and .2, which it remembers; the namespace of the first."""
    first, second = netns("w1"), netns("w2")
    agent.attach("w1", netns=first.path, addresses=["10.65.0.1"])
    agent.attach("w2", netns=second.path, addresses=["10.65.0.2"])
    snapshot = agent.directory / "state" / "snapshot.json"
    agent.wait(lambda _: snapshot.exists() and "w2" in snapshot.read_text())
    agent.wait(lambda _: agent.namespace.run("ip -o link show type veth").count("state UP") == 2)
    return agent, first


def other_cluster(agent: RunningAgent) -> dict[str, bytes]:
    """Another cluster, with an endpoint on this host."""
    information = json.loads(get(agent.store, INFORMATION)[INFORMATION])
    information["spec"]["clusterGUID"] = OTHER
    return {INFORMATION: json.dumps(information).encode(), endpoint_key("w"): endpoint("w", "cali9", "10.65.0.9")}


@pytest.mark.parametrize("what", ["empty", "another cluster"])
def test_the_routes_stay_and_go_on_when_the_right_store_is_back(
    pair: tuple[RunningAgent, Namespace], what: str
) -> None:
    agent, first = pair
    before = get(agent.store, "/")
    wrong = {} if what == "empty" else other_cluster(agent)
    events, ping = Events(agent.namespace), Ping(first, "10.65.0.2", 6000)

    replace(agent, wrong)
    board = agent.wait(lambda board: "tortie node init --new-cluster" in board["datastore_problem"])
    assert (board["connected"], len(board["endpoints"])) == (False, 2)
    with pytest.raises(ApiError, match="belongs to cluster") as refused:
        agent.attach("w3", netns=first.path, addresses=["10.65.0.3"])
    assert refused.value.status == 409

    agent.stop(signal.SIGKILL)
    agent.start()
    board = agent.wait(lambda board: board["from_snapshot"] and len(board["endpoints"]) == 2)
    assert {report["state"] for report in board["endpoints"].values()} == {"up"}
    assert "belongs to cluster" in board["datastore_problem"]
    assert board["writes"] == 0
    assert get(agent.store, "/") == wrong

    replace(agent, before)
    board = agent.wait(lambda board: board["connected"] and board["in_sync"] and not board["from_snapshot"])
    assert (board["datastore_problem"], board["writes"]) == ("", 0)
    assert agent.routes() == ["10.65.0.1", "10.65.0.2"]
    assert ping.lost() == 0
    assert events.stop() == ""


def test_the_operator_moves_the_host_to_the_other_cluster(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, _ = pair
    replace(agent, other_cluster(agent))
    agent.wait(lambda board: OTHER in board["datastore_problem"])
    init = f"{agent.python} -m tortie -c {agent.config} node init --ip 172.18.203.5/32 --new-cluster"
    assert f"this host belongs to cluster {OTHER}\n" in agent.namespace.run(init)
    board = agent.wait(
        lambda board: board["connected"] and list(board["endpoints"]) == ["default/host--a-tortie-w-eth0"]
    )
    assert board["datastore_problem"] == ""
    assert agent.routes() == []


def test_a_host_of_a_cluster_makes_no_new_store(pair: tuple[RunningAgent, Namespace]) -> None:
    agent, _ = pair
    agent.stop()
    away = agent.store.with_name("away.db")
    agent.store.rename(away)
    for part in agent.store.parent.glob("store.db-*"):
        part.unlink()
    agent.start()
    board = agent.wait(lambda board: board["from_snapshot"] and len(board["endpoints"]) == 2)
    assert "does not exist" in board["datastore_problem"]
    assert not agent.store.exists()
    away.rename(agent.store)
    agent.wait(lambda board: board["connected"] and board["in_sync"])
    assert agent.routes() == ["10.65.0.1", "10.65.0.2"]


def test_a_store_of_a_newer_format_is_not_acted_on(agents: AgentFactory) -> None:
    agent = agents("host-a")
    agent.start_and_wait()
    put(agent.store, "/tortie/v1/format", b'{"format": 2}')
    agent.wait(lambda board: "upgrade tortie here" in board["datastore_problem"])
    with pytest.raises(ApiError, match="has format 2"):
        agent.attach("w", netns=agent.namespace.path, addresses=["10.65.0.3"])
