"""`tortie api-resources`: the kinds and what they are called."""

from __future__ import annotations

import json
from typing import Any

import click

from tortie.cli.tables import padded
from tortie.model.kind import Kind
from tortie.model.kinds import KINDS
from tortie.model.resource import API_VERSION

_LOOK = ("get", "list", "watch")
_CHANGE = ("create", "delete", "patch", "update")


@click.command("api-resources")
@click.option("-o", "--output", "form", type=click.Choice(["wide", "name", "json"]), help="wide adds VERBS.")
def api_resources(form: str | None) -> None:
    """Show all kinds of resources: their names, aliases, and whether they live in namespaces.

    \b
    tortie api-resources
    tortie api-resources -o name
    """
    kinds = sorted(KINDS.values(), key=lambda kind: kind.plural)
    match form:
        case "name":
            click.echo("\n".join(kind.plural for kind in kinds))
        case "json":
            click.echo(json.dumps([_description(kind) for kind in kinds], indent=2))
        case _:
            heading = ["NAME", "ALIASES", "APIVERSION", "NAMESPACED", "KIND"]
            rows = [[kind.plural, _aliases(kind), API_VERSION, _yes(kind.namespaced), kind.name] for kind in kinds]
            verbs = [["VERBS"], *([",".join(verbs_of(kind))] for kind in kinds)] if form else [[]] * (len(rows) + 1)
            click.echo(padded([[*row, *more] for row, more in zip([heading, *rows], verbs, strict=True)]), nl=False)


def short_names(kind: Kind[Any]) -> list[str]:
    """What else a kind may be called on the command line, besides its name and plural."""
    return [alias for alias in kind.aliases if alias not in (kind.name.lower(), kind.plural)]


def verbs_of(kind: Kind[Any]) -> list[str]:
    return sorted((*_LOOK, *(() if kind.read_only else _CHANGE)))


def _aliases(kind: Kind[Any]) -> str:
    return ",".join(short_names(kind))


def _yes(true: bool) -> str:
    return "true" if true else "false"


def _description(kind: Kind[Any]) -> dict[str, object]:
    return {
        "name": kind.plural,
        "aliases": short_names(kind),
        "apiVersion": API_VERSION,
        "namespaced": kind.namespaced,
        "kind": kind.name,
        "verbs": verbs_of(kind),
    }
