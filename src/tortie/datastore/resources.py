"""The resources of a store and the rules by which they may be written: Calico's, so that its tools can share it.

Invariants:
* Every write compares: a create finds nothing, an update finds the revision it was made from. So of two writers
  one wins, and the other sees what the winner wrote or gets `Conflict`.
* An object gets its uid and creation time when it is created, and keeps them.
* An update that changes nothing is not written: what follows the store is not disturbed.
* What is built in is listed like the rest and never stored.

Errors are worded as calicoctl words them.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from tortie.datastore.api import Compare, Datastore, Delete, Item, Put
from tortie.errors import AlreadyExists, Conflict, InvalidResource, NotFound, Problem, UsageError
from tortie.model.decode import from_store, from_user
from tortie.model.encode import new, stamped, to_store, with_spec
from tortie.model.keys import from_path, kind_prefix, to_path
from tortie.model.kinds import KINDS
from tortie.model.kinds.clusterinformation import NAME_OF_ALL, ClusterInformationSpec, initialised
from tortie.model.kinds.ippool import IPPoolSpec, pools_overlap
from tortie.model.resource import Quarantined, Resource, ResourceKey
from tortie.model.schema import Spec

S = TypeVar("S", bound=Spec)
Stored = Resource[Any] | Quarantined

# A writer that loses this often meets a fault, not competition: each loss is somebody's success.
ATTEMPTS = 20
CLUSTER_TYPE = "tortie"
CLUSTER_INFORMATION = ResourceKey("ClusterInformation", "", NAME_OF_ALL)


class ResourceList(NamedTuple):
    """The resources of a kind, ordered by namespace and name, as they stood at `revision` of the store."""

    items: list[Stored]
    revision: int


class Resources:
    """The verbs of a store's resources. All raise DatastoreError; `UsageError` is for what no state would allow."""

    def __init__(self, datastore: Datastore) -> None:
        self._datastore = datastore

    async def get(self, key: ResourceKey) -> Resource[Any]:
        """Raises `NotFound`, and `InvalidResource` for a stored object that breaks the rules of its kind."""
        if built_in := _built_in(key):
            return built_in
        item = await self._datastore.get(to_path(key))
        if item is None:
            raise _does_not_exist(key)
        return _valid(_read(key, item))

    async def list(self, kind: str, namespace: str = "") -> ResourceList:
        """All resources of a kind, or those of one namespace."""
        listing = await self._datastore.list(kind_prefix(kind, namespace))
        found = ((from_path(item.key), item) for item in listing.items)
        stored = [_read(key, item) for key, item in found if key is not None and not _built_in(key)]
        every = sorted([*stored, *KINDS[kind].built_in], key=lambda each: each.key)
        return ResourceList(every, listing.revision)

    async def create(self, resource: Resource[S]) -> Resource[S]:
        """Writes an object that must not exist, with a uid and a creation time if it has none; what was stored.

        Raises `AlreadyExists`. Two pools that overlap are refused unless they are created in the same moment.
        """
        key = resource.key
        if _built_in(key):
            raise _already_exists(key)
        _check_writable("Create", key)
        if resource.revision:
            reason = "field must not be set for a Create request"
            raise InvalidResource(str(key), (Problem("metadata.resourceVersion", str(resource.revision), reason),))
        if isinstance(resource.spec, IPPoolSpec):
            _check_overlap(key, resource.spec, (await self.list(key.kind)).items)
        return await self._create(resource)

    async def update(self, resource: Resource[S]) -> Resource[S]:
        """Replaces labels, annotations and spec of an object that must exist; what was stored.

        A resource with a revision replaces that revision and no other (`Conflict`); one without replaces what is
        there. Fields that the model does not know stay. Raises `NotFound`, and `InvalidResource` for a change that
        the kind does not allow.
        """

        def rewrite(stored: Stored) -> Resource[S]:
            if resource.revision not in (0, stored.revision):
                raise _update_conflict(resource.key)
            if isinstance(stored, Quarantined):  # nothing of it can be kept
                return _with_identity(resource)
            return from_user(resource.document, stored=stored, namespace=resource.key.namespace)

        _check_writable("Update", resource.key)
        return await self._rewrite(resource.key, rewrite)

    async def apply(self, resource: Resource[S]) -> Resource[S]:
        """Creates the object, or updates it if it exists."""
        try:
            return await self.create(replace(resource, revision=0))
        except AlreadyExists:
            return await self.update(resource)

    async def modify(self, key: ResourceKey, change: Callable[[Resource[Any]], Resource[S]]) -> Resource[S]:
        """Replaces an object by what `change` makes of it; `change` is called again when somebody was faster.

        Raises `NotFound`, and `InvalidResource` for a stored object that breaks the rules of its kind.
        """
        _check_writable("Update", key)
        return await self._rewrite(key, lambda stored: change(_valid(stored)))

    async def delete(self, key: ResourceKey, revision: int = 0) -> Stored:
        """Removes an object, if `revision` is given only at that revision (`Conflict`). Raises `NotFound`.

        Returns the object as it last was, with the revision of its deletion.
        """
        _check_writable("Delete", key)
        path = to_path(key)
        for _ in range(ATTEMPTS):
            item = await self._datastore.get(path)
            if item is None:
                raise _does_not_exist(key)
            if revision not in (0, item.revision):
                break
            result = await self._datastore.txn([Compare(path, item.revision)], [Delete(path)])
            if result.succeeded:
                return replace(_read(key, item), revision=result.revision)
        raise _update_conflict(key)

    async def ensure_initialised(self) -> None:
        """Writes what every tool of Calico expects in a store: ClusterInformation, ready unless it says otherwise."""

        def completed(spec: ClusterInformationSpec | None) -> ClusterInformationSpec:
            return initialised(spec, guid=guid, cluster_type=CLUSTER_TYPE)

        def complete(stored: Stored) -> Resource[ClusterInformationSpec]:
            information: Resource[ClusterInformationSpec] = _valid(stored)
            return with_spec(information, completed(information.spec))

        guid = secrets.token_hex(16)
        kind, _, name = CLUSTER_INFORMATION
        try:
            await self._create(new(kind, name, completed(None), uid=str(uuid.uuid4()), creation_timestamp=_now()))
        except AlreadyExists:
            await self._rewrite(CLUSTER_INFORMATION, complete)

    async def _create(self, resource: Resource[S]) -> Resource[S]:
        path, value = to_path(resource.key), to_store(_with_identity(resource))
        result = await self._datastore.txn([Compare(path, 0)], [Put(path, value)])
        if not result.succeeded:
            raise _already_exists(resource.key)
        return _valid(from_store(resource.key, value, result.revision))

    async def _rewrite(self, key: ResourceKey, rewrite: Callable[[Stored], Resource[S]]) -> Resource[S]:
        """Replaces the stored object by `rewrite(stored)`, against the object as it is when it is replaced."""
        path = to_path(key)
        for _ in range(ATTEMPTS):
            item = await self._datastore.get(path)
            if item is None:
                raise _does_not_exist(key)
            stored = _read(key, item)
            value = to_store(rewrite(stored))
            if isinstance(stored, Resource) and msgspec.json.decode(value) == stored.document:
                return stored
            result = await self._datastore.txn([Compare(path, item.revision)], [Put(path, value)])
            if result.succeeded:
                return _valid(from_store(key, value, result.revision))
        raise _update_conflict(key)


