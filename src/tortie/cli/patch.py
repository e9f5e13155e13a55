"""`tortie patch`: changes fields of one object, as calicoctl does it, and honours `--type`, which calicoctl ignores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import click
from msgspec.structs import replace

from tortie.access import Access
from tortie.cli import calicoctl, configuration, strict_yaml
from tortie.cli.calicoctl import Failure
from tortie.cli.cluster_version import VersionMismatch, check_version
from tortie.cli.complete import complete_subject
from tortie.cli.configuration import Unconfigured, config_option
from tortie.cli.namespaces import Namespaces
from tortie.cli.nearest import hinting
from tortie.cli.patches import Unpatchable, json_patch, merge, strategic
from tortie.cli.store import opened
from tortie.cli.subjects import Subject, named
from tortie.cli.wording import is_unknown_field, one_problem, sentence
from tortie.datastore.sentences import update_conflict
from tortie.errors import InvalidResource, Problem, TortieError
from tortie.model.decode import from_user
from tortie.model.kinds import kind_named
from tortie.model.resource import Resource

Apply = Callable[[Any, Any], Any]

TYPES: dict[str, tuple[str, Apply]] = {
    "strategic": ("strategic merge patch", strategic.apply),
    "json": ("JSON patch", json_patch.apply),
    "merge": ("JSON merge patch", merge.apply),
}


@click.command(cls=calicoctl.Command)
@click.argument("words", metavar="KIND NAME", nargs=-1, shell_complete=complete_subject)
@click.option("-p", "--patch", "text", metavar="PATCH", help="The patch, in JSON or YAML.")
@click.option("-t", "--type", "form", default="strategic", metavar="TYPE", help="strategic (default), merge or json.")
@calicoctl.namespace_option
@config_option
def patch(words: tuple[str, ...], text: str | None, form: str, namespace: str | None) -> None:
    """Change fields of an object.

    \b
    tortie patch node node-0 -p '{"spec": {"bgp": {"routeReflectorClusterID": "244.0.0.1"}}}'
    tortie patch ippool pool-a -t merge -p 'spec: {disabled: true}'
    tortie patch ippool pool-a -t json -p '[{"op": "replace", "path": "/spec/disabled", "value": true}]'

    strategic: objects merge, null deletes, lists are replaced. merge: RFC 7386. json: RFC 6902, or
    a merge patch if it is an object.
    """
    if text is None:
        raise Failure('required flag(s) "patch" not set')
    if len(words) != 2:
        raise Failure(f"accepts 2 arg(s), received {len(words)}")
    if form not in TYPES:
        raise Failure(f"unknown patch type: {form}, expected one of: {', '.join(TYPES)}")
    (subject,) = named(kind_named(words[0]), words[1:], Namespaces(namespace or ""))
    content = _read(TYPES[form][0], text)
    # Calico's documentation writes `--type json` for a merge patch; a JSON patch is a list, and never an object.
    title, apply = TYPES["merge" if form == "json" and isinstance(content, dict) else form]

    def patched(document: Any) -> Any:
        try:
            return apply(document, content)
        except (Unpatchable, RecursionError) as error:
            reason = "is nested too deeply" if isinstance(error, RecursionError) else error
            raise Failure(f"hit error: performing {title}: {reason}") from error

    try:
        asyncio.run(_patch(configuration.access(), subject, patched))
    except (VersionMismatch, Unconfigured):
        raise
    except TortieError as error:
        raise Failure(f"hit error: {sentence(error)}") from error
    click.echo(f"Successfully patched 1 '{subject.key.kind}' resource")


def _read(title: str, text: str) -> Any:
    try:
        documents = strict_yaml.read(text)
    except strict_yaml.Malformed as error:
        raise Failure(f"hit error: performing {title}: {error}") from error
    if len(documents) != 1:
        raise Failure(f"hit error: performing {title}: the patch must be one document, and is {len(documents)}")
    return documents[0].value


async def _patch(access: Access, subject: Subject, patched: Callable[[Any], Any]) -> None:
    def change(stored: Resource[Any]) -> Resource[Any]:
        document = patched(stored.document)
        resource = _created(document, stored)
        if resource.revision not in (0, stored.revision):
            raise update_conflict(subject.key, resource.revision, stored.revision)
        return resource

    async with opened(access) as resources:
        await check_version(resources)
        async with hinting(resources, subject.key):
            await resources.get(subject.key)  # what is wrong with the stored object is no fault of the patch
        try:
            await resources.modify(subject.key, change)
        except TortieError as error:
            raise Failure(f"hit error: updating existing resource: {sentence(error)}") from error


def _created(document: Any, stored: Resource[Any]) -> Resource[Any]:
    try:
        if not isinstance(document, dict):
            raise InvalidResource(str(stored.key), (Problem("", "", "must be an object with fields"),))
        resource = from_user(document, stored=stored, namespace=stored.key.namespace)
        if resource.key != stored.key:
            problem = Problem("metadata.name", str(resource.key), f"must stay {stored.key}")
            raise InvalidResource(str(stored.key), (problem,))
        # Once more, onto the patched document: what the model does not know is then as the patch left it.
        return from_user(document, stored=replace(stored, source=document), namespace=stored.key.namespace)
    except InvalidResource as error:
        unknown = [one_problem(problem) for problem in error.problems if is_unknown_field(problem)]
        raise Failure(
            "\n".join(unknown) or f"hit error: creating resource from patched data: {sentence(error)}"
        ) from error
