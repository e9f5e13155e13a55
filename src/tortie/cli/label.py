"""`tortie label`: sets or removes one label of an object."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from tortie.access import Access
from tortie.cli import calicoctl, configuration
from tortie.cli.calicoctl import Failure
from tortie.cli.cluster_version import check_version
from tortie.cli.complete import complete_subject
from tortie.cli.configuration import config_option
from tortie.cli.namespaces import Namespaces
from tortie.cli.nearest import nearest
from tortie.cli.store import opened
from tortie.cli.subjects import Subject, named
from tortie.cli.wording import sentence
from tortie.errors import DatastoreError, InvalidResource, NotFound, UsageError
from tortie.model.encode import with_labels
from tortie.model.kinds import kind_named
from tortie.model.resource import Resource


@click.command(cls=calicoctl.Command)
@click.argument("words", metavar="KIND NAME KEY=VALUE|KEY", nargs=-1, shell_complete=complete_subject)
@click.option("--overwrite", is_flag=True, help="Give a label that is there another value.")
@click.option("--remove", is_flag=True, help="Remove the label KEY.")
@calicoctl.namespace_option
@config_option
def label(words: tuple[str, ...], overwrite: bool, remove: bool, namespace: str | None) -> None:
    """Set or remove a label of an object.

    \b
    tortie label node node-1 rack=r1
    tortie label node node-1 rack=r2 --overwrite
    tortie label node node-1 rack --remove
    """
    if len(words) != 3:
        raise Failure(f"accepts 3 arg(s), received {len(words)}")
    if overwrite and remove:
        raise Failure("cannot use both --overwrite and --remove flags at the same time")
    kind, name, argument = words
    who = f"{kind} {name}"
    key, equals, value = (argument, "", None) if remove else argument.partition("=")
    if not remove and (not equals or not key):
        raise Failure(f"invalid label {argument}")
    try:
        (subject,) = named(kind_named(kind), [name], Namespaces(namespace or ""))
    except UsageError as error:
        raise Failure(f"failed to get {who}, error {error}") from error
    done = asyncio.run(_label(configuration.access(), subject, who, key, value, overwrite))
    click.echo(f"Successfully {done} label {key} {'from' if remove else 'on'} {who}")


async def _label(access: Access, subject: Subject, who: str, key: str, value: str | None, overwrite: bool) -> str:
    """What was done; `value` is None to remove the label."""
    done = ""

    def change(stored: Resource[Any]) -> Resource[Any]:
        nonlocal done
        labels = dict(stored.metadata.labels)
        if value is None:
            if key not in labels:
                raise Failure(f"cannot remove label of {who}, key {key} does not exist")
            del labels[key]
            done = "removed"
        else:
            if labels.get(key, value) != value and not overwrite:
                raise Failure(
                    f"failed to update label of {who}, key {key} is already present. "
                    "please use '--overwrite' to set a new value"
                )
            done = "updated" if key in labels else "set"
            labels[key] = value
        return with_labels(stored, labels)

    async with opened(access) as resources:
        await check_version(resources)
        try:
            await resources.modify(subject.key, change)
        except NotFound as error:
            raise Failure(f"{who} not found{await nearest(resources, subject.key)}") from error
        except (DatastoreError, InvalidResource, UsageError) as error:
            raise Failure(f"failed to update {who}, label not changed: {sentence(error)}") from error
    return done
