"""`tortie delete`: objects by kind and name, or those that files name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click

from tortie.access import Access
from tortie.cli import bulk, calicoctl, configuration
from tortie.cli.bulk import Worked
from tortie.cli.calicoctl import Failure
from tortie.cli.cluster_version import check_version
from tortie.cli.complete import complete_subject
from tortie.cli.configuration import config_option
from tortie.cli.documents import Document
from tortie.cli.files import Files, file_options
from tortie.cli.namespaces import Namespaces
from tortie.cli.nearest import hinting
from tortie.cli.outcome import of_delete
from tortie.cli.store import opened
from tortie.cli.subjects import Subject, named, of_document
from tortie.cli.wording import sentence
from tortie.errors import InvalidResource, NotFound, UsageError
from tortie.model.kinds import kind_named


@click.command(cls=calicoctl.Command)
@click.argument("kind", required=False, shell_complete=complete_subject)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_subject)
@file_options
@click.option("-s", "--skip-not-exists", is_flag=True, help="What does not exist is no error.")
@calicoctl.namespace_option
@config_option
def delete(kind: str | None, names: Sequence[str], files: Files, skip_not_exists: bool, namespace: str | None) -> None:
    """Delete objects by kind and name, or those that files name.

    \b
    tortie delete ippool pool-a pool-b
    tortie delete -f cluster/
    tortie delete wep node--1-tortie-web-eth0 -n default

    An object of a file with metadata.resourceVersion is deleted only at that version.
    """
    namespaces = Namespaces(namespace or "")
    kinds: set[str]
    if files.filename is not None:
        given = files.documents()
        kinds = {document.kind.name for document in given}
        subjects, errors = _in_files(given, namespaces)
    elif kind is not None and names:
        subjects, errors = named(kind_named(kind), names, namespaces), []
        kinds = {subject.key.kind for subject in subjects}
    else:
        raise Failure("name what to delete: KIND NAME..., or files with -f")
    done, failures = asyncio.run(_delete(configuration.access(), subjects, skip_not_exists))
    calicoctl.report(of_delete(kinds, done, [*errors, *map(sentence, failures)]))


def _in_files(given: Sequence[Document], namespaces: Namespaces) -> tuple[list[Subject], list[str]]:
    """The objects of documents, and why some name none."""
    subjects: list[Subject] = []
    errors: list[str] = []
    for document in given:
        try:
            subjects.append(of_document(document, namespaces))
        except (UsageError, InvalidResource) as error:
            errors.append(f"{sentence(error)} (in {document.place})")
    return subjects, errors


async def _delete(access: Access, subjects: Sequence[Subject], skip_not_exists: bool) -> Worked:
    async with opened(access) as resources:
        await check_version(resources)

        async def delete_one(subject: Subject) -> None:
            try:
                await resources.delete(subject.key, subject.revision)
            except NotFound:
                if not skip_not_exists:
                    raise

        async def delete_the_only_one(subject: Subject) -> None:
            async with hinting(resources, subject.key):
                await delete_one(subject)

        work = delete_the_only_one if len(subjects) == 1 else delete_one
        return await bulk.each(subjects, work, f"Deleting from {access.url}")
