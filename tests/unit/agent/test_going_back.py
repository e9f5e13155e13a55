"""Going back by the agent's follower of the store: what is in force at each moment, and what the store says in the end.

Endpoint `a` has the address .1 before a change and .2 after it, which also creates `new`, .9.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.unit.agent.test_cluster import DEADLINE_S, begin, put
from tests.unit.datastore.backends import Backend, Wrapped
from tests.unit.datastore.etcd_server import EtcdServer
from tortie.access import NO_CREDENTIALS
from tortie.agent import going_back
from tortie.agent.admission import Admission
from tortie.agent.cluster import Cluster
from tortie.agent.snapshot import SnapshotFile
from tortie.agent.unconfirmed import Instant
from tortie.calc.graph import Graph
from tortie.datastore import confirming
from tortie.datastore.api import Batch, Compare, Datastore, Delete, Item, Listing, Put, TxnResult
from tortie.datastore.confirmation import PREFIX, Confirmation, Previous, digest
from tortie.datastore.confirming import Found
from tortie.datastore.etcd import EtcdDatastore
from tortie.datastore.resources import Resources
from tortie.errors import DatastoreError, Unavailable
from tortie.lab import etcd
from tortie.lab.process import wait_until
from tortie.model.keys import RESOURCES
from tortie.model.resource import Quarantined, Resource, ResourceKey

BEFORE, AFTER, OTHERS = (put("a", f"10.65.0.{number}") for number in (1, 2, 3))
CREATED = put("new", "10.65.0.9")
Write = Put | Delete
WITHIN_S = 600.0
NOW = going_back.now


async def change(store: Datastore, *agents: Agent, within_s: float = WITHIN_S, passed_s: float = 0.0) -> Found:
    """Makes the change, to be confirmed, once the agents have heard of its record; `passed_s` of the time are gone."""
    deadline = datetime.now(UTC) + timedelta(seconds=within_s - passed_s)
    objects = (
        Previous(BEFORE.key, BEFORE.value, digest(AFTER.value)),
        Previous(CREATED.key, None, digest(CREATED.value)),
    )
    made = Confirmation(by="root@host", deadline=deadline, within_s=within_s, objects=objects)
    record = await confirming.begin(store, made)
    for agent in agents:
        await agent.heard_of(record)
    await store.txn([Compare(PREFIX + record.name, record.revision)], [AFTER, CREATED])
    return record


async def is_back(store: Datastore) -> bool:
    """Whether the store holds what it held before the change, and no record."""
    values = {item.key: item.value for item in (await store.list(f"{RESOURCES}workloadendpoints/")).items}
    return values == {BEFORE.key: BEFORE.value} and await confirming.found(store) == []


class Agent:
    """A `Cluster` that runs, and every state that was in force by it: the last numbers of the addresses."""

    def __init__(self, datastore: Datastore, state_dir: Path) -> None:
        self.graph = Graph("host")
        self.states: list[str] = []
        self._addresses: dict[str, str] = {}
        self.file = SnapshotFile(state_dir / "snapshot.json")
        admission = Admission(self.file.cluster(), state_dir / "accepted-cluster", datastore.url)
        self.cluster = Cluster(datastore, self.graph, self.file, admission, self._note)

    def _note(self) -> None:
        """Takes the changes when the agent would."""
        if not self.cluster.known or self.cluster.locked:
            return
        for key, endpoint in self.graph.flush().endpoints.items():
            self._addresses.pop(str(key), None)
            if endpoint is not None:
                self._addresses[str(key)] = str(endpoint.addresses[0]).rpartition(".")[2]
        state = "+".join(sorted(self._addresses.values()))
        if self.states[-1:] != [state]:
            self.states.append(state)

    async def when(self, holds: Callable[[], bool]) -> None:
        assert await wait_until(holds, DEADLINE_S), (self.states, self.cluster.problem)

    async def heard_of(self, record: Found) -> None:
        await self.when(lambda: record.name in {each.name for each in self.cluster.confirmations})

    async def when_in_force(self, state: str) -> None:
        await self.when(lambda: self.states[-1:] == [state])

    async def remembers(self, name: str) -> None:
        """Returns when the snapshot on the disk holds the record and the change."""

        def saved() -> bool:
            found = self.file.read(self.cluster._datastore.url)
            return found is not None and PREFIX + name in found.items and CREATED.key in found.items

        await self.when(saved)


@asynccontextmanager
async def running(datastore: Datastore, state_dir: Path) -> AsyncIterator[Agent]:
    agent = Agent(datastore, state_dir)
    task = asyncio.create_task(agent.cluster.run())
    try:
        yield agent
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Cuttable(Wrapped):
    """A way to a store that can be cut."""

    def __init__(self, store: Datastore) -> None:
        super().__init__(store)
        self._cut = asyncio.Event()

    def cut(self) -> None:
        self._cut.set()

    def mend(self) -> None:
        self._cut.clear()

    def _check(self) -> None:
        if self._cut.is_set():
            raise Unavailable("cut")

    async def get(self, key: str) -> Item | None:
        self._check()
        return await super().get(key)

    async def list(self, prefix: str) -> Listing:
        self._check()
        return await super().list(prefix)

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Write]) -> TxnResult:
        self._check()
        return await super().txn(compares, writes)

    async def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[Batch, None]:
        self._check()
        async with aclosing(super().watch(prefix, from_revision)) as batches:
            while True:
                batch = asyncio.ensure_future(anext(batches))
                cut = asyncio.ensure_future(self._cut.wait())
                try:
                    await asyncio.wait([batch, cut], return_when=asyncio.FIRST_COMPLETED)
                    self._check()
                    found = batch.result()
                finally:
                    for each in (batch, cut):
                        each.cancel()
                    await asyncio.gather(batch, cut, return_exceptions=True)
                yield found


class Silent(Wrapped):
    """A store that takes every question and never answers."""

    async def list(self, prefix: str) -> Listing:
        await asyncio.Event().wait()
        raise AssertionError


class Clock:
    """The time of the agents, which tests let pass."""

    def __init__(self) -> None:
        self._passed_s = 0.0

    def now(self) -> Instant:
        seconds, wall = NOW()
        return Instant(seconds + self._passed_s, wall + timedelta(seconds=self._passed_s))

    def run_out(self, *agents: Agent) -> None:
        """The time of every change is up."""
        self._passed_s += WITHIN_S
        for agent in agents:
            agent.cluster._going_back.look_again()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("tortie.agent.cluster.now", made.now)
    monkeypatch.setattr("tortie.agent.going_back.now", made.now)
    return made


@pytest.fixture
def way(backend: Backend) -> Cuttable:
    """The agent's way to the store, which others reach by `store`."""
    return Cuttable(backend.connect())


