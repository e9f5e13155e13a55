"""The verbs of resources: who wins, what is kept, what is refused, and in which words."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
import pytest
from msgspec.structs import replace

from tests.unit.datastore.backends import Wrapped
from tortie.datastore import cascade, contention
from tortie.datastore.api import Batch, Compare, Datastore, Delete, Event, Item, Listing, Put, TxnResult
from tortie.datastore.resources import ATTEMPTS, Resources
from tortie.errors import AlreadyExists, Conflict, DatastoreError, ForeignCluster, InvalidResource, NotFound, UsageError
from tortie.model.decode import from_user
from tortie.model.encode import with_labels, with_spec
from tortie.model.resource import API_VERSION, Quarantined, Resource, ResourceKey

PREFIX = "/calico/resources/v3/projectcalico.org"
NODE = ResourceKey("Node", "", "node-a")
ALLOW = ResourceKey("Profile", "", "projectcalico-default-allow")
INFORMATION = ResourceKey("ClusterInformation", "", "default")


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who loses every race is not made to wait between them: for tests of what then comes."""
    monkeypatch.setattr(contention, "FIRST_PAUSE_S", 0.0)


@pytest.fixture
def resources(store: Datastore) -> Resources:
    return Resources(store)


def user(kind: str, name: str, spec: Mapping[str, Any], **metadata: Any) -> Resource[Any]:
    """A resource as a user's file says it."""
    named = {"name": name, **metadata}
    return from_user({"apiVersion": API_VERSION, "kind": kind, "metadata": named, "spec": spec})


def node(address: str = "172.18.203.126/24", **metadata: Any) -> Resource[Any]:
    return user("Node", "node-a", {"bgp": {"ipv4Address": address}}, **metadata)


def pool(name: str, cidr: str) -> Resource[Any]:
    return user("IPPool", name, {"cidr": cidr})


async def document(store: Datastore, path: str) -> dict[str, Any]:
    """What is stored at a path, byte for byte as another tool would read it."""
    item = await store.get(PREFIX + path)
    assert item is not None
    found: dict[str, Any] = msgspec.json.decode(item.value)
    return found


async def write(store: Datastore, path: str, value: object) -> int:
    """What another tool writes; its revision."""
    return (await store.txn([], [Put(PREFIX + path, msgspec.json.encode(value))])).revision