def _read(key: ResourceKey, item: Item) -> Stored:
    return from_store(key, item.value, item.revision)


def _valid(stored: Stored) -> Resource[Any]:
    if isinstance(stored, Quarantined):
        raise InvalidResource(str(stored.key), stored.problems)
    return stored


def _with_identity(resource: Resource[S]) -> Resource[S]:
    """Calico's tools cannot update an object without uid and creation time."""
    uid = resource.metadata.uid or str(uuid.uuid4())
    return stamped(resource, uid, resource.metadata.creation_timestamp or _now())


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _built_in(key: ResourceKey) -> Resource[Any] | None:
    return next((resource for resource in KINDS[key.kind].built_in if resource.key == key), None)


def _check_writable(operation: str, key: ResourceKey) -> None:
    if KINDS[key.kind].read_only:
        raise UsageError(f"operation {operation} is not supported on {key}")
    if _built_in(key):
        raise UsageError(f"operation {operation} is not supported on {key}: it is built in")


def _check_overlap(key: ResourceKey, spec: IPPoolSpec, others: Iterable[Stored]) -> None:
    problems = tuple(
        Problem("spec.cidr", str(spec.cidr), f"{key} CIDR overlaps with {other.key} CIDR {other.spec.cidr}")
        for other in others
        if isinstance(other, Resource) and other.key != key and pools_overlap(spec, other.spec)
    )
    if problems:
        raise InvalidResource(str(key), problems)


def _already_exists(key: ResourceKey) -> AlreadyExists:
    return AlreadyExists(f"resource already exists: {key} with error: <nil>")


def _does_not_exist(key: ResourceKey) -> NotFound:
    return NotFound(f"resource does not exist: {key} with error: <nil>")


def _update_conflict(key: ResourceKey) -> Conflict:
    return Conflict(f"update conflict: {key}")