async def test_unconfirmed_it_is_gone_back_from(store: Datastore, way: Cuttable, clock: Clock, tmp_path: Path) -> None:
    await begin(store, "a")
    async with running(way, tmp_path) as agent:
        await agent.when_in_force("1")
        record = await change(store, agent)
        await agent.when(lambda: agent.states == ["1", "2+9"])
        [waiting] = agent.cluster.confirmations
        assert (waiting.name, waiting.gone_back) == (record.name, False)
        assert waiting.objects == (
            "WorkloadEndpoint(default/host-tortie-a-eth0)",
            "WorkloadEndpoint(default/host-tortie-new-eth0)",
        )
        clock.run_out(agent)
        await agent.when_in_force("1")
        await agent.when(lambda: agent.cluster.confirmations == ())
        assert await is_back(store)
        assert agent.states == ["1", "2+9", "1"]


async def test_confirmed_in_time_it_stays(store: Datastore, way: Cuttable, clock: Clock, tmp_path: Path) -> None:
    await begin(store, "a")
    async with running(way, tmp_path) as agent:
        await agent.when_in_force("1")
        record = await change(store, agent)
        await agent.when_in_force("2+9")
        await confirming.confirm(store, record)
        await agent.when(lambda: agent.cluster.confirmations == ())
        clock.run_out(agent)
        # Told behind all that running out may have done.
        await store.txn([], [put("other", "10.65.0.5")])
        await agent.when_in_force("2+5+9")
        assert agent.states == ["1", "2+9", "2+5+9"]


