"""Tiers: written at the start, needed by policies, kept while policies are in them."""

from __future__ import annotations

import pytest
from msgspec import json

from tests.unit.datastore.test_resources import PREFIX, document, user, write
from tortie.datastore.api import Datastore, Delete
from tortie.datastore.resources import Resources
from tortie.errors import NotFound, UsageError
from tortie.model.resource import ResourceKey

OPS = ResourceKey("Tier", "", "ops")
BUILT_IN = {"default": (1000000, "Deny"), "kube-admin": (1000, "Pass"), "kube-baseline": (10000000, "Pass")}


@pytest.fixture
def resources(store: Datastore) -> Resources:
    return Resources(store)


class TestInitialisation:
    async def test_writes_the_three(self, store: Datastore, resources: Resources) -> None:
        await resources.ensure_initialised()
        listing = await store.list(f"{PREFIX}/tiers/")
        stored = {item.key.rpartition("/")[2]: json.decode(item.value) for item in listing.items}
        assert {
            name: (each["spec"]["order"], each["spec"]["defaultAction"]) for name, each in stored.items()
        } == BUILT_IN
        assert all(each["metadata"]["uid"] and each["metadata"]["creationTimestamp"] for each in stored.values())

    async def test_leaves_those_that_are_there(self, store: Datastore, resources: Resources) -> None:
        theirs = {"metadata": {"name": "default"}, "spec": {"order": 7, "defaultAction": "Pass"}}
        await write(store, "/tiers/default", theirs)
        await resources.ensure_initialised()
        assert await document(store, "/tiers/default") == theirs
        before = (await store.list("/")).items
        await resources.ensure_initialised()
        assert (await store.list("/")).items == before


@pytest.mark.parametrize(
    "kind", ["NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy"]
)
class TestPolicies:
    async def test_need_their_tier_to_be_created(self, resources: Resources, kind: str) -> None:
        policy = user(kind, "p", {"tier": "ops", "order": 1})
        with pytest.raises(NotFound, match=r"^resource does not exist: Tier\(ops\) with error: <nil>$"):
            await resources.create(policy)
        with pytest.raises(NotFound, match=r"^resource does not exist: Tier\(ops\) with error: <nil>$"):
            await resources.apply(policy)
        await resources.create(user("Tier", "ops", {"order": 5}))
        await resources.create(policy)

    async def test_need_it_no_more_to_be_updated(self, store: Datastore, resources: Resources, kind: str) -> None:
        await resources.create(user("Tier", "ops", {"order": 5}))
        created = await resources.create(user(kind, "p", {"tier": "ops", "order": 1}))
        await store.txn([], [Delete(f"{PREFIX}/tiers/ops")])
        for order in (2, 3):
            write_it = Resources(store).update if order == 2 else Resources(store).apply
            assert (await write_it(user(kind, "p", {"tier": "ops", "order": order}))).spec.order == order
        assert (await resources.get(created.key)).spec.order == 3

    async def test_find_the_built_in_tiers_always(self, resources: Resources, kind: str) -> None:
        await resources.create(user(kind, "p", {"order": 1}))

    async def test_keep_their_tier(self, resources: Resources, kind: str) -> None:
        await resources.create(user("Tier", "ops", {"order": 5}))
        policy = await resources.create(user(kind, "p", {"tier": "ops", "order": 1}))
        sentence = r"^operation Delete is not supported on Tier\(ops\): Cannot delete a non-empty tier$"
        with pytest.raises(UsageError, match=sentence):
            await resources.delete(OPS)
        await resources.delete(policy.key)
        await resources.delete(OPS)
        with pytest.raises(NotFound):
            await resources.get(OPS)


@pytest.mark.parametrize("name", BUILT_IN)
async def test_the_built_in_ones_cannot_be_deleted(resources: Resources, name: str) -> None:
    await resources.ensure_initialised()
    sentence = rf"^operation Delete is not supported on Tier\({name}\): Cannot delete {name} tier$"
    with pytest.raises(UsageError, match=sentence):
        await resources.delete(ResourceKey("Tier", "", name))


async def test_the_policies_of_kubernetes_are_not_ours(resources: Resources) -> None:
    policy = user("NetworkPolicy", "knp.default.web", {"order": 1})
    sentence = "kubernetes network policies must be managed through the kubernetes API"
    with pytest.raises(UsageError, match=rf"^operation Create is not supported on .*: {sentence}$"):
        await resources.create(policy)
    with pytest.raises(UsageError, match=rf"^operation Delete is not supported on .*: {sentence}$"):
        await resources.delete(policy.key)
