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

import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from tortie.datastore import cascade, contention, format
from tortie.datastore.api import Compare, Datastore, Delete, Item, Put
from tortie.datastore.cluster import CLUSTER_INFORMATION, CLUSTER_PATH, check_cluster
from tortie.datastore.conditions import Conditions
from tortie.datastore.follow import Change, follow
from tortie.datastore.repair import repaired
from tortie.datastore.sentences import already_exists, does_not_exist, not_supported, overtaken, update_conflict
from tortie.errors import Conflict, InvalidResource, NotFound, Problem
from tortie.model.decode import from_store, from_user
from tortie.model.encode import new, with_spec
from tortie.model.keys import from_path, kind_prefix, to_path
from tortie.model.kinds import KINDS
from tortie.model.kinds.clusterinformation import ClusterInformationSpec, initialised
from tortie.model.kinds.tier import BUILT_IN
from tortie.model.resource import Quarantined, Resource, ResourceKey
from tortie.model.schema import Spec
from tortie.model.write import document_of

S = TypeVar("S", bound=Spec)
Stored = Resource[Any] | Quarantined

# A writer that loses this often meets a fault, not competition: each loss is somebody's success.
ATTEMPTS = 20
CLUSTER_TYPE = "tortie"
KUBERNETES_POLICY = "knp.default."  # begins the names of policies that Calico makes of Kubernetes' own


class ResourceList(NamedTuple):
    """The resources of a kind, ordered by namespace and name, as they stood at `revision` of the store."""

    items: list[Stored]
    revision: int


class _Met(NamedTuple):
    """An object was to be created, and is there already."""

    item: Item
    offered: Resource[Any]  # what would have been stored, but for the identity


class Planned(NamedTuple):
    """What `apply` would write of an object."""

    key: ResourceKey
    before: Item | None
    written: Resource[Any]
    value: bytes
    is_news: bool  # it says something else than what is stored


