"""`tortie apply --confirm`: the record of what is there before, and then the changes.

The change may cut off whoever made it, so the user is told of the record first. And it may cut off the agents, each of
which hears of records and of objects in streams of their own, so the record has a start.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from tortie.cli import bulk
from tortie.cli.bulk import Worked
from tortie.cli.calicoctl import Failure
from tortie.datastore import confirming
from tortie.datastore.api import Compare, Datastore
from tortie.datastore.confirmation import LONGEST_S, SHORTEST_S, Confirmation, Previous, digest, path_of
from tortie.datastore.confirming import Found
from tortie.datastore.resources import Planned, Resources
from tortie.errors import DatastoreError
from tortie.model.keys import to_path
from tortie.model.resource import Resource, ResourceKey
from tortie.model.scalars import Duration

# On a busy machine a follower of etcd took in the change before its record twice in 480 times, by up to 4 ms.
HEAD_START_S = 0.5


def _parse(_: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = Duration.from_json(text).total_seconds()
    except ValueError:
        seconds = 0.0
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise Failure(f"--confirm {text!r}: must be a duration such as 60s, 5m or 1h30m, from 1s to 720h")
    return seconds


confirm_option = click.option(
    "--confirm",
    "within_s",
    metavar="DURATION",
    callback=_parse,
    help="Go back after this time, such as 60s or 5m, unless `tortie confirm` keeps the change.",
)


async def apply(
    datastore: Datastore, resources: Resources, wanted: Sequence[Resource[Any]], within_s: float, doing: str
) -> Worked:
    """Applies what is to be gone back from; raises Failure when something of it waits to be confirmed already."""
    planned: dict[ResourceKey, Planned] = {}

    async def plan(resource: Resource[Any]) -> None:
        planned[resource.key] = await resources.plan(resource)

    # Of an object that stands twice the last one counts, as in any apply.
    read = await bulk.each(list({resource.key: resource for resource in wanted}.values()), plan, "Reading")
    changes = [each for each in planned.values() if each.is_news]
    unchanged = len(wanted) - len(read.errors) - len(changes)
    if not changes:
        click.echo("There is nothing to confirm: no object differs from what is stored.")
        return Worked(unchanged, read.errors)
    await _check_free(datastore, changes)
    record = await confirming.begin(datastore, _confirmation(changes, within_s))
    beside = Compare(path_of(record.name), record.revision)
    click.echo(
        f"Confirmation {record.name}: the agents go back at {_moment(record)} (in {Duration(seconds=within_s)}).\n"
        f"To keep the change: tortie confirm {record.name}; to go back now: tortie confirm --undo {record.name}"
    )
    await asyncio.sleep(HEAD_START_S)
    written = await bulk.each(changes, lambda change: resources.carry_out(change, beside), doing)
    if not written.done:
        await _withdraw(datastore, record)
    return Worked(unchanged + written.done, [*read.errors, *written.errors])


async def _check_free(datastore: Datastore, changes: Sequence[Planned]) -> None:
    wanted = {to_path(change.key): change.key for change in changes}
    for record in await confirming.found(datastore):
        taken = [wanted[each.path] for each in _objects(record) if each.path in wanted]
        if taken:
            raise Failure(
                f"{', '.join(map(str, taken))}: changed already by what waits for confirmation {record.name}: "
                f"`tortie confirm {record.name}` or `tortie confirm --undo {record.name}` first. Nothing was written."
            )


def _objects(record: Found) -> Sequence[Previous]:
    return record.confirmation.objects if record.confirmation else ()


def _confirmation(changes: Sequence[Planned], within_s: float) -> Confirmation:
    return Confirmation(
        by=f"{_user()}@{socket.gethostname()}",
        deadline=datetime.now(UTC) + timedelta(seconds=within_s),
        within_s=within_s,
        objects=tuple(
            Previous(to_path(change.key), change.before.value if change.before else None, digest(change.value))
            for change in changes
        ),
    )


async def _withdraw(datastore: Datastore, record: Found) -> None:
    """Takes the record away when nothing was changed; if that fails the agents find nothing to go back from."""
    try:
        await confirming.confirm(datastore, record)
    except DatastoreError:
        return
    click.echo(f"Confirmation {record.name} is withdrawn: nothing was changed.")


def _moment(record: Found) -> str:
    assert record.confirmation is not None
    return record.confirmation.deadline.strftime("%Y-%m-%d %H:%M:%S UTC")


def _user() -> str:
    environment: Mapping[str, str] = os.environ
    if name := environment.get("SUDO_USER"):
        return name
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