async def test_gone_back_from_by_the_user(store: Datastore, way: Cuttable, tmp_path: Path) -> None:
    await begin(store, "a")
    async with running(way, tmp_path) as agent:
        await agent.when_in_force("1")
        record = await change(store, agent)
        await agent.when_in_force("2+9")
        with suppress(DatastoreError):  # the agent may be faster
            await confirming.go_back(store, record.name)
        await agent.when(lambda: agent.cluster.confirmations == ())
        assert await is_back(store)
        assert agent.states == ["1", "2+9", "1"]


async def test_without_the_store_and_when_it_is_back(
    store: Datastore, way: Cuttable, clock: Clock, tmp_path: Path
) -> None:
    await begin(store, "a")
    async with running(way, tmp_path) as agent:
        await agent.when_in_force("1")
        await change(store, agent)
        await agent.when_in_force("2+9")
        way.cut()
        clock.run_out(agent)
        await agent.when_in_force("1")
        await agent.when(lambda: not agent.cluster.connected)
        assert not await is_back(store)
        [waiting] = agent.cluster.confirmations
        assert waiting.gone_back
        way.mend()
        await agent.when(lambda: agent.cluster.connected and agent.cluster.confirmations == ())
        assert await is_back(store)
        assert agent.states == ["1", "2+9", "1"]


async def test_confirmed_where_the_agent_could_not_hear_it(
    store: Datastore, way: Cuttable, clock: Clock, tmp_path: Path
) -> None:
    await begin(store, "a")
    async with running(way, tmp_path) as agent:
        await agent.when_in_force("1")
        record = await change(store, agent)
        await agent.when_in_force("2+9")
        way.cut()
        await agent.when(lambda: not agent.cluster.connected)
        await confirming.confirm(store, record)
        clock.run_out(agent)
        await agent.when_in_force("1")
        way.mend()
        await agent.when_in_force("2+9")
        assert agent.states == ["1", "2+9", "1", "2+9"]
        assert agent.cluster.confirmations == ()


async def test_gone_back_from_by_another_meanwhile(
    store: Datastore, way: Cuttable, clock: Clock, tmp_path: Path
) -> None:
    await begin(store, "a")
    async with running(way, tmp_path) as agent:
        await agent.when_in_force("1")
        record = await change(store, agent)
        await agent.when_in_force("2+9")
        way.cut()
        clock.run_out(agent)
        await agent.when_in_force("1")
        await confirming.go_back(store, record.name)
        way.mend()
        await agent.when(lambda: agent.cluster.connected and agent.cluster.confirmations == ())
        assert agent.states == ["1", "2+9", "1"]


async def test_made_again_after_it_was_gone_back_from(
    store: Datastore, way: Cuttable, clock: Clock, tmp_path: Path
) -> None:
    await begin(store, "a")
    async with running(way, tmp_path) as agent:
        await agent.when_in_force("1")
        record = await change(store, agent)
        await agent.when_in_force("2+9")
        way.cut()
        clock.run_out(agent)
        await agent.when_in_force("1")
        await confirming.go_back(store, record.name)
        await store.txn([], [AFTER, CREATED])
        way.mend()
        await agent.when(lambda: agent.cluster.connected)
        await agent.when_in_force("2+9")


async def test_compaction_meanwhile(
    backend: Backend, store: Datastore, way: Cuttable, clock: Clock, tmp_path: Path
) -> None:
    await begin(store, "a")
    async with running(way, tmp_path) as agent:
        await agent.when_in_force("1")
        record = await change(store, agent)
        await agent.when_in_force("2+9")
        way.cut()
        clock.run_out(agent)
        await agent.when_in_force("1")
        await confirming.go_back(store, record.name)
        backend.compact((await store.list(PREFIX)).revision)
        way.mend()
        await agent.when(lambda: agent.cluster.connected and agent.cluster.confirmations == ())
        assert agent.states == ["1", "2+9", "1"]