class TestCreate:
    async def test_what_is_stored(self, store: Datastore, resources: Resources) -> None:
        created = await resources.create(node(labels={"rack": "r1"}))
        stored = await document(store, "/nodes/node-a")
        metadata = stored.pop("metadata")
        assert stored == {
            "apiVersion": API_VERSION,
            "kind": "Node",
            "spec": {"bgp": {"ipv4Address": "172.18.203.126/24"}},
            "status": {},
        }
        assert UUID(metadata.pop("uid")).version == 4
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata.pop("creationTimestamp"))
        assert metadata == {"name": "node-a", "labels": {"rack": "r1"}}
        assert created == await resources.get(NODE)
        assert created.revision == (await store.list(PREFIX)).revision

    async def test_existing(self, resources: Resources) -> None:
        await resources.create(node())
        with pytest.raises(AlreadyExists, match=r"^resource already exists: Node\(node-a\) with error: <nil>$"):
            await resources.create(node())

    async def test_with_a_revision(self, resources: Resources) -> None:
        with pytest.raises(InvalidResource, match=r"metadata.resourceVersion: field must not be set for a Create"):
            await resources.create(node(resourceVersion="7"))

    async def test_endpoint_gets_its_labels(self, store: Datastore, resources: Resources) -> None:
        spec = {"orchestrator": "tortie", "node": "node-a", "workload": "w1", "endpoint": "eth0"}
        labels = {"app": "web", "projectcalico.org/namespace": "forged"}
        endpoint = user("WorkloadEndpoint", "", spec | {"interfaceName": "cali1"}, namespace="prod", labels=labels)
        await resources.create(endpoint)
        stored = await document(store, "/workloadendpoints/prod/node--a-tortie-w1-eth0")
        assert stored["metadata"]["labels"] == {
            "app": "web",
            "projectcalico.org/namespace": "prod",
            "projectcalico.org/orchestrator": "tortie",
        }

    async def test_overlapping_pools(self, resources: Resources) -> None:
        await resources.create(pool("a", "10.65.0.0/16"))
        await resources.create(pool("b", "fd00:65::/48"))
        sentence = r"IPPool\(c\) CIDR overlaps with IPPool\(a\) CIDR 10.65.0.0/16"
        with pytest.raises(InvalidResource, match=sentence):
            await resources.create(pool("c", "10.65.8.0/24"))
        await resources.create(pool("c", "10.66.0.0/16"))

    async def test_of_pools_that_overlap_one_wins_also_in_the_same_moment(
        self, store_pair: tuple[Datastore, Datastore]
    ) -> None:
        pools = [pool(f"p{n}", cidr) for n, cidr in enumerate(("10.65.0.0/16", "10.65.0.0/18", "10.65.0.0/20"))]
        both = [Resources(store) for store in store_pair]
        attempts = [both[n % 2].create(each) for n, each in enumerate(pools)]
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        assert sum(isinstance(outcome, Resource) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, InvalidResource) for outcome in outcomes) == 2
        assert len((await both[0].list("IPPool")).items) == 1

    async def test_pools_that_do_not_overlap_all_win(self, store_pair: tuple[Datastore, Datastore]) -> None:
        both = [Resources(store) for store in store_pair]
        await asyncio.gather(*(both[n % 2].create(pool(f"p{n}", f"10.{n}.0.0/16")) for n in range(8)))
        assert len((await both[0].list("IPPool")).items) == 8

    @pytest.mark.parametrize(
        ("block", "clashes"),
        [
            ("ipv4/block/10.65.3.0-24", True),
            ("ipv4/block/10.65.3.0-26", False),
            ("ipv4/block/10.66.0.0-24", False),
            ("ipv4/block/10.0.0.0-8", True),
            ("ipv4/block/nonsense", False),
            ("ipv4/block/10.65.3.0-99", False),
            ("ipv6/block/fd00::-120", False),
        ],
    )
    async def test_blocks_of_another_size(
        self, store: Datastore, resources: Resources, block: str, clashes: bool
    ) -> None:
        await store.txn([], [Put(f"/calico/ipam/v2/assignment/{block}", b"{}")])
        if not clashes:
            await resources.create(pool("a", "10.65.0.0/16"))
            return
        with pytest.raises(InvalidResource, match="existing allocations that use a different blockSize"):
            await resources.create(pool("a", "10.65.0.0/16"))

    async def test_the_same_pool_again_exists(self, resources: Resources) -> None:
        await resources.create(pool("a", "10.65.0.0/16"))
        with pytest.raises(AlreadyExists):
            await resources.create(pool("a", "10.65.0.0/16"))