class Resources:
    """The verbs of a store's resources. All raise DatastoreError; `UsageError` is for what no state would allow."""

    def __init__(self, datastore: Datastore) -> None:
        self._datastore = datastore
        self._conditions = Conditions(datastore)

    async def get(self, key: ResourceKey) -> Resource[Any]:
        """Raises `NotFound`, and `InvalidResource` for a stored object that breaks the rules of its kind."""
        return _valid(await self.find(key))

    async def find(self, key: ResourceKey) -> Stored:
        """The object, also one that breaks the rules of its kind. Raises `NotFound`."""
        if built_in := _built_in(key):
            return built_in
        item = await self._datastore.get(to_path(key))
        if item is None:
            raise does_not_exist(key)
        return _read(key, item)

    def follow(self, kind: str, namespace: str = "") -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """What becomes of the stored resources of a kind, from their present state on: see `follow.follow`."""
        return follow(self._datastore, [kind_prefix(kind, namespace)])

    async def list(self, kind: str, namespace: str = "", beginning: str = "") -> ResourceList:
        """All resources of a kind, or those of one namespace, or of these those whose names begin so."""
        listing = await self._datastore.list(kind_prefix(kind, namespace) + beginning)
        found = ((from_path(item.key), item) for item in listing.items)
        stored = [_read(key, item) for key, item in found if key is not None and not _built_in(key)]
        built_in = [each for each in KINDS[kind].built_in if each.key.name.startswith(beginning)]
        every = sorted([*stored, *built_in], key=lambda each: each.key)
        return ResourceList(every, listing.revision)

    async def create(self, resource: Resource[S]) -> Resource[S]:
        """Writes an object that must not exist, with a uid and a creation time if it has none; what was stored.

        Raises `AlreadyExists`, `NotFound` for a tier that is missing, and `InvalidResource` for what else is wrong
        with what is stored besides: a filter is missing, pools overlap.
        """
        if isinstance(created := await self._create(resource), _Met):
            raise already_exists(resource.key)
        return created

    async def update(self, resource: Resource[S]) -> Resource[S]:
        """Replaces labels, annotations and spec of an object that must exist; what was stored.

        A resource with a revision replaces that revision and no other (`Conflict`); one without replaces what is
        there. Fields that the model does not know stay. Raises `NotFound`, and `InvalidResource` for a change that
        the kind does not allow.
        """
        return await self._update(resource, None)

    async def apply(self, resource: Resource[S]) -> Resource[S]:
        """Creates the object, or updates it if it exists."""
        _check_writable("Update", resource.key)
        written = await self._create(replace(resource, revision=0))
        if not isinstance(written, _Met):
            return written
        return _unchanged(written, resource.revision) or await self._update(resource, written.item)

    async def plan(self, resource: Resource[S]) -> Planned:
        """What `apply` would write, of the object as it is now. Raises what `apply` would raise for that alone."""
        key = resource.key
        _check_writable("Update", key)
        item = await self._datastore.get(to_path(key))
        if item is None:
            return Planned(key, None, *_rendered(_with_identity(replace(resource, revision=0))), is_news=True)
        if resource.revision not in (0, item.revision):
            raise update_conflict(key, resource.revision, item.revision)
        stored = _read(key, item)
        written, value = _rendered(_rewritten(resource, stored))
        is_news = isinstance(stored, Quarantined) or written.document != stored.document
        return Planned(key, item, written, value, is_news)

    async def carry_out(self, planned: Planned, beside: Compare) -> None:
        """Writes what was planned, while the object is as it was then and `beside` holds. Raises Conflict, and what
        `apply` raises."""
        path, revision = to_path(planned.key), planned.before.revision if planned.before else 0
        for losses in range(1, ATTEMPTS + 1):
            terms = await (self._conditions.to_update if revision else self._conditions.to_create)(planned.written)
            compared = [Compare(path, revision), beside, *terms.compares]
            result = await self._datastore.txn(compared, [Put(path, planned.value), *terms.writes])
            if result.succeeded:
                return
            for compare, item in zip(compared[:2], result.found, strict=False):
                if compare.revision != (item.revision if item else 0):
                    raise Conflict(f"{planned.key} is not written: {compare.key} was changed meanwhile")
            self._conditions.forget()
            await contention.pause(losses)
        raise overtaken(planned.key, ATTEMPTS)

    async def preview(self, resource: Resource[S]) -> tuple[Mapping[str, Any] | None, Mapping[str, Any]]:
        """What `apply` would do, without doing it: the document as it is stored and as it would be stored.

        The first is None when nothing is stored, or nothing that can be read; the second has no uid for a new object.
        Raises what `apply` would raise.
        """
        key = resource.key
        _check_writable("Update", key)
        item = await self._datastore.get(to_path(key))
        if item is None:
            written, _ = _rendered(replace(resource, revision=0))
            await self._conditions.to_create(written)
            return None, written.document
        if resource.revision not in (0, item.revision):
            raise update_conflict(key, resource.revision, item.revision)
        stored = _read(key, item)
        written, _ = _rendered(_rewritten(resource, stored))
        await self._conditions.to_update(written)
        return stored.document, written.document

    async def modify(self, key: ResourceKey, change: Callable[[Resource[Any]], Resource[S]]) -> Resource[S]:
        """Replaces an object by what `change` makes of it; `change` is called again when somebody was faster.

        Raises `NotFound`, and `InvalidResource` for a stored object that breaks the rules of its kind.
        """
        _check_writable("Update", key)
        return await self._rewrite(key, lambda stored: change(_valid(stored)))

    async def delete(self, key: ResourceKey, revision: int = 0) -> Stored:
        """Removes an object, and what goes with it (see cascade); if `revision` is given only at that revision
        (`Conflict`). Raises `NotFound`.

        Returns the object as it last was, with the revision of its deletion.
        """
        _check_writable("Delete", key)
        if key.name in KINDS[key.kind].undeletable:
            raise not_supported("Delete", key, f"Cannot delete {key.name} {key.kind.lower()}")
        path = to_path(key)
        item = await self._datastore.get(path)
        if item is None:
            raise does_not_exist(key)
        if revision not in (0, item.revision):
            raise update_conflict(key, revision, item.revision)
        stored = _read(key, item)
        expected = await cascade.prepare(self._datastore, stored)
        for _ in range(ATTEMPTS):
            result = await self._datastore.txn([Compare(path, expected)], [Delete(path)])
            if result.succeeded:
                return replace(stored, revision=result.revision)
            (found,) = result.found
            if found is None:
                raise does_not_exist(key)
            if revision:
                raise update_conflict(key, revision, found.revision)
            stored, expected = _read(key, found), found.revision
        raise overtaken(key, ATTEMPTS)

    async def ensure_initialised(self, cluster: str = "") -> None:
        """Writes what every tool of Calico expects in a store, and the version of its format.

        That is ClusterInformation, ready unless it says otherwise, and the built-in tiers, which stay as they are where
        they are. A store that is to hold a certain `cluster`, by its GUID, is completed and never begun:
        `ForeignCluster` if it holds none or another. Raises `FormatTooNew`.
        """

        def completed(spec: ClusterInformationSpec | None) -> ClusterInformationSpec:
            return initialised(spec, guid=guid, cluster_type=CLUSTER_TYPE)

        def complete(stored: Stored) -> Resource[ClusterInformationSpec]:
            information: Resource[ClusterInformationSpec] = _valid(stored)
            if cluster and information.spec.cluster_guid != cluster:
                raise Conflict(f"datastore {self._datastore.url}: it became another cluster meanwhile")
            return with_spec(information, completed(information.spec))

        await format.read(self._datastore)
        guid = os.urandom(16).hex()
        beside: tuple[Compare, ...] = ()
        if cluster:
            item = await self._datastore.get(CLUSTER_PATH)
            check_cluster(cluster, item.value if item else None, self._datastore.url)
            information = await self._rewrite(CLUSTER_INFORMATION, complete, item)
            # What else is written is written beside this object and nowhere else: the store may be emptied meanwhile.
            beside = (Compare(CLUSTER_PATH, information.revision),)
        elif isinstance(found := await self._put_new(_cluster(completed(None))), _Met):
            await self._rewrite(CLUSTER_INFORMATION, complete, found.item)
        await format.stamp(self._datastore, beside)
        there = {item.key for item in (await self._datastore.list(kind_prefix("Tier"))).items}
        for tier, spec in BUILT_IN.items():
            if to_path(ResourceKey("Tier", "", tier)) not in there:
                await self._put_new(new("Tier", tier, spec), *beside)

    async def begin(self, spec: ClusterInformationSpec) -> None:
        """Begins a store with a cluster of this identity. Raises `AlreadyExists` where there is one, `FormatTooNew`."""
        await format.stamp(self._datastore)
        if isinstance(await self._put_new(_cluster(spec)), _Met):
            raise already_exists(CLUSTER_INFORMATION)

    async def set_ready(self, ready: bool) -> Resource[ClusterInformationSpec]:
        """Unlocks the cluster, or locks it: then nobody acts on changes. Raises `NotFound` where there is none."""

        def changed(stored: Stored) -> Resource[ClusterInformationSpec]:
            information: Resource[ClusterInformationSpec] = _valid(stored)
            return with_spec(information, replace(information.spec, datastore_ready=ready))

        return await self._rewrite(CLUSTER_INFORMATION, changed)

    async def _create(self, resource: Resource[S]) -> Resource[S] | _Met:
        """What was stored, or what is there already."""
        key = resource.key
        if _built_in(key):
            raise already_exists(key)
        _check_writable("Create", key)
        if resource.revision:
            reason = "field must not be set for a Create request"
            raise InvalidResource(str(key), (Problem("metadata.resourceVersion", str(resource.revision), reason),))
        return await self._put_new(resource)

    async def _put_new(self, resource: Resource[S], *compares: Compare) -> Resource[S] | _Met:
        path, (written, value) = to_path(resource.key), _rendered(_with_identity(resource))
        for losses in range(1, ATTEMPTS + 1):
            try:
                terms = await self._conditions.to_create(resource)
            except (NotFound, InvalidResource):
                if item := await self._datastore.get(path):  # then it is no creation, whatever else is wrong
                    return _Met(item, written)
                raise
            compared = [Compare(path, 0), *terms.compares, *compares]
            result = await self._datastore.txn(compared, [Put(path, value), *terms.writes])
            if result.succeeded:
                return replace(written, revision=result.revision)
            if found := result.found[0]:
                return _Met(found, written)
            self._conditions.forget()
            await contention.pause(losses)
        raise overtaken(resource.key, ATTEMPTS)

    async def _update(self, resource: Resource[S], item: Item | None) -> Resource[S]:
        _check_writable("Update", resource.key)
        return await self._rewrite(resource.key, lambda stored: _rewritten(resource, stored), item, resource.revision)

    async def _rewrite(
        self,
        key: ResourceKey,
        rewrite: Callable[[Stored], Resource[S]],
        item: Item | None = None,
        revision: int = 0,
    ) -> Resource[S]:
        """Replaces the stored object by `rewrite(stored)`, against the object as it is when it is replaced.

        `item` is the object if somebody has read it already; with `revision` it is replaced only at that one.
        """
        path = to_path(key)
        item = item or await self._datastore.get(path)
        for losses in range(1, ATTEMPTS + 1):
            if item is None:
                raise does_not_exist(key)
            if revision not in (0, item.revision):
                raise update_conflict(key, revision, item.revision)
            stored = _read(key, item)
            written, value = _rendered(rewrite(stored))
            if isinstance(stored, Resource) and written.document == stored.document:
                return stored
            terms = await self._conditions.to_update(written)
            result = await self._datastore.txn(
                [Compare(path, item.revision), *terms.compares], [Put(path, value), *terms.writes]
            )
            if result.succeeded:
                return replace(written, revision=result.revision)
            self._conditions.forget()
            await contention.pause(losses)
            item = await self._datastore.get(path)
        raise overtaken(key, ATTEMPTS)


