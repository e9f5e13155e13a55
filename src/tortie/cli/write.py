"""`tortie apply`, `create` and `replace`: a user's documents into the datastore, as calicoctl does it.

One thing is stricter: what can be known to be wrong before the first write keeps all of it from being written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import click

from tortie.cli import calicoctl
from tortie.cli.calicoctl import Failure
from tortie.cli.configuration import config_option, settings
from tortie.cli.documents import Document
from tortie.cli.files import Files, file_options
from tortie.cli.judge import Judged, judge
from tortie.cli.namespaces import Namespaces
from tortie.cli.outcome import APPLY, CREATE, REPLACE, Outcome, Verb, of_write
from tortie.cli.store import opened
from tortie.cli.wording import sentence
from tortie.datastore.resources import Resources
from tortie.errors import AlreadyExists, DatastoreError, InvalidResource, NotFound, TortieError, Unavailable
from tortie.model.resource import Resource, ResourceKey

Write = Callable[[Resources, Resource[Any]], Awaitable[object]]


@click.command(cls=calicoctl.Command)
@file_options
@calicoctl.namespace_option
@config_option
def apply(files: Files, namespace: str | None) -> None:
    """Create resources, or update those that exist.

    \b
    tortie apply -f pool.yaml
    tortie apply -f cluster/ -R                          all files of a directory tree
    tortie get ippools -o yaml | sed ... | tortie apply -f -

    A file holds one object, several divided by ---, or a list. Nothing is written unless all of it is right.
    """
    _run(APPLY, Resources.apply, files, namespace)


@click.command(cls=calicoctl.Command)
@file_options
@click.option("--skip-exists", is_flag=True, help="Leave resources that exist as they are.")
@calicoctl.namespace_option
@config_option
def create(files: Files, skip_exists: bool, namespace: str | None) -> None:
    """Create resources that do not exist.

    \b
    tortie create -f pool.yaml
    tortie create -f pool.yaml --skip-exists
    """

    async def write(resources: Resources, resource: Resource[Any]) -> None:
        try:
            await resources.create(resource)
        except AlreadyExists:
            if not skip_exists:
                raise

    _run(CREATE, write, files, namespace)


@click.command(cls=calicoctl.Command)
@file_options
@calicoctl.namespace_option
@config_option
def replace(files: Files, namespace: str | None) -> None:
    """Update resources that exist: labels, annotations and spec become those of the file.

    \b
    tortie replace -f pool.yaml

    An object with metadata.resourceVersion replaces that version and no other.
    """
    _run(REPLACE, Resources.update, files, namespace)


def _run(verb: Verb, write: Write, files: Files, namespace: str | None) -> None:
    given = files.documents()
    url = settings().datastore
    calicoctl.report(asyncio.run(_write(url, verb, write, given, Namespaces(namespace or ""))))


async def _write(url: str, verb: Verb, write: Write, given: Sequence[Document], namespaces: Namespaces) -> Outcome:
    kinds = {document.kind.name for document in given}
    async with opened(url, create=verb is not REPLACE) as resources:

        async def find(key: ResourceKey) -> Resource[Any] | None:
            with suppress(NotFound, InvalidResource):
                return await resources.get(key)
            return None

        judged = await judge(given, namespaces, None if verb is CREATE else find)
        for warning in judged.warnings:
            click.echo(f"Warning: {warning}", err=True)
        if judged.unreadable:
            raise Failure("\n".join([*judged.unreadable, *judged.wrong]))
        if judged.wrong:
            return of_write(verb, kinds, len(given), 0, judged.wrong)
        # As in calicoctl: what is wrong with the store will show itself in what follows.
        with suppress(DatastoreError, InvalidResource):
            await resources.ensure_initialised()
        done, errors = await _write_each(resources, write, judged)
        return of_write(verb, kinds, len(given), done, errors)


async def _write_each(resources: Resources, write: Write, judged: Judged) -> tuple[int, list[str]]:
    """How many were written, and why the others were not."""
    done = 0
    errors: list[str] = []
    for resource in judged.resources:
        try:
            await write(resources, resource)
        except Unavailable as error:
            # The others would wait as long, each for itself.
            errors.append(sentence(error))
            break
        except TortieError as error:
            errors.append(sentence(error))
        else:
            done += 1
    return done, errors