class TestUpdate:
    async def test_identity_stays_and_labels_are_replaced_as_a_whole(self, resources: Resources) -> None:
        created = await resources.create(node(labels={"rack": "r1", "row": "2"}, annotations={"by": "hand"}))
        updated = await resources.update(node("172.18.203.129/24", labels={"rack": "r2"}))
        assert updated == await resources.get(NODE)
        assert updated.revision > created.revision
        assert updated.metadata == replace(created.metadata, labels={"rack": "r2"}, annotations={})
        assert str(updated.spec.bgp.ipv4_address) == "172.18.203.129/24"

    async def test_missing(self, resources: Resources) -> None:
        with pytest.raises(NotFound, match=r"^resource does not exist: Node\(node-a\) with error: <nil>$"):
            await resources.update(node())

    async def test_of_a_revision(self, resources: Resources) -> None:
        first = await resources.create(node())
        second = await resources.update(replace(node("10.0.0.2/24"), revision=first.revision))
        sentence = (
            rf"^update conflict: Node\(node-a\) \(resourceVersion {first.revision} was given, {second.revision} is"
        )
        with pytest.raises(Conflict, match=sentence):
            await resources.update(replace(node("10.0.0.3/24"), revision=first.revision))
        assert await resources.get(NODE) == second

    async def test_fields_of_a_newer_calico_stay(self, store: Datastore, resources: Resources) -> None:
        await resources.create(node())
        stored = await document(store, "/nodes/node-a")
        stored["spec"]["bgp"]["invented"] = {"later": True}
        stored["metadata"]["finalizers"] = ["f"]
        await write(store, "/nodes/node-a", stored)
        await resources.update(node("10.0.0.2/24"))
        after = await document(store, "/nodes/node-a")
        assert after["spec"]["bgp"] == {"ipv4Address": "10.0.0.2/24", "invented": {"later": True}}
        assert after["metadata"]["finalizers"] == ["f"]

    async def test_without_change_nothing_is_written(self, store: Datastore, resources: Resources) -> None:
        created = await resources.create(node(labels={"rack": "r1"}))
        assert await resources.update(node(labels={"rack": "r1"})) == created
        assert (await store.list("")).revision == created.revision

    async def test_what_may_not_change(self, resources: Resources) -> None:
        await resources.create(pool("a", "10.65.0.0/16"))
        with pytest.raises(InvalidResource, match="IPPool CIDR cannot be modified"):
            await resources.update(pool("a", "10.66.0.0/16"))

    async def test_somebody_else_in_between(self, store: Datastore) -> None:
        overtaken = Overtaken(store, times=3)
        resources = Resources(overtaken)
        created = await resources.create(node())
        await resources.update(node("10.0.0.2/24"))
        assert overtaken.times == 0
        found = await resources.get(NODE)
        assert found.metadata.uid == created.metadata.uid
        assert str(found.spec.bgp.ipv4_address) == "10.0.0.2/24"

    @pytest.mark.usefixtures("no_pauses")
    async def test_somebody_else_for_ever(self, store: Datastore) -> None:
        resources = Resources(Overtaken(store, times=1000))
        await resources.create(node())
        with pytest.raises(Conflict):
            await resources.update(node("10.0.0.2/24"))

    async def test_modify_is_made_from_what_is_there(self, store_pair: tuple[Datastore, Datastore]) -> None:
        clients = [Resources(store) for store in store_pair]
        await clients[0].create(node())

        async def add(client: Resources, label: str) -> None:
            await client.modify(NODE, lambda stored: with_labels(stored, {**stored.metadata.labels, label: "x"}))

        await asyncio.gather(*(add(clients[n % 2], f"label-{n}") for n in range(10)))
        assert set((await clients[0].get(NODE)).metadata.labels) == {f"label-{n}" for n in range(10)}

    async def test_many_who_modify_one_object_all_come_to_their_turn(self, store: Datastore) -> None:
        resources = Resources(store)
        await resources.create(node())

        async def add(label: str) -> None:
            await resources.modify(NODE, lambda stored: with_labels(stored, {**stored.metadata.labels, label: "x"}))

        labels = {f"label-{n}" for n in range(2 * ATTEMPTS)}
        await asyncio.gather(*map(add, labels))
        assert set((await resources.get(NODE)).metadata.labels) == labels

    async def test_repairs_what_is_quarantined(self, store: Datastore, resources: Resources) -> None:
        await write(store, "/nodes/node-a", {"kind": "Node", "spec": {"bgp": {"ipv4Address": "none"}}})
        with pytest.raises(InvalidResource, match=r"^Node\(node-a\): spec.bgp.ipv4Address"):
            await resources.get(NODE)
        repaired = await resources.update(node())
        assert repaired == await resources.get(NODE)
        assert repaired.metadata.uid

    async def test_a_repair_keeps_identity_and_unknown_fields(self, store: Datastore, resources: Resources) -> None:
        created = await resources.create(node())
        broken = await document(store, "/nodes/node-a")
        broken["spec"] = {"bgp": {"ipv4Address": "none", "invented": 1}, "later": {"a": 1}}
        broken["metadata"] |= {"invented": "x", "finalizers": 3}
        await write(store, "/nodes/node-a", broken)
        with pytest.raises(InvalidResource):
            await resources.get(NODE)
        repaired = await resources.update(node(labels={"rack": "r1"}))
        assert repaired.metadata.uid == created.metadata.uid
        assert repaired.metadata.creation_timestamp == created.metadata.creation_timestamp
        after = await document(store, "/nodes/node-a")
        assert after["spec"] == {
            "bgp": {"ipv4Address": "172.18.203.126/24", "invented": 1},
            "later": {"a": 1},
        }
        assert after["metadata"]["invented"] == "x"
        assert repaired == await resources.get(NODE)

    @pytest.mark.parametrize("junk", [b"", b"[]", b"null", b'{"metadata": 3, "spec": []}', b'{"spec": null}'])
    async def test_a_repair_of_junk(self, store: Datastore, resources: Resources, junk: bytes) -> None:
        await store.txn([], [Put(PREFIX + "/nodes/node-a", junk)])
        assert await resources.update(node()) == await resources.get(NODE)


