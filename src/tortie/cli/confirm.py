"""`tortie confirm`: keeps what was applied with `--confirm`, goes back from it, or lists what waits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from tortie.access import Access
from tortie.cli import terminal
from tortie.cli.calicoctl import GlobalOptions
from tortie.cli.configuration import access, config_option
from tortie.cli.report_form import form_option
from tortie.cli.store import answered, opened_store
from tortie.cli.tables import aligned
from tortie.datastore import confirming
from tortie.datastore.confirmation import Previous
from tortie.datastore.confirming import Found, GoneBack
from tortie.errors import Conflict, NotFound, UsageError


@click.command(cls=GlobalOptions)
@click.argument("name", metavar="[ID]", required=False)
@click.option("--undo", is_flag=True, help="Go back now, rather than at the deadline.")
@click.option("--list", "listed", is_flag=True, help="Show what waits to be confirmed.")
@form_option
@config_option
def confirm(name: str | None, undo: bool, listed: bool, form: str) -> None:
    """Keep what was applied with `apply --confirm`, or go back from it.

    \b
    tortie apply -f policy.yaml --confirm 60s
    tortie confirm                                       when one change waits
    tortie confirm 1f2e3d4c
    tortie confirm --undo 1f2e3d4c
    tortie confirm --list -o json

    Going back gives each object the value it had, or deletes it if there was none; one that others have changed since
    then is left as it is, and named. Whichever is first in the datastore counts, confirming or going back.
    """
    if listed:
        if name or undo:
            raise UsageError("--list takes no ID, and no --undo: it shows everything that waits, and changes nothing")
        _show(answered(_found(access())), form)
    elif undo:
        _tell(*answered(_go_back(access(), name)))
    else:
        record = answered(_confirm(access(), name))
        click.echo(f"Confirmed {record.name}: the change stays.")


async def _found(where: Access) -> list[Found]:
    async with opened_store(where) as datastore:
        return await confirming.found(datastore)


async def _confirm(where: Access, name: str | None) -> Found:
    async with opened_store(where) as datastore:
        record = _chosen(await confirming.found(datastore), name)
        await confirming.confirm(datastore, record)
        return record


async def _go_back(where: Access, name: str | None) -> tuple[Found, GoneBack]:
    async with opened_store(where) as datastore:
        record = _chosen(await confirming.found(datastore), name)
        await confirming.go_back(datastore, record.name)
        assert record.confirmation is not None  # or going back had failed
        return record, await confirming.outcome(datastore, record.confirmation)


def _chosen(records: Sequence[Found], name: str | None) -> Found:
    """The record that the user means."""
    if name is None:
        if len(records) == 1:
            return records[0]
        if records:
            raise Conflict(f"several changes wait, name one: {', '.join(record.name for record in records)}")
        raise NotFound("no change waits to be confirmed: each was confirmed, or its objects are what they were before")
    if found := next((record for record in records if record.name == name), None):
        return found
    waiting = ", ".join(record.name for record in records) or "none"
    raise NotFound(f"confirmation {name} does not wait: it was confirmed, or gone back from; waiting: {waiting}")


def _tell(record: Found, result: GoneBack) -> None:
    click.echo(f"Gone back from {record.name}: {_count(result.back)} as before.")
    if result.kept:
        names = "\n".join(f"  {previous.name}" for previous in result.kept)
        click.echo(f"Left as they are, since others changed them meanwhile:\n{names}")


def _count(objects: Sequence[Previous]) -> str:
    return "1 object is" if len(objects) == 1 else f"{len(objects)} objects are"


def _show(records: Sequence[Found], form: str) -> None:
    now = datetime.now(UTC)
    if form == "json":
        click.echo(json.dumps([_as_json(record, now) for record in records], indent=2))
    elif not records:
        click.echo("No change waits to be confirmed.")
    else:
        rows = [("ID", "BY", "DEADLINE", "LEFT", "OBJECTS"), *(_row(record, now) for record in records)]
        click.echo(terminal.with_heading(aligned(rows)), nl=False)


def _row(record: Found, now: datetime) -> tuple[str, ...]:
    confirmation = record.confirmation
    if confirmation is None:
        return record.name, "-", "-", "-", "the record cannot be read"
    deadline = confirmation.deadline.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    left_s = (confirmation.deadline - now).total_seconds()
    left = "going back" if confirmation.going_back else f"{left_s:.0f} s" if left_s > 0 else "none"
    return record.name, confirmation.by, deadline, left, ", ".join(each.name for each in confirmation.objects)


def _as_json(record: Found, now: datetime) -> dict[str, Any]:
    confirmation = record.confirmation
    if confirmation is None:
        return {"id": record.name, "readable": False}
    return {
        "id": record.name,
        "readable": True,
        "by": confirmation.by,
        "deadline": confirmation.deadline.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "leftSeconds": max(0, round((confirmation.deadline - now).total_seconds())),
        "goingBack": confirmation.going_back,
        "objects": [each.name for each in confirmation.objects],
    }