@pytest.mark.parametrize("is_over", [False, True])
async def test_a_restart_without_the_store(
    store: Datastore, way: Cuttable, clock: Clock, tmp_path: Path, is_over: bool
) -> None:
    await begin(store, "a")
    async with running(way, tmp_path) as agent:
        record = await change(store, agent)
        await agent.when_in_force("2+9")
        await agent.remembers(record.name)
        way.cut()
    if is_over:
        clock.run_out()
    async with running(way, tmp_path) as agent:
        await agent.when(lambda: bool(agent.states))
        if not is_over:
            assert agent.states == ["2+9"]
            clock.run_out(agent)
            await agent.when_in_force("1")
        way.mend()
        await agent.when(lambda: agent.cluster.connected and agent.cluster.confirmations == ())
        assert await is_back(store)
        assert agent.states == (["1"] if is_over else ["2+9", "1"])


async def test_a_start_at_a_silent_store(
    store: Datastore, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(store, "a")
    async with running(store, tmp_path) as agent:
        record = await change(store, agent)
        await agent.remembers(record.name)
    clock.run_out()
    monkeypatch.setattr("tortie.agent.cluster.PATIENCE_S", 0.1)
    async with running(Silent(store), tmp_path) as agent:
        await agent.when(lambda: bool(agent.states))
        assert agent.states == ["1"]


async def test_no_agent_was_there_at_the_deadline(store: Datastore, way: Cuttable, tmp_path: Path) -> None:
    await begin(store, "a")
    await change(store, passed_s=WITHIN_S + 1)
    async with running(way, tmp_path) as agent:
        await agent.when(lambda: agent.cluster.connected and agent.cluster.confirmations == ())
        assert await is_back(store)
        assert agent.states == ["1"]


async def test_the_writer_died_behind_the_record(store: Datastore, way: Cuttable, clock: Clock, tmp_path: Path) -> None:
    await begin(store, "a")
    async with running(way, tmp_path) as agent:
        await agent.when_in_force("1")
        await change(store, agent)
        await store.txn([], [BEFORE, Delete(CREATED.key)])  # as if it had not come so far
        await agent.when(lambda: len(agent.cluster.confirmations) == 1)
        clock.run_out(agent)
        await agent.when(lambda: agent.cluster.confirmations == ())
        assert await is_back(store)


async def test_what_others_wrote_stays(store: Datastore, way: Cuttable, clock: Clock, tmp_path: Path) -> None:
    await begin(store, "a")
    async with running(way, tmp_path) as agent:
        await agent.when_in_force("1")
        await change(store, agent)
        await agent.when_in_force("2+9")
        await store.txn([], [OTHERS])
        await agent.when_in_force("3+9")
        clock.run_out(agent)
        await agent.when_in_force("3")
        await agent.when(lambda: agent.cluster.confirmations == ())
        item = await store.get(OTHERS.key)
        assert item is not None
        assert item.value == OTHERS.value


async def test_several_agents(backend: Backend, store: Datastore, clock: Clock, tmp_path: Path) -> None:
    await begin(store, "a")
    ways = [Cuttable(backend.connect()) for _ in range(3)]
    async with (
        running(ways[0], tmp_path / "0") as first,
        running(ways[1], tmp_path / "1") as second,
        running(ways[2], tmp_path / "2") as third,
    ):
        for agent in (first, second, third):
            await agent.when_in_force("1")
        await change(store, first, second, third)
        for agent in (first, second, third):
            await agent.when_in_force("2+9")
        ways[2].cut()
        clock.run_out(first, second, third)
        for agent in (first, second):
            await agent.when(lambda agent=agent: agent.cluster.confirmations == ())  # type: ignore[misc]
        await third.when_in_force("1")
        assert await is_back(store)
        ways[2].mend()
        await third.when(lambda: third.cluster.connected and third.cluster.confirmations == ())
        assert [agent.states for agent in (first, second, third)] == [["1", "2+9", "1"]] * 3


async def test_a_locked_cluster_waits(store: Datastore, way: Cuttable, clock: Clock, tmp_path: Path) -> None:
    await begin(store, "a")
    async with running(way, tmp_path) as agent:
        await agent.when_in_force("1")
        await change(store, agent)
        await agent.when_in_force("2+9")
        await Resources(store).set_ready(False)
        await agent.when(lambda: agent.cluster.locked)
        clock.run_out(agent)
        await agent.when(lambda: any(each.gone_back for each in agent.cluster.confirmations))
        assert agent.states == ["1", "2+9"]
        assert not await is_back(store)
        await Resources(store).set_ready(True)
        await agent.when(lambda: agent.cluster.confirmations == ())
        assert await is_back(store)
        assert agent.states == ["1", "2+9", "1"]


class Stubborn(Cuttable):
    """A store that takes no record."""

    refuses = True

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Write]) -> TxnResult:
        if self.refuses and any(write.key.startswith(PREFIX) for write in writes):
            raise DatastoreError("permission denied")
        return await super().txn(compares, writes)


