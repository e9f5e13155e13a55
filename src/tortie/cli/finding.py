"""What `get` asks of the datastore: all objects of a kind, or single ones, and the errors of what cannot be had."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tortie.access import Access
from tortie.cli.answer import Stored
from tortie.cli.cluster_version import VersionMismatch, check_version
from tortie.cli.nearest import nearest
from tortie.cli.store import opened
from tortie.cli.subjects import Subject
from tortie.cli.wording import sentence
from tortie.datastore.resources import Resources
from tortie.errors import InvalidResource, NotFound
from tortie.model.kind import DEFAULT_AS_NUMBER, Cluster, Kind
from tortie.model.resource import Quarantined, ResourceKey
from tortie.model.schema import Spec
from tortie.model.selector import Selector

_BGP_DEFAULTS = ResourceKey("BGPConfiguration", "", "default")


class Found(NamedTuple):
    """What the datastore answered."""

    objects: list[Stored]
    errors: list[str]
    cluster: Cluster
    revision: int = 0  # of a list


async def find_all(access: Access, kind: Kind[Spec], namespace: str, selector: Selector | None) -> Found:
    """The objects of a kind, of one namespace or of all, whose labels match."""
    async with opened(access) as resources:
        cluster = await cluster_facts(resources)
        listed, revision = await resources.list(kind.name, namespace)
    errors = [in_words(stored) for stored in listed if isinstance(stored, Quarantined)]
    return Found(in_order(kind, (stored for stored in listed if matches(stored, selector))), errors, cluster, revision)


async def find_each(access: Access, subjects: Sequence[Subject], *, broken: bool) -> Found:
    """The objects that the user named; with `broken` also those that break the rules, beside their errors."""
    objects: list[Stored] = []
    errors: list[str] = []
    async with opened(access) as resources:
        cluster = await cluster_facts(resources)
        for subject in subjects:
            try:
                stored = await resources.find(subject.key)
            except NotFound as error:
                hint = await nearest(resources, subject.key) if len(subjects) == 1 else ""
                errors.append(f"{sentence(error)}{hint}")
                continue
            if isinstance(stored, Quarantined):
                errors.append(sentence(InvalidResource(str(stored.key), stored.problems)))
            if not isinstance(stored, Quarantined) or (broken and stored.document is not None):
                objects.append(stored)
    return Found(objects, errors, cluster)


async def cluster_facts(resources: Resources) -> Cluster:
    """What columns show of the cluster; raises VersionMismatch for a cluster of another version."""
    try:
        await check_version(resources)
    except VersionMismatch as error:
        raise VersionMismatch(f"failed to get resources: {error}") from error
    try:
        as_number = (await resources.get(_BGP_DEFAULTS)).spec.as_number
    except (NotFound, InvalidResource):
        as_number = None
    return Cluster(DEFAULT_AS_NUMBER if as_number is None else as_number)


def matches(stored: Stored, selector: Selector | None) -> bool:
    """Whether to show an object in a list, where broken ones are only reported."""
    if isinstance(stored, Quarantined):
        return False
    return selector is None or selector.matches(stored.metadata.labels)


def in_order(kind: Kind[Spec], objects: Iterable[Stored]) -> list[Stored]:
    """The objects in the order of their kind."""
    return sorted(objects, key=kind.list_order)  # type: ignore[arg-type]  # the callers give no broken ones


def in_words(stored: Quarantined) -> str:
    """Why an object that nobody named is not shown."""
    return f"{stored.key} in the datastore: {sentence(InvalidResource(str(stored.key), stored.problems))}"
