"""What goes with an object that is deleted, as Calico's clients do it, and what keeps one from being deleted.

* A pool is disabled first, and deleted half a second later: who is choosing an address from it finishes before.
* With a node go its workload endpoints, its host endpoints, the BGP peers that name it and its own configurations.
* A tier that holds policies stays.

Blocks and affinities of IPAM are none of this module's: they stay, and what they hold is freed with IPAM's own means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import islice
from typing import Any

import msgspec

from tortie.datastore.api import Compare, Datastore, Delete, Put
from tortie.datastore.sentences import not_supported, update_conflict
from tortie.errors import InvalidResource
from tortie.model.encode import to_store, with_spec
from tortie.model.keys import from_path, kind_prefix, to_path
from tortie.model.kinds.ippool import IPPoolSpec
from tortie.model.resource import Quarantined, Resource, ResourceKey

POOL_PAUSE_S = 0.5  # libcalico-go/lib/clientv3/ippool.go
_POLICIES = ("NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy")
_WRITES_AT_ONCE = 100  # etcd takes 128 in one transaction (--max-txn-ops)


async def prepare(datastore: Datastore, stored: Resource[Any] | Quarantined) -> int:
    """Does what comes before the deletion of an object; the revision at which the object then stands.

    Raises UsageError when the object must stay, and `Conflict`.
    """
    match stored.key.kind:
        case "IPPool":
            return await _disable(datastore, stored)
        case "Node":
            await _delete_all_of_node(datastore, stored.key.name)
        case "Tier":
            await _check_empty(datastore, stored.key)
    return stored.revision


async def _disable(datastore: Datastore, pool: Resource[Any] | Quarantined) -> int:
    if not isinstance(pool, Resource) or not isinstance(pool.spec, IPPoolSpec) or pool.spec.disabled:
        return pool.revision
    try:
        disabled = with_spec(pool, msgspec.structs.replace(pool.spec, disabled=True))
    except InvalidResource:  # what writers refuse nobody may write, but anybody may delete
        return pool.revision
    path = to_path(pool.key)
    result = await datastore.txn([Compare(path, pool.revision)], [Put(path, to_store(disabled))])
    if not result.succeeded:
        (found,) = result.found
        raise update_conflict(pool.key, pool.revision, found.revision if found else 0)
    await asyncio.sleep(POOL_PAUSE_S)
    return result.revision


async def _check_empty(datastore: Datastore, tier: ResourceKey) -> None:
    for kind in _POLICIES:
        if any(spec.get("tier") == tier.name for _, spec in await _specs(datastore, kind)):
            raise not_supported("Delete", tier, "Cannot delete a non-empty tier")


async def _delete_all_of_node(datastore: Datastore, node: str) -> None:
    paths = [to_path(ResourceKey(kind, "", f"node.{node}")) for kind in ("FelixConfiguration", "BGPConfiguration")]
    for kind in ("WorkloadEndpoint", "HostEndpoint", "BGPPeer"):
        paths += [path for path, spec in await _specs(datastore, kind) if spec.get("node") == node]
    deletes = iter([Delete(path) for path in paths])
    while some := list(islice(deletes, _WRITES_AT_ONCE)):
        await datastore.txn([], some)


async def _specs(datastore: Datastore, kind: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The keys and specs of all objects of a kind, also of those that break its rules; none of what is no object."""
    listing = await datastore.list(kind_prefix(kind))
    found = [(item.key, _spec(item.value)) for item in listing.items if from_path(item.key)]
    return [(path, spec) for path, spec in found if spec]


def _spec(value: bytes) -> Mapping[str, Any]:
    try:
        spec = msgspec.json.decode(value)["spec"]
    except (msgspec.MsgspecError, ValueError, LookupError, TypeError, RecursionError):
        return {}
    return spec if isinstance(spec, dict) else {}
