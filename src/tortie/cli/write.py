"""`tortie apply`, `create`, `replace` and `validate`: a user's documents into the datastore, as calicoctl does it.

All files are read before the store is touched, and a document that cannot be read keeps all from being written. An
object that breaks a rule is left out, the others are written.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click

from tortie.access import Access
from tortie.cli import bulk, calicoctl, configuration, provisional
from tortie.cli.calicoctl import Failure
from tortie.cli.cluster_version import check_version
from tortie.cli.configuration import config_option
from tortie.cli.documents import Document
from tortie.cli.files import Files, file_options
from tortie.cli.judge import Judged, judge, stored_in
from tortie.cli.namespaces import Namespaces
from tortie.cli.outcome import APPLY, CREATE, REPLACE, VALIDATE, Outcome, Verb, of_write
from tortie.cli.provisional import confirm_option
from tortie.cli.store import opened, opened_store
from tortie.cli.wording import sentence
from tortie.datastore.resources import Resources
from tortie.errors import AlreadyExists, DatastoreError, InvalidResource, NoStore
from tortie.model.resource import Resource

Write = Callable[[Resources, Resource[Any]], Awaitable[object]]


@click.command(cls=calicoctl.Command)
@file_options
@confirm_option
@calicoctl.namespace_option
@config_option
def apply(files: Files, within_s: float | None, namespace: str | None) -> None:
    """Create resources, or update those that exist.

    \b
    tortie apply -f pool.yaml
    tortie apply -f policy.yaml --confirm 60s            go back after 60 s, unless `tortie confirm` keeps it
    tortie apply -f cluster/ -R                          all files of a directory tree
    tortie get ippools -o yaml | sed ... | tortie apply -f -

    A file holds one object, several divided by ---, or a list. Nothing is written unless all files can be read.

    With --confirm the datastore remembers what was there before, until `tortie confirm` keeps the change. If that does
    not come in time each agent goes back by itself, also one that does not reach the datastore.
    """
    _run(APPLY, Resources.apply, files, namespace, within_s)


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


@click.command(cls=calicoctl.Command)
@file_options
@calicoctl.namespace_option
@config_option
def validate(files: Files, namespace: str | None) -> None:
    """Say whether files are right; neither asks nor changes the datastore.

    \b
    tortie validate -f pool.yaml

    What contradicts stored objects does not show here: two pools that overlap, a tier that is missing.
    """
    given = files.documents()
    judged = asyncio.run(judge(given, Namespaces(namespace or ""), None))
    _stop_if_unreadable(judged)
    calicoctl.report(of_write(VALIDATE, _kinds(given), len(given), len(judged.resources), judged.wrong))


def _run(verb: Verb, write: Write, files: Files, namespace: str | None, within_s: float | None = None) -> None:
    with _collector_at_rest():
        given = files.documents()
        access = configuration.access()
        outcome = asyncio.run(_write(access, verb, write, given, Namespaces(namespace or ""), within_s))
    calicoctl.report(outcome)


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """What a file holds lives to the end: looking through it for garbage again and again takes 10 % of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _write(
    access: Access,
    verb: Verb,
    write: Write,
    given: Sequence[Document],
    namespaces: Namespaces,
    within_s: float | None,
) -> Outcome:
    judged = await _judge(access, verb, given, namespaces)
    _stop_if_unreadable(judged)
    for warning in judged.warnings:
        click.echo(f"Warning: {warning}", err=True)
    done = 0
    # What is refused makes no store: one that is kept in a file comes with the first object for it.
    async with opened_store(access, create=verb is not REPLACE) as datastore:
        resources = Resources(datastore)
        errors = judged.wrong
        if judged.resources:
            await check_version(resources)
            # As in calicoctl: what is wrong with the store will show itself in what follows.
            with suppress(DatastoreError, InvalidResource):
                await resources.ensure_initialised()
            doing = f"Writing to {access.url}"
            if within_s is None:
                done, failures = await bulk.each(judged.resources, lambda each: write(resources, each), doing)
            else:
                done, failures = await provisional.apply(datastore, resources, judged.resources, within_s, doing)
            errors = [*errors, *map(sentence, failures)]
        return of_write(verb, _kinds(given), len(given), done, errors)


async def _judge(access: Access, verb: Verb, given: Sequence[Document], namespaces: Namespaces) -> Judged:
    """Beside what is stored, unless the objects must be new; in a store that is not made yet nothing is."""
    if verb is CREATE:
        return await judge(given, namespaces, None)
    try:
        async with opened(access) as resources:
            return await judge(given, namespaces, stored_in(resources))
    except NoStore:
        if verb is REPLACE:
            raise
        return await judge(given, namespaces, None)


def _stop_if_unreadable(judged: Judged) -> None:
    if judged.unreadable:
        raise Failure("\n".join([*judged.unreadable, *judged.wrong]))


def _kinds(given: Sequence[Document]) -> set[str]:
    return {document.kind.name for document in given}