def _unchanged(met: _Met, revision: int) -> Resource[Any] | None:
    """The object, if it says what was offered: most of a file that is applied again, and half the work of an update."""
    if revision not in (0, met.item.revision):
        return None
    try:
        stored = msgspec.json.decode(met.item.value)
        identity = {name: stored["metadata"][name] for name in ("uid", "creationTimestamp")}
    except (msgspec.MsgspecError, ValueError, LookupError, TypeError, RecursionError):
        return None
    offered = met.offered.document
    if stored != {**offered, "metadata": {**offered["metadata"], **identity}}:
        return None
    return _valid(_read(met.offered.key, met.item))


def _cluster(spec: ClusterInformationSpec) -> Resource[ClusterInformationSpec]:
    return new(CLUSTER_INFORMATION.kind, CLUSTER_INFORMATION.name, spec)


def _read(key: ResourceKey, item: Item) -> Stored:
    return from_store(key, item.value, item.revision)


def _valid(stored: Stored) -> Resource[Any]:
    if isinstance(stored, Quarantined):
        raise InvalidResource(str(stored.key), stored.problems)
    return stored


def _rendered(resource: Resource[S]) -> tuple[Resource[S], bytes]:
    """The resource as a writer stores it, and the value that says it."""
    written = KINDS[resource.key.kind].on_write(resource)
    document = document_of(written)
    return replace(written, source=document), msgspec.json.encode(document)


def _rewritten(resource: Resource[S], stored: Stored) -> Resource[S]:
    """What an update makes of the stored object."""
    if isinstance(stored, Quarantined):
        return _with_identity(repaired(resource, stored))
    return from_user(resource.document, stored=stored, namespace=resource.key.namespace)


def _with_identity(resource: Resource[S]) -> Resource[S]:
    """Calico's tools cannot update an object without uid and creation time."""
    metadata = replace(
        resource.metadata,
        uid=resource.metadata.uid or str(uuid.uuid4()),
        creation_timestamp=resource.metadata.creation_timestamp or _now(),
    )
    return replace(resource, metadata=metadata)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _built_in(key: ResourceKey) -> Resource[Any] | None:
    return next((resource for resource in KINDS[key.kind].built_in if resource.key == key), None)


def _check_writable(operation: str, key: ResourceKey) -> None:
    if KINDS[key.kind].read_only:
        raise not_supported(operation, key)
    if _built_in(key):
        raise not_supported(operation, key, "it is built in")
    if key.kind == "NetworkPolicy" and key.name.startswith(KUBERNETES_POLICY):
        raise not_supported(operation, key, "kubernetes network policies must be managed through the kubernetes API")
