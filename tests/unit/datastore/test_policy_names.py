"""Policies of before Calico v3.32, stored under their tier's name and their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tortie.datastore.api import Datastore, Put
from tortie.datastore.policy_names import rename
from tortie.errors import AlreadyExists
from tortie.model.keys import RESOURCES

POLICIES, GLOBAL = f"{RESOURCES}networkpolicies/ns/", f"{RESOURCES}globalnetworkpolicies/"


def policy(name: str, shown: str = "", tier: str = "default") -> bytes:
    annotations = {"projectcalico.org/metadata": json.dumps({"name": shown})} if shown else {}
    metadata = {"name": name, "uid": "U", "annotations": annotations | {"mine": "kept"}}
    return json.dumps({"metadata": metadata, "spec": {"tier": tier, "later": 1}}).encode()


async def names(store: Datastore) -> dict[str, Any]:
    return {item.key.removeprefix(RESOURCES): json.loads(item.value) for item in (await store.list(RESOURCES)).items}


async def test_the_prefix_goes_and_all_else_stays(store: Datastore) -> None:
    await store.txn(
        [],
        [
            Put(f"{POLICIES}default.a", policy("default.a")),
            Put(f"{POLICIES}default.b", policy("default.b", "b")),
            Put(f"{POLICIES}default.c", policy("default.c", "default.c")),
            Put(f"{POLICIES}d", policy("d", "d")),
            Put(f"{GLOBAL}other.e", policy("other.e", "e", tier="other")),
            Put(f"{GLOBAL}default.f", policy("default.f", tier="")),
            Put(f"{RESOURCES}stagednetworkpolicies/ns/default.g", policy("default.g")),
            Put(f"{RESOURCES}profiles/default.h", policy("default.h")),
        ],
    )
    assert await rename(store) == 4
    found = await names(store)
    assert sorted(found) == [
        "globalnetworkpolicies/f",
        "globalnetworkpolicies/other.e",
        "networkpolicies/ns/a",
        "networkpolicies/ns/b",
        "networkpolicies/ns/d",
        "networkpolicies/ns/default.c",
        "profiles/default.h",
        "stagednetworkpolicies/ns/g",
    ]
    assert found["networkpolicies/ns/a"] == {
        "metadata": {
            "name": "a",
            "uid": "U",
            "annotations": {"mine": "kept", "projectcalico.org/metadata": '{"name":"a"}'},
        },
        "spec": {"tier": "default", "later": 1},
    }
    revision = (await store.list(RESOURCES)).revision
    assert await rename(store) == 0
    assert (await store.list(RESOURCES)).revision == revision


async def test_another_policy_of_that_name_is_not_lost(store: Datastore) -> None:
    before = [Put(f"{POLICIES}default.a", policy("default.a")), Put(f"{POLICIES}a", policy("a", "a"))]
    await store.txn([], before)
    with pytest.raises(AlreadyExists, match=r"should become .*/a, and that is another policy"):
        await rename(store)
    assert sorted(await names(store)) == ["networkpolicies/ns/a", "networkpolicies/ns/default.a"]


async def test_what_cannot_be_read_is_left_alone(store: Datastore) -> None:
    await store.txn([], [Put(f"{POLICIES}default.a", b"{"), Put(f"{POLICIES}default.b", b"[]")])
    assert await rename(store) == 0
    assert len((await store.list(RESOURCES)).items) == 2
