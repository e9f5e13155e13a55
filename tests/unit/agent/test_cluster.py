"""The datastore's side of the agent: what stays in force, and what is written, whatever becomes of the store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.unit.datastore.backends import Backend
from tests.unit.datastore.etcd_server import EtcdServer
from tortie.access import NO_CREDENTIALS
from tortie.agent.admission import Admission
from tortie.agent.cluster import Cluster
from tortie.agent.snapshot import SnapshotFile
from tortie.calc.graph import Graph
from tortie.datastore import format
from tortie.datastore.api import Datastore, Delete, Item, Put
from tortie.datastore.cluster import CLUSTER_PATH, guid_of
from tortie.datastore.etcd import EtcdDatastore
from tortie.datastore.resources import Resources
from tortie.errors import ForeignCluster, FormatTooNew
from tortie.lab import etcd
from tortie.lab.process import wait_until
from tortie.model.keys import RESOURCES

DEADLINE_S = 20.0


def put(name: str, address: str) -> Put:
    spec = {
        "orchestrator": "tortie",
        "node": "host",
        "workload": name,
        "endpoint": "eth0",
        "ipNetworks": [f"{address}/32"],
        "profiles": ["projectcalico-default-allow"],
        "interfaceName": f"cali{name}",
    }
    metadata = {"name": f"host-tortie-{name}-eth0", "namespace": "default"}
    document = {"kind": "WorkloadEndpoint", "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": spec}
    return Put(f"{RESOURCES}workloadendpoints/default/{metadata['name']}", json.dumps(document).encode())


class Agent:
    """A `Cluster` that runs, and the names of the endpoints that are in force by it."""

    def __init__(self, datastore: Datastore, state_dir: Path) -> None:
        self._graph = Graph("host")
        self._endpoints: dict[str, object] = {}
        file = SnapshotFile(state_dir / "snapshot.json")
        self.accepted = state_dir / "accepted-cluster"
        admission = Admission(file.cluster(), self.accepted, datastore.url)
        self.cluster = Cluster(datastore, self._graph, file, admission, lambda: None)
        self.snapshot = file

    @property
    def endpoints(self) -> set[str]:
        for key, endpoint in self._graph.flush().endpoints.items():
            if endpoint is None:
                del self._endpoints[str(key)]
            else:
                self._endpoints[str(key)] = endpoint
        return {name.split("-")[2] for name in self._endpoints}

    async def when(self, holds: Callable[[], bool]) -> None:
        """Returns when it is true."""
        assert await wait_until(holds, DEADLINE_S), self.cluster.problem

    async def remembers(self, guid: str) -> None:
        """Returns when the snapshot on the disk is of this cluster."""
        await self.when(lambda: self.snapshot.cluster() == guid)


@asynccontextmanager
async def running(datastore: Datastore, state_dir: Path) -> AsyncIterator[Agent]:
    agent = Agent(datastore, state_dir)
    task = asyncio.create_task(agent.cluster.run())
    try:
        yield agent
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def begin(store: Datastore, *endpoints: str) -> str:
    """Makes the store a cluster of its own with these endpoints; returns its GUID."""
    await Resources(store).ensure_initialised()
    await store.txn([], [put(name, f"10.65.0.{number}") for number, name in enumerate(endpoints, 1)])
    item = await store.get(CLUSTER_PATH)
    return guid_of(item.value if item else None)


async def everything(store: Datastore) -> list[Item]:
    return (await store.list("/")).items


async def replace(store: Datastore, values: list[Put]) -> None:
    """The store holds this and nothing else from now on."""
    kept = {write.key for write in values}
    gone = [Delete(item.key) for item in await everything(store) if item.key not in kept]
    await store.txn([], [*gone, *values])


async def test_a_new_store_is_begun_and_its_cluster_remembered(store: Datastore, tmp_path: Path) -> None:
    async with running(store, tmp_path) as agent:
        await agent.when(lambda: agent.cluster.connected and CLUSTER_PATH in agent.cluster._items)
        item = await store.get(CLUSTER_PATH)
        assert item is not None
        assert len(guid_of(item.value)) == 32
        await agent.remembers(guid_of(item.value))
    assert await format.read(store) == 1
    assert await store.get(format.KEY) is not None


async def test_a_stop_forgets_nothing_that_was_taken(store: Datastore, tmp_path: Path) -> None:
    """Also what came just after the snapshot that was written last."""
    await begin(store, "a")
    async with running(store, tmp_path) as agent:
        await agent.when(lambda: agent.snapshot.read(store.url) is not None)
        await store.txn([], [put("b", "10.65.1.1"), put("c", "10.65.1.2")])
        await agent.when(lambda: agent.endpoints == {"a", "b", "c"})
    snapshot = SnapshotFile(tmp_path / "snapshot.json").read(store.url)
    assert snapshot is not None
    assert {put(name, "").key for name in "abc"} <= snapshot.items.keys()


@pytest.mark.parametrize("others", ["empty", "another cluster"])
async def test_the_store_becomes_another_and_comes_back(store: Datastore, tmp_path: Path, others: str) -> None:
    await begin(store, "a", "b")
    async with running(store, tmp_path) as agent:
        await agent.when(lambda: agent.cluster.connected and agent.endpoints == {"a", "b"})
        before = [Put(item.key, item.value) for item in await everything(store)]
        there: list[Put] = []
        if others != "empty":
            information = next(write for write in before if write.key == CLUSTER_PATH)
            value = information.value.replace(guid_of(information.value).encode(), b"f" * 32)
            there = [Put(CLUSTER_PATH, value), put("c", "10.65.0.3")]
        await replace(store, there)
        await agent.when(lambda: "--new-cluster" in agent.cluster.problem)
        assert not agent.cluster.connected
        assert (agent.endpoints, agent.cluster.known) == ({"a", "b"}, True)
        with pytest.raises(ForeignCluster):
            await agent.cluster.check()
        assert [(item.key, item.value) for item in await everything(store)] == [tuple(write[:2]) for write in there]
        await replace(store, [*before, put("d", "10.65.0.4")])
        await agent.when(lambda: agent.cluster.connected and agent.endpoints == {"a", "b", "d"})
        await agent.cluster.check()
        assert agent.cluster.problem == ""


async def test_also_after_a_restart_of_the_agent(store: Datastore, tmp_path: Path) -> None:
    guid = await begin(store, "a", "b")
    async with running(store, tmp_path) as agent:
        await agent.when(lambda: agent.endpoints == {"a", "b"})
        await agent.remembers(guid)
    await replace(store, [put("c", "10.65.0.3")])
    async with running(store, tmp_path) as agent:
        await agent.when(lambda: agent.cluster.from_snapshot)
        assert agent.endpoints == {"a", "b"}
        with pytest.raises(ForeignCluster):
            await agent.cluster.check()
        assert [item.key for item in await everything(store)] == [put("c", "").key]
    assert SnapshotFile(tmp_path / "snapshot.json").cluster() == guid


async def test_the_operator_says_that_the_host_belongs_to_the_other(store: Datastore, tmp_path: Path) -> None:
    guid = await begin(store, "a", "b")
    async with running(store, tmp_path) as agent:
        await agent.when(lambda: agent.endpoints == {"a", "b"})
        await agent.remembers(guid)
        await replace(store, [])
        await agent.when(lambda: bool(agent.cluster.problem))
        other = await begin(store, "c")
        agent.accepted.write_text(other)
        await agent.when(lambda: agent.cluster.connected and agent.endpoints == {"c"})
        await agent.remembers(other)
    async with running(store, tmp_path) as agent:
        await agent.when(lambda: agent.cluster.connected and agent.endpoints == {"c"})
        await agent.when(lambda: not agent.accepted.exists())


async def test_a_newer_format_is_not_acted_on(store: Datastore, tmp_path: Path) -> None:
    await begin(store, "a")
    async with running(store, tmp_path) as agent:
        await agent.when(lambda: agent.cluster.connected and agent.endpoints == {"a"})
        await store.txn([], [Put(format.KEY, b'{"format": 2}')])
        await agent.when(lambda: "upgrade tortie here" in agent.cluster.problem)
        await store.txn([], [put("b", "10.65.0.2"), Delete(put("a", "").key)])
        with pytest.raises(FormatTooNew):
            await agent.cluster.check()
        assert agent.endpoints == {"a"}
        await store.txn([], [Put(format.KEY, b'{"format": 1}')])
        await agent.when(lambda: agent.cluster.connected and agent.endpoints == {"b"})


async def test_a_locked_store_is_not_completed(store: Datastore, tmp_path: Path) -> None:
    information = {"kind": "ClusterInformation", "apiVersion": "projectcalico.org/v3", "metadata": {"name": "default"}}
    locked = json.dumps(information | {"spec": {"clusterGUID": "e" * 32, "datastoreReady": False}}).encode()
    await store.txn([], [Put(CLUSTER_PATH, locked)])
    async with running(store, tmp_path) as agent:
        await agent.when(lambda: agent.cluster.connected and agent.cluster.locked)
        assert [(item.key, item.value) for item in await everything(store)] == [(CLUSTER_PATH, locked)]
        await store.txn([], [Put(CLUSTER_PATH, locked.replace(b"false", b"true"))])
        await agent.when(lambda: not agent.cluster.locked)
        await agent.remembers("e" * 32)


@pytest.mark.etcd
@pytest.mark.skipif(bool(etcd.missing()), reason=etcd.missing() or "etcd is installed")
async def test_another_etcd_at_the_same_address(directory: Path, tmp_path: Path) -> None:
    server = EtcdServer(directory / "one")
    server.start()
    store = EtcdDatastore(server.url, NO_CREDENTIALS)
    try:
        await begin(store, "a", "b")
        async with running(store, tmp_path) as agent:
            await agent.when(lambda: agent.cluster.connected and agent.endpoints == {"a", "b"})
            server.stop()
            server.data.rename(directory / "aside")
            server.start()
            await agent.when(lambda: "as an empty store does" in agent.cluster.problem)
            assert agent.endpoints == {"a", "b"}
            with pytest.raises(ForeignCluster):
                await agent.cluster.check()
            assert server.ctl("get", "", "--from-key", "--keys-only").split() == []
            server.stop()
            server.data.rename(directory / "other")
            (directory / "aside").rename(server.data)
            server.start()
            await agent.when(lambda: agent.cluster.connected)
            assert agent.endpoints == {"a", "b"}
    finally:
        await store.close()
        server.stop()


async def test_a_backend_that_is_closed_and_opened_is_the_same_cluster(backend: Backend, tmp_path: Path) -> None:
    guid = await begin(backend.connect(), "a")
    for _ in range(2):
        async with running(backend.connect(), tmp_path) as agent:
            await agent.when(lambda: agent.cluster.connected and agent.endpoints == {"a"})
            await agent.remembers(guid)