class Overtaken(Wrapped):
    """A store where somebody else is faster, `times` times, at every update."""

    def __init__(self, store: Datastore, times: int) -> None:
        super().__init__(store)
        self.times = times

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> TxnResult:
        (compare,) = compares
        if compare.revision and self.times:
            self.times -= 1
            item = await self.get(compare.key)
            assert item is not None
            await self.store.txn([], [Put(item.key, item.value)])
        return await self.store.txn(compares, writes)


class TestApply:
    async def test_creates_then_updates(self, resources: Resources) -> None:
        created = await resources.apply(node())
        updated = await resources.apply(node("10.0.0.2/24"))
        assert updated.metadata.uid == created.metadata.uid
        assert await resources.apply(node("10.0.0.2/24")) == updated

    async def test_of_a_revision(self, resources: Resources) -> None:
        created = await resources.apply(node())
        changed = with_spec(created, replace(created.spec, bgp=None))
        assert (await resources.apply(changed)).spec.bgp is None
        with pytest.raises(Conflict):
            await resources.apply(changed)


class TestDelete:
    async def test_returns_what_was_there(self, resources: Resources) -> None:
        created = await resources.create(node())
        deleted = await resources.delete(NODE)
        assert deleted == replace(created, revision=created.revision + 1)
        with pytest.raises(NotFound, match=r"^resource does not exist: Node\(node-a\) with error: <nil>$"):
            await resources.get(NODE)
        with pytest.raises(NotFound):
            await resources.delete(NODE)

    async def test_of_a_revision(self, resources: Resources) -> None:
        created = await resources.create(node())
        updated = await resources.update(node("10.0.0.2/24"))
        sentence = rf"^update conflict: Node\(node-a\) \(resourceVersion {created.revision} was given"
        with pytest.raises(Conflict, match=sentence):
            await resources.delete(NODE, created.revision)
        await resources.delete(NODE, updated.revision)

    async def test_what_is_quarantined(self, store: Datastore, resources: Resources) -> None:
        await write(store, "/nodes/node-a", [])
        assert isinstance(await resources.delete(NODE), Quarantined)
        assert (await resources.list("Node")).items == []


