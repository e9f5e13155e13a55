"""`tortie delete`: objects by kind and name, or those that files name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click

from tortie.cli import calicoctl
from tortie.cli.calicoctl import Failure
from tortie.cli.configuration import config_option, settings
from tortie.cli.files import Files, file_options
from tortie.cli.namespaces import Namespaces
from tortie.cli.outcome import Outcome, of_delete
from tortie.cli.store import opened
from tortie.cli.subjects import Subject, in_files, named
from tortie.cli.wording import sentence
from tortie.errors import NotFound, TortieError
from tortie.model.kinds import kind_named


@click.command(cls=calicoctl.Command)
@click.argument("kind", required=False)
@click.argument("names", metavar="[NAME]...", nargs=-1)
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
    if files.filename is not None:
        subjects = in_files(files, namespaces)
    elif kind is not None and names:
        subjects = named(kind_named(kind), names, namespaces)
    else:
        raise Failure("name what to delete: KIND NAME..., or files with -f")
    calicoctl.report(asyncio.run(_delete(settings().datastore, subjects, skip_not_exists)))


async def _delete(url: str, subjects: Sequence[Subject], skip_not_exists: bool) -> Outcome:
    errors: list[str] = []
    async with opened(url) as resources:
        for subject in subjects:
            try:
                await resources.delete(subject.key, subject.revision)
            except NotFound as error:
                if not skip_not_exists:
                    errors.append(sentence(error))
            except TortieError as error:
                errors.append(sentence(error))
    kinds = {subject.key.kind for subject in subjects}
    return of_delete(kinds, len(subjects) - len(errors), errors)
