"""`tortie plan`: whom a change of objects would cut off, and whom it would let in; nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click
import msgspec

from tortie.access import Access
from tortie.cli import terminal
from tortie.cli.calicoctl import Failure, GlobalOptions, namespace_option
from tortie.cli.configuration import access, config_option
from tortie.cli.documents import Document
from tortie.cli.explain import objects_of, tell_of_broken
from tortie.cli.files import Files, file_options
from tortie.cli.judge import Judged, judge, stored_in
from tortie.cli.namespaces import Namespaces
from tortie.cli.report_form import form_option
from tortie.cli.store import answered, opened_store
from tortie.cli.wording import sentence
from tortie.datastore.api import Datastore
from tortie.datastore.resources import Resources
from tortie.errors import TortieError
from tortie.explain.cluster import Cluster, Stored
from tortie.explain.plan import Change, Group, Plan
from tortie.explain.plan import plan as compare
from tortie.model.decode import from_store
from tortie.model.resource import Resource, ResourceKey

_Objects = dict[ResourceKey, Stored]


@click.command(cls=GlobalOptions)
@file_options
@click.option("--delete", is_flag=True, help="What deleting the objects would do, rather than applying them.")
@form_option
@namespace_option
@config_option
def plan(files: Files, delete: bool, form: str, namespace: str | None) -> None:
    """Say whom applying files would cut off from what, and whom it would let in, and change nothing.

    \b
    tortie plan -f policy.yaml
    tortie plan --delete -f policy.yaml
    tortie plan -f cluster/ -R -o json | jq '.changes[] | select(.after == "denied")'

    Endpoints that are alike are one line, with an example and how many more there are; so are their peers. Addresses
    that no endpoint has are told of where rules tell them apart. Not compared: what host endpoints forward, do not
    track, or see before translation, and rules that ask for the port of the sender. Exit code 0 whatever would change.
    """
    given = files.documents()
    objects, changed = answered(_read(access(), given, Namespaces(namespace or ""), delete=delete))
    before, after = Cluster(objects.values()), Cluster(changed.values())
    tell_of_broken(before)
    found = compare(before, after)
    if form == "json":
        click.echo(json.dumps(_as_json(found), indent=2))
        return
    for line in _lines(found):
        terminal.echo(line)


async def _read(
    where: Access, given: Sequence[Document], namespaces: Namespaces, *, delete: bool
) -> tuple[_Objects, _Objects]:
    """All objects as they are, and as they would be."""
    async with opened_store(where) as datastore:
        before = {each.key: each for each in await objects_of(datastore)}
        judged = await _judged(datastore, given, namespaces)
        after = dict(before)
        for resource in judged.resources:
            if delete:
                if after.pop(resource.key, None) is None:
                    raise Failure(f"{resource.key} does not exist: there is nothing to delete")
            else:
                after[resource.key] = await _applied(datastore, resource)
    return before, after


async def _judged(datastore: Datastore, given: Sequence[Document], namespaces: Namespaces) -> Judged:
    judged = await judge(given, namespaces, stored_in(Resources(datastore)))
    for warning in judged.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if faults := [*judged.unreadable, *judged.wrong]:
        raise Failure("\n".join(faults))
    return judged


async def _applied(datastore: Datastore, resource: Resource[Any]) -> Stored:
    """As an agent would read what `apply` would write."""
    try:
        _, document = await Resources(datastore).preview(resource)
    except TortieError as error:
        raise Failure(f"{resource.key}: {sentence(error)}") from error
    return from_store(resource.key, msgspec.json.encode(document))


def _lines(found: Plan) -> Iterator[str]:
    if not found.changes:
        yield "no verdict changes"
    for change, families in _over_families(found.changes):
        yield click.style(_heading(change), fg="green" if change.allowed else "red", bold=True)
        what = ", ".join(map(str, change.pieces)) if change.pieces else "everything"
        yield f"  {what}" if len(families) > 1 else f"  over IPv{families[0]}: {what}"
        yield f"  {'denied' if change.allowed else 'allowed'} until now by {change.before}"
        yield f"  {_word(change)} then by {change.after}"
    if found.changes:
        yield f"verdicts change for {_count(found.affected, 'endpoint')}"
    if found.come or found.go:
        yield f"{_count(found.come, 'endpoint')} come, {found.go} go"


def _over_families(changes: Iterable[Change]) -> Iterator[tuple[Change, list[int]]]:
    """Changes that differ in nothing but the family, as one."""
    alike: dict[Change, list[int]] = {}
    for change in changes:
        alike.setdefault(change._replace(family=0), []).append(change.family)
    yield from alike.items()


def _heading(change: Change) -> str:
    ends = _group(change.peers), _group(change.endpoints)
    source, destination = ends if change.direction == "ingress" else reversed(ends)
    return f"{'opens ' if change.allowed else 'CLOSES'} {source} -> {destination} ({change.direction})"


def _group(group: Group) -> str:
    if group.is_outside:
        return f"addresses outside, such as {group.example}"
    more = f" and {_count(group.others, 'endpoint')} more" if group.others else ""
    return f"{group.example}{more}{' and addresses outside' if group.has_outside else ''}"


def _word(change: Change) -> str:
    return "allowed" if change.allowed else "denied"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _as_json(found: Plan) -> dict[str, Any]:
    return {
        "affectedEndpoints": found.affected,
        "newEndpoints": found.come,
        "goneEndpoints": found.go,
        "changes": [
            {
                "direction": change.direction,
                "ipVersion": change.family,
                "endpoints": _group_as_json(change.endpoints),
                "peers": _group_as_json(change.peers),
                "flows": [str(piece) for piece in change.pieces] or ["everything"],
                "before": "denied" if change.allowed else "allowed",
                "beforeBy": change.before,
                "after": _word(change),
                "afterBy": change.after,
            }
            for change in found.changes
        ],
    }


def _group_as_json(group: Group) -> dict[str, Any]:
    return {
        "example": group.example,
        "endpoints": 0 if group.is_outside else group.others + 1,
        "outside": group.is_outside or group.has_outside,
    }
