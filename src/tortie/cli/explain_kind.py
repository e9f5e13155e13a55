"""`tortie explain-kind`: what a field of a resource means, at the terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator

import click

from tortie.cli import examples, fields
from tortie.cli.complete import complete_field
from tortie.cli.fields import Field
from tortie.cli.tables import aligned
from tortie.model.kinds import KINDS, kind_named
from tortie.model.resource import API_VERSION

_TEXT_WIDTH = 100


@click.command("explain-kind")
@click.argument("path", metavar="[KIND[.FIELD...]]", required=False, shell_complete=complete_field)
@click.option("-r", "--recursive", is_flag=True, help="All fields below, not only the next.")
@click.option("--example", is_flag=True, help="A document of the kind that is valid as it stands.")
def explain_kind(path: str | None, recursive: bool, example: bool) -> None:
    """Say what a kind or a field means: type, allowed values, default, and the fields within.

    \b
    tortie explain-kind                                   all kinds
    tortie explain-kind ippool
    tortie explain-kind wep.spec.qosControls --recursive
    tortie explain-kind ippool --example > pool.yaml
    """
    if path is None:
        if example:
            raise click.UsageError("--example needs a KIND")
        _echo(_fitted([_of_kind_list(name) for name in KINDS]))
        return
    word, _, below = path.partition(".")
    kind = kind_named(word)
    if example:
        click.echo(examples.of(kind), nl=False)
        return
    root = fields.of_kind(kind)
    field = fields.find(root, below)
    facts = [("KIND", f"{kind.name} ({API_VERSION})")]
    if field is root:
        facts.append(("ALIASES", ", ".join(kind.aliases)))
        facts.append(("NAMESPACED", "yes" if kind.namespaced else "no"))
    else:
        facts.extend(_facts(field))
    _echo(aligned(facts).splitlines())
    _echo(["", *_wrapped(field)])
    if field.fields:
        _echo(["", click.style("FIELDS", bold=True)])
        _echo(_fitted(list(_rows(field.fields, recursive))))


def _facts(field: Field) -> Iterator[tuple[str, str]]:
    yield "FIELD", field.path
    yield "TYPE", field.type + (", required" if field.required else "")
    if field.allowed:
        yield "ALLOWED", field.allowed
    if field.default:
        yield "DEFAULT", field.default
    if field.without_effect:
        yield "EFFECT", "none: tortie keeps it for others"


def _of_kind_list(name: str) -> tuple[str, str, str]:
    kind = KINDS[name]
    shortest = min(kind.aliases, key=len, default="")
    return (name, shortest, fields.about(kind))


def _rows(within: Iterable[Field], recursive: bool, depth: int = 0) -> Iterator[tuple[str, str, str]]:
    for field in within:
        marks = field.type + (", required" if field.required else "")
        yield "  " * (depth + 1) + field.name, marks, field.summary
        if recursive:
            yield from _rows(field.fields, recursive, depth + 1)


def _wrapped(field: Field) -> list[str]:
    return textwrap.wrap(field.text, min(_width() or _TEXT_WIDTH, _TEXT_WIDTH))


def _fitted(rows: list[tuple[str, str, str]]) -> list[str]:
    """Rows as lines, which a terminal shows without folding them."""
    width = _width()
    lines = aligned(rows).splitlines()
    return [line if not width or len(line) <= width else line[: width - 3].rstrip() + "..." for line in lines]


def _width() -> int:
    """Of the terminal; 0 when there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def _echo(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)