async def test_a_store_that_may_not_be_written(
    backend: Backend, store: Datastore, clock: Clock, tmp_path: Path
) -> None:
    await begin(store, "a")
    way = Stubborn(backend.connect())
    async with running(way, tmp_path) as agent:
        await agent.when_in_force("1")
        await change(store, agent)
        await agent.when_in_force("2+9")
        clock.run_out(agent)
        await agent.when_in_force("1")
        await agent.when(lambda: bool(agent.cluster.problems))
        [problem] = agent.cluster.problems
        assert problem.reason.endswith("permission denied")
        way.refuses = False
        await agent.when(lambda: agent.cluster.confirmations == ())
        assert agent.cluster.problems == ()
        assert await is_back(store)
        assert agent.states == ["1", "2+9", "1"]


POLICY = ResourceKey("GlobalNetworkPolicy", "", "default.p")


def policy(action: str) -> bytes:
    spec = {"selector": "all()", "types": ["Ingress"], "ingress": [{"action": action}]}
    document = {"kind": POLICY.kind, "apiVersion": "projectcalico.org/v3", "metadata": {"name": POLICY.name}}
    return json.dumps({**document, "spec": spec}).encode()


async def test_going_back_to_a_broken_policy_is_to_its_last_valid_version(
    store: Datastore, way: Cuttable, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(store, "a")
    path = f"{RESOURCES}globalnetworkpolicies/{POLICY.name}"
    async with running(way, tmp_path) as agent:
        taken: list[bytes] = []
        update = agent.graph.update

        def note(key: ResourceKey, value: Resource[Any] | Quarantined | None) -> None:
            if key == POLICY and isinstance(value, Resource):
                assert isinstance(value.source, bytes)
                taken.append(value.source)
            update(key, value)

        monkeypatch.setattr(agent.graph, "update", note)
        await store.txn([], [Put(path, policy("Deny"))])
        await agent.when(lambda: taken == [policy("Deny")])
        await store.txn([], [Put(path, policy("Perhaps"))])
        await agent.when(lambda: taken == [policy("Deny")] * 2)
        repaired = policy("Allow")
        objects = (Previous(path, policy("Perhaps"), digest(repaired)),)
        deadline = datetime.now(UTC) + timedelta(seconds=WITHIN_S)
        record = Confirmation(by="b", deadline=deadline, within_s=WITHIN_S, objects=objects)
        await confirming.begin(store, record)
        await agent.when(lambda: len(agent.cluster.confirmations) == 1)
        await store.txn([], [Put(path, repaired)])
        await agent.when(lambda: taken[-1:] == [repaired])
        clock.run_out(agent)
        await agent.when(lambda: agent.cluster.confirmations == ())
        assert taken[-1] == policy("Deny")


@pytest.mark.etcd
@pytest.mark.skipif(bool(etcd.missing()), reason=etcd.missing() or "etcd is installed")
async def test_an_etcd_that_is_stopped_at_the_deadline(directory: Path, tmp_path: Path) -> None:
    server = EtcdServer(directory / "one")
    server.start()
    store = EtcdDatastore(server.url, NO_CREDENTIALS)
    try:
        await begin(store, "a")
        async with running(store, tmp_path) as agent:
            await agent.when_in_force("1")
            await change(store, agent, within_s=1.0)
            await agent.when_in_force("2+9")
            server.stop()
            await agent.when_in_force("1")
            server.start()
            await agent.when(lambda: agent.cluster.connected and agent.cluster.confirmations == ())
            assert await is_back(store)
            assert agent.states == ["1", "2+9", "1"]
    finally:
        await store.close()
        server.stop()