class TestNeeds:
    """Objects that must exist when another is written."""

    PEER = ResourceKey("BGPPeer", "", "tor")

    def peer(self, *filters: str, address: str = "10.0.0.1") -> Resource[Any]:
        return user("BGPPeer", "tor", {"peerIP": address, "asNumber": 64512, "filters": list(filters)})

    async def test_all_that_are_missing_are_told(self, store: Datastore, resources: Resources) -> None:
        await resources.create(user("BGPFilter", "b", {}))
        with pytest.raises(InvalidResource) as caught:
            await resources.create(self.peer("a", "b", "c"))
        assert [tuple(problem)[:3] for problem in caught.value.problems] == [
            ("spec.filters[0]", "a", "BGPFilter(s) not found"),
            ("spec.filters[2]", "c", "BGPFilter(s) not found"),
        ]
        assert await store.get(f"{PREFIX}/bgppeers/tor") is None

    async def test_what_is_there_is_enough(self, resources: Resources) -> None:
        await resources.create(user("BGPFilter", "a", {}))
        created = await resources.create(self.peer("a"))
        assert created == await resources.get(self.PEER)

    async def test_of_an_update(self, resources: Resources) -> None:
        await resources.create(user("BGPFilter", "a", {}))
        created = await resources.create(self.peer("a"))
        with pytest.raises(InvalidResource, match=r"BGPFilter\(s\) not found"):
            await resources.update(self.peer("a", "b"))
        assert await resources.get(self.PEER) == created

    async def test_what_goes_at_the_last_moment_is_missed(self, store: Datastore) -> None:
        resources = Resources(store)
        await resources.create(user("BGPFilter", "a", {}))
        await resources.create(self.peer("a"))  # now the filter is remembered
        await resources.delete(self.PEER)
        await Resources(store).delete(ResourceKey("BGPFilter", "", "a"))
        with pytest.raises(InvalidResource, match=r"BGPFilter\(s\) not found"):
            await resources.create(self.peer("a"))

    async def test_one_that_was_rewritten_is_still_there(self, store: Datastore) -> None:
        resources = Resources(store)
        await resources.create(user("BGPFilter", "a", {}))
        await resources.create(self.peer("a"))
        await Resources(store).update(user("BGPFilter", "a", {}, labels={"x": "y"}))
        updated = await resources.update(self.peer("a", address="10.0.0.2"))
        assert updated == await resources.get(self.PEER)


class TestCascade:
    """What goes with a deleted object."""

    async def test_a_pool_is_disabled_first(
        self, store: Datastore, resources: Resources, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cascade, "POOL_PAUSE_S", 0.0)
        created = await resources.create(pool("a", "10.65.0.0/16"))
        batches = store.watch(PREFIX + "/ippools/", created.revision + 1)
        async with contextlib.aclosing(batches):
            await anext(batches)
            await resources.delete(created.key)
            events = [event async for event in first_events(batches, 2)]
        disabled, gone = (event.value for event in events)
        assert disabled is not None
        assert msgspec.json.decode(disabled)["spec"]["disabled"] is True
        assert gone is None

    async def test_a_pool_of_a_version(self, resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cascade, "POOL_PAUSE_S", 0.0)
        created = await resources.create(pool("a", "10.65.0.0/16"))
        with pytest.raises(Conflict):
            await resources.delete(created.key, created.revision - 1)
        assert not (await resources.get(created.key)).spec.disabled
        await resources.delete(created.key, created.revision)
        assert (await resources.list("IPPool")).items == []

    async def test_what_belongs_to_a_node_goes_with_it(self, store: Datastore, resources: Resources) -> None:
        endpoint = {"orchestrator": "x", "workload": "w", "endpoint": "e", "interfaceName": "cali1"}
        for name in ("node-a", "node-b"):
            await resources.create(user("Node", name, {}))
            await resources.create(user("WorkloadEndpoint", "", endpoint | {"node": name}, namespace="prod"))
            await resources.create(user("BGPPeer", f"peer-{name}", {"node": name, "peerIP": "10.0.0.1"}))
            await resources.create(user("FelixConfiguration", f"node.{name}", {}))
            await resources.create(user("BGPConfiguration", f"node.{name}", {}))
            await write(store, f"/hostendpoints/{name}-eth0", {"spec": {"node": name, "interfaceName": "eth0"}})
        await resources.create(user("BGPPeer", "everybody", {"peerIP": "10.0.0.9", "asNumber": 1}))
        await write(store, "/workloadendpoints/prod/broken", {"spec": {"node": "node-a", "mac": 3}})
        block = "/calico/ipam/v2/host/node-a/ipv4/block/10.65.0.0-26"
        await store.txn([], [Put(block, b"{}")])
        before = {item.key for item in (await store.list("/calico/")).items}
        await resources.delete(NODE)
        gone = before - {item.key for item in (await store.list("/calico/")).items}
        assert sorted(path.removeprefix(PREFIX) for path in gone) == [
            "/bgpconfigurations/node.node-a",
            "/bgppeers/peer-node-a",
            "/felixconfigurations/node.node-a",
            "/hostendpoints/node-a-eth0",
            "/nodes/node-a",
            "/workloadendpoints/prod/broken",
            "/workloadendpoints/prod/node--a-x-w-e",
        ]

    async def test_a_node_that_stays_keeps_its_own(self, resources: Resources) -> None:
        created = await resources.create(node())
        await resources.create(user("FelixConfiguration", "node.node-a", {}))
        with pytest.raises(Conflict):
            await resources.delete(NODE, created.revision + 100)
        assert len((await resources.list("FelixConfiguration")).items) == 1


