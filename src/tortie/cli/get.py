"""`tortie get`: what the datastore holds, as a table, YAML or JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from tortie.cli import calicoctl, output
from tortie.cli.calicoctl import Failure
from tortie.cli.configuration import config_option, settings
from tortie.cli.files import Files, file_options
from tortie.cli.namespaces import Namespaces
from tortie.cli.store import opened
from tortie.cli.subjects import Subject, in_files, named
from tortie.cli.wording import sentence
from tortie.datastore.resources import Resources
from tortie.errors import InvalidResource, NotFound, UsageError
from tortie.model.kind import DEFAULT_AS_NUMBER, Cluster, Kind
from tortie.model.kinds import KINDS, kind_named
from tortie.model.resource import Quarantined, Resource, ResourceKey

_BGP_DEFAULTS = ResourceKey("BGPConfiguration", "", "default")


class Found(NamedTuple):
    """What the datastore answered; objects that could not be had are errors."""

    objects: list[Resource[Any]]
    errors: list[str]
    cluster: Cluster
    revision: int = 0  # of a list


@click.command(cls=calicoctl.Command)
@click.argument("kind", required=False)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@file_options
@click.option("-o", "--output", "form", default="ps", metavar="FORM", help="ps, wide, yaml, json, custom-columns=A,B.")
@calicoctl.namespace_option
@click.option("-A", "-a", "--all-namespaces", is_flag=True, help="Objects of all namespaces.")
@click.option("--export", is_flag=True, help="Without what binds a named object to this datastore.")
@config_option
def get(
    kind: str | None,
    names: Sequence[str],
    files: Files,
    form: str,
    namespace: str | None,
    all_namespaces: bool,
    export: bool,
) -> None:
    """Show objects: all of a kind, some by name, or those that files name.

    \b
    tortie get nodes -o wide
    tortie get workloadendpoints -A
    tortie get ippool pool-a -o yaml --export > pool-a.yaml
    tortie get wep -o custom-columns=NAME,NODE,NETWORKS
    """
    namespaces = Namespaces(namespace or "", all_namespaces)
    namespaces.check()
    output.check_form(form)
    if kind is not None and files.filename is None and not names:
        every = _kind(kind)
        found = asyncio.run(_find_all(settings().datastore, every, namespaces.to_list(every)))
        click.echo(_listed(form, every, namespaces, found), nl=False)
    else:
        subjects = _subjects(kind, names, files, namespaces)
        found = asyncio.run(_find_each(settings().datastore, subjects))
        alone = files.filename is None and len(names) == 1
        click.echo(_objects(form, alone, bool(names) and export, namespaces, found), nl=False)
    if found.errors:
        raise Failure("\n".join(found.errors))


def _kind(text: str) -> Kind[Any]:
    try:
        return kind_named(text)
    except UsageError as error:
        raise Failure(f"failed to get resources: {error}") from error


def _subjects(kind: str | None, names: Sequence[str], files: Files, namespaces: Namespaces) -> list[Subject]:
    if files.filename is not None:
        return in_files(files, namespaces)
    if kind is None:
        raise Failure(f"name what to get: KIND [NAME...], or files with -f. Kinds: {', '.join(KINDS)}")
    if namespaces.every:
        raise Failure("cannot use --all-namespace flag for getting a single resource")
    return named(_kind(kind), names, namespaces)


async def _find_all(url: str, kind: Kind[Any], namespace: str) -> Found:
    async with opened(url) as resources:
        cluster = await _cluster(resources)
        items, revision = await resources.list(kind.name, namespace)
    objects = [stored for stored in items if isinstance(stored, Resource)]
    errors = [
        f"{stored.key} in the datastore: {sentence(InvalidResource(str(stored.key), stored.problems))}"
        for stored in items
        if isinstance(stored, Quarantined)
    ]
    return Found(objects, errors, cluster, revision)


async def _find_each(url: str, subjects: Sequence[Subject]) -> Found:
    objects: list[Resource[Any]] = []
    errors: list[str] = []
    async with opened(url) as resources:
        cluster = await _cluster(resources)
        for subject in subjects:
            try:
                objects.append(await resources.get(subject.key))
            except (NotFound, InvalidResource) as error:
                errors.append(sentence(error))
    return Found(objects, errors, cluster)


async def _cluster(resources: Resources) -> Cluster:
    """What columns show of the cluster."""
    try:
        as_number = (await resources.get(_BGP_DEFAULTS)).spec.as_number
    except (NotFound, InvalidResource):
        as_number = None
    return Cluster(DEFAULT_AS_NUMBER if as_number is None else as_number)


def _listed(form: str, kind: Kind[Any], namespaces: Namespaces, found: Found) -> str:
    if form in output.DOCUMENT_FORMS:
        return output.as_document(form, output.list_document(kind, found.objects, found.revision))
    columns = output.columns_of(kind, form, namespaces=namespaces.named)
    return output.table(columns, found.objects, found.cluster)


def _objects(form: str, alone: bool, export: bool, namespaces: Namespaces, found: Found) -> str:
    if form in output.DOCUMENT_FORMS:
        documents = [output.document(resource, export=export) for resource in found.objects]
        return output.as_document(form, (documents[0] if alone else documents) if documents else None)
    tables = []
    for resource in found.objects:
        columns = output.columns_of(KINDS[resource.key.kind], form, namespaces=namespaces.named)
        tables.append(output.table(columns, [resource], found.cluster))
    return "".join(tables)
