"""What the rest of the store must say for an object to be written: the comparisons of its transaction.

Invariants:
* What was found when an object was judged is compared when it is written, so nobody can take it away in between.
* Of two pools that overlap one is refused, also when they are created in the same moment: every creation of a pool
  by tortie writes the key `POOLS` and compares it. Calico's tools do not know that key.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from tortie.datastore.api import Compare, Datastore, Put
from tortie.datastore.sentences import does_not_exist
from tortie.errors import InvalidResource, NotFound, Problem
from tortie.model.addresses import Network
from tortie.model.decode import from_store
from tortie.model.keys import BLOCKS, BlockKey, allocation_from_path, from_path, kind_prefix, to_path
from tortie.model.kind import Need
from tortie.model.kinds import KINDS
from tortie.model.kinds.ippool import IPPoolSpec, pools_overlap
from tortie.model.resource import Resource

POOLS = "/tortie/v1/guard/ippools"


class Terms(NamedTuple):
    """What a transaction compares and writes besides the object itself."""

    compares: tuple[Compare, ...] = ()
    writes: tuple[Put, ...] = ()


class Conditions:
    """Finds the terms for writing objects; remembers what it found, which costs nothing: it will be compared."""

    def __init__(self, datastore: Datastore) -> None:
        self._datastore = datastore
        self._revisions: dict[str, int] = {}

    async def to_create(self, resource: Resource[Any]) -> Terms:
        """Raises `NotFound` for a tier that is missing, and `InvalidResource` for what else is wrong."""
        needed = await self._needed(resource, KINDS[resource.key.kind].needs(resource))
        if not isinstance(resource.spec, IPPoolSpec):
            return Terms(needed)
        guard = await self._datastore.get(POOLS)
        await self._check_pool(resource, resource.spec)
        compare = Compare(POOLS, guard.revision if guard else 0)
        return Terms((*needed, compare), (Put(POOLS, str(resource.key).encode()),))

    async def to_update(self, resource: Resource[Any]) -> Terms:
        """As `to_create`, for an object that exists."""
        needs = KINDS[resource.key.kind].needs(resource)
        return Terms(await self._needed(resource, (need for need in needs if not need.only_to_create)))

    def forget(self) -> None:
        """A comparison failed: look again."""
        self._revisions.clear()

    async def _needed(self, resource: Resource[Any], needs: Iterable[Need]) -> tuple[Compare, ...]:
        compares: dict[str, Compare] = {}
        missing: list[Need] = []
        for need in needs:
            if _always_there(need):
                continue
            path = to_path(need.key)
            revision = self._revisions.get(path) or await self._revision(path)
            if revision:
                self._revisions[path] = revision
                compares[path] = Compare(path, revision)
            else:
                missing.append(need)
        if missing:
            raise _missing(resource, missing)
        return tuple(compares.values())

    async def _revision(self, path: str) -> int:
        item = await self._datastore.get(path)
        return item.revision if item else 0

    async def _check_pool(self, pool: Resource[Any], spec: IPPoolSpec) -> None:
        problems = []
        for item in (await self._datastore.list(kind_prefix("IPPool"))).items:
            key = from_path(item.key)
            other = from_store(key, item.value) if key and key != pool.key else None
            if isinstance(other, Resource) and pools_overlap(spec, other.spec):
                reason = f"{pool.key} CIDR overlaps with {other.key} CIDR {other.spec.cidr}"
                problems.append(Problem("spec.cidr", str(spec.cidr), reason))
        blocks = (allocation_from_path(item.key) for item in (await self._datastore.list(BLOCKS)).items)
        if any(_has_other_size(block.cidr, spec) for block in blocks if isinstance(block, BlockKey)):
            reason = "IPPool blocksSize conflicts with existing allocations that use a different blockSize"
            problems.append(Problem("spec.blockSize", str(spec.block_size), reason))
        if problems:
            raise InvalidResource(str(pool.key), tuple(problems))


def _always_there(need: Need) -> bool:
    """What every cluster has, stored or not."""
    kind = KINDS[need.key.kind]
    return need.key.name in kind.undeletable or any(resource.key == need.key for resource in kind.built_in)


def _missing(resource: Resource[Any], needs: list[Need]) -> NotFound | InvalidResource:
    """Calico finds a missing tier by getting it, and counts missing filters."""
    for need in needs:
        if need.key.kind == "Tier":
            return does_not_exist(need.key)
    problems = [
        Problem(path, ", ".join(need.key.name for need in needs if need.path == path), f"{kind}(s) not found")
        for path, kind in dict.fromkeys((need.path, need.key.kind) for need in needs)
    ]
    return InvalidResource(str(resource.key), tuple(problems))


def _has_other_size(block: Network, spec: IPPoolSpec) -> bool:
    """Whether a block of IPAM lies in the pool, or around it, and has not the size of the pool's blocks."""
    is_near = block.version == spec.cidr.version and block.overlaps(spec.cidr)
    return is_near and block.prefixlen != spec.block_size