async def first_events(batches: AsyncGenerator[Batch, None], count: int) -> AsyncIterator[Event]:
    async for batch in batches:
        for event in batch.events:
            yield event
            count -= 1
        if not count:
            return


class TestList:
    async def test_by_kind_and_namespace(self, resources: Resources) -> None:
        for namespace, workload in (("b", "w1"), ("a", "w2"), ("a", "w1")):
            spec = {"orchestrator": "x", "node": "n", "workload": workload, "endpoint": "e", "interfaceName": "cali1"}
            await resources.create(user("WorkloadEndpoint", "", spec, namespace=namespace))
        await resources.create(node())
        names = [str(found.key) for found in (await resources.list("WorkloadEndpoint")).items]
        assert names == [
            "WorkloadEndpoint(a/n-x-w1-e)",
            "WorkloadEndpoint(a/n-x-w2-e)",
            "WorkloadEndpoint(b/n-x-w1-e)",
        ]
        assert len((await resources.list("WorkloadEndpoint", "a")).items) == 2

    async def test_bad_objects_are_among_them(self, store: Datastore, resources: Resources) -> None:
        created = await resources.create(node())
        revision = await write(store, "/nodes/node-b", {"spec": 3})
        await store.txn([], [Put(f"{PREFIX}/nodes/too/deep", b"{}")])
        good, bad = (await resources.list("Node")).items
        assert good == created
        assert isinstance(bad, Quarantined)
        assert (bad.key.name, bad.revision) == ("node-b", revision)


class TestBuiltIn:
    async def test_is_there_without_being_stored(self, store: Datastore, resources: Resources) -> None:
        await resources.create(user("Profile", "another", {}))
        assert (await resources.get(ALLOW)).spec.ingress[0].action == "Allow"
        assert [found.key.name for found in (await resources.list("Profile")).items] == ["another", ALLOW.name]
        assert len((await store.list("")).items) == 1

    async def test_cannot_be_written(self, store: Datastore, resources: Resources) -> None:
        allow = await resources.get(ALLOW)
        with pytest.raises(AlreadyExists, match="resource already exists: Profile"):
            await resources.create(allow)
        refused = r"^operation {} is not supported on Profile\(projectcalico-default-allow\): it is built in$"
        with pytest.raises(UsageError, match=refused.format("Update")):
            await resources.update(allow)
        with pytest.raises(UsageError, match=refused.format("Update")):
            await resources.apply(allow)
        with pytest.raises(UsageError, match=refused.format("Delete")):
            await resources.delete(ALLOW)
        assert (await store.list("")).items == []

    async def test_hides_what_somebody_stored_in_its_place(self, store: Datastore, resources: Resources) -> None:
        await write(store, f"/profiles/{ALLOW.name}", {"spec": {}})
        (found,) = (await resources.list("Profile")).items
        assert found == await resources.get(ALLOW)


