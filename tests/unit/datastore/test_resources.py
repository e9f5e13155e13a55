"""The verbs of resources: who wins, what is kept, what is refused, and in which words."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
import pytest
from msgspec.structs import replace

from tests.unit.datastore.backends import Wrapped
from tortie.datastore.api import Compare, Datastore, Delete, Put, TxnResult
from tortie.datastore.resources import Resources
from tortie.errors import AlreadyExists, Conflict, InvalidResource, NotFound, UsageError
from tortie.model.decode import from_user
from tortie.model.encode import with_labels, with_spec
from tortie.model.resource import API_VERSION, Quarantined, Resource, ResourceKey

PREFIX = "/calico/resources/v3/projectcalico.org"
NODE = ResourceKey("Node", "", "node-a")
ALLOW = ResourceKey("Profile", "", "projectcalico-default-allow")
INFORMATION = ResourceKey("ClusterInformation", "", "default")


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
        with pytest.raises(Conflict, match=r"^update conflict: Node\(node-a\)$"):
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

    async def test_repairs_what_is_quarantined(self, store: Datastore, resources: Resources) -> None:
        await write(store, "/nodes/node-a", {"kind": "Node", "spec": {"bgp": {"ipv4Address": "none"}}})
        with pytest.raises(InvalidResource, match=r"^Node\(node-a\): spec.bgp.ipv4Address"):
            await resources.get(NODE)
        repaired = await resources.update(node())
        assert repaired == await resources.get(NODE)
        assert repaired.metadata.uid


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
        with pytest.raises(Conflict, match=r"^update conflict: Node\(node-a\)$"):
            await resources.delete(NODE, created.revision)
        await resources.delete(NODE, updated.revision)

    async def test_what_is_quarantined(self, store: Datastore, resources: Resources) -> None:
        await write(store, "/nodes/node-a", [])
        assert isinstance(await resources.delete(NODE), Quarantined)
        assert (await resources.list("Node")).items == []


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
        assert (await store_pair[0].list("")).revision == 2, "written once"

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