class TestInitialisation:
    async def test_of_a_new_store(self, store: Datastore, resources: Resources) -> None:
        await resources.ensure_initialised()
        stored = await document(store, "/clusterinformations/default")
        assert stored["metadata"]["name"] == "default"
        assert stored["metadata"]["uid"]
        guid = stored["spec"].pop("clusterGUID")
        assert re.fullmatch("[0-9a-f]{32}", guid)
        assert stored["spec"] == {"clusterType": "tortie", "datastoreReady": True}

    async def test_again_writes_nothing(self, store: Datastore, resources: Resources) -> None:
        await resources.ensure_initialised()
        revision = (await store.list("")).revision
        await resources.ensure_initialised()
        assert (await store.list("")).revision == revision

    async def test_of_a_store_that_others_use(self, store: Datastore, resources: Resources) -> None:
        spec = {
            "clusterGUID": "0" * 32,
            "clusterType": "openstack",
            "datastoreReady": False,
            "calicoVersion": "v3.32.1",
        }
        metadata = {"name": "default", "uid": "u", "creationTimestamp": "2026-08-22T13:33:20Z"}
        theirs = {"apiVersion": API_VERSION, "kind": "ClusterInformation", "metadata": metadata, "spec": spec}
        await write(store, "/clusterinformations/default", theirs)
        await resources.ensure_initialised()
        assert await document(store, "/clusterinformations/default") == {
            **theirs,
            "spec": {**spec, "clusterType": "openstack,tortie"},
        }

    async def test_by_all_at_once(self, store_pair: tuple[Datastore, Datastore]) -> None:
        await asyncio.gather(*(Resources(store).ensure_initialised() for store in store_pair * 4))
        item = await store_pair[0].get(PREFIX + "/clusterinformations/default")
        assert item is not None
        assert item.revision == item.created, "written once"

    @pytest.mark.usefixtures("no_pauses")
    @pytest.mark.parametrize("at", range(1, 7))
    async def test_of_a_known_cluster_nothing_is_begun_in_a_store_that_is_emptied(
        self, store: Datastore, at: int
    ) -> None:
        class Emptied(Wrapped):
            """Emptied by others before the n-th request."""

            left = at

            async def _pass(self) -> None:
                self.left -= 1
                if self.left == 0:
                    await self.store.txn([], [Delete(item.key) for item in (await self.store.list("/")).items])

            async def get(self, key: str) -> Item | None:
                await self._pass()
                return await self.store.get(key)

            async def list(self, prefix: str) -> Listing:
                await self._pass()
                return await self.store.list(prefix)

            async def txn(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> TxnResult:
                await self._pass()
                return await self.store.txn(compares, writes)

        information = {"apiVersion": API_VERSION, "kind": "ClusterInformation", "metadata": {"name": "default"}}
        await write(store, "/clusterinformations/default", information | {"spec": {"clusterGUID": "0" * 32}})
        emptied = Emptied(store)
        with contextlib.suppress(DatastoreError):
            await Resources(emptied).ensure_initialised("0" * 32)
        assert emptied.left <= 0
        assert [item.key for item in (await store.list("/")).items] == []

    @pytest.mark.parametrize("there", [None, "f" * 32])
    async def test_of_another_cluster_than_the_known_one(
        self, store: Datastore, resources: Resources, there: str | None
    ) -> None:
        if there:
            information = {"apiVersion": API_VERSION, "kind": "ClusterInformation", "metadata": {"name": "default"}}
            await write(store, "/clusterinformations/default", information | {"spec": {"clusterGUID": there}})
        before = (await store.list("/")).items
        with pytest.raises(ForeignCluster):
            await resources.ensure_initialised("0" * 32)
        assert (await store.list("/")).items == before

    async def test_users_may_only_look(self, resources: Resources) -> None:
        await resources.ensure_initialised()
        information = await resources.get(INFORMATION)
        sentence = r"^operation (Create|Update|Delete) is not supported on ClusterInformation\(default\)$"
        with pytest.raises(UsageError, match=sentence):
            await resources.create(information)
        with pytest.raises(UsageError, match=sentence):
            await resources.update(information)
        with pytest.raises(UsageError, match=sentence):
            await resources.delete(INFORMATION)
