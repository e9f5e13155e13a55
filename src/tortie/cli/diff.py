"""`tortie diff`: what `apply` would change, as unified differences of YAML; nothing is written.

Exit codes as those of diff(1): 0 nothing would change, 1 something would, 2 it could not be found out.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from tortie.access import Access
from tortie.cli import configuration, output, terminal
from tortie.cli.calicoctl import Failure, GlobalOptions, namespace_option
from tortie.cli.cluster_version import check_version
from tortie.cli.configuration import config_option
from tortie.cli.documents import Document
from tortie.cli.files import Files, file_options
from tortie.cli.judge import judge, stored_in
from tortie.cli.namespaces import Namespaces
from tortie.cli.store import opened
from tortie.cli.wording import sentence
from tortie.errors import TortieError

_COLOURS = {"-": "red", "+": "green", "@": "cyan"}


class Trouble(Failure):
    """What would change could not be found out."""

    exit_code = 2


class _Command(GlobalOptions):
    """Ends in `Trouble` whatever goes wrong: 1 means that there are differences."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TortieError as error:
            raise Trouble(sentence(error)) from error
        except Failure as error:
            raise Trouble(error.message) from error


@click.command(cls=_Command)
@file_options
@namespace_option
@config_option
def diff(files: Files, namespace: str | None) -> None:
    """Show what `apply` would change, and change nothing.

    \b
    tortie diff -f pool.yaml
    tortie diff -f cluster/ -R && echo nothing to do

    Compared are the stored object and what would be stored in its place, with defaults and what stays untouched.
    Exit code 0 without differences, 1 with some, 2 when something went wrong.
    """
    given = files.documents()
    differences, errors = asyncio.run(_compare(configuration.access(), given, Namespaces(namespace or "")))
    for line in differences:
        click.echo(line)
    if errors:
        raise Trouble("\n".join(errors))
    raise SystemExit(1 if differences else 0)


def lines(before: Mapping[str, Any] | None, after: Mapping[str, Any], subject: str) -> Iterator[str]:
    """How one document became another, with colours; nothing when they are the same."""
    names = (f"{subject} (stored)" if before else "/dev/null", f"{subject} (after)")
    unified = difflib.unified_diff(_yaml(before), _yaml(after), *names, lineterm="")
    yield from coloured(unified)


def coloured(unified: Iterable[str]) -> Iterator[str]:
    """Lines of a unified difference as a terminal shows them."""
    for number, line in enumerate(unified):
        if not terminal.wants_colour():
            yield line
        elif number < 2:
            yield click.style(line, bold=True)
        else:
            colour = _COLOURS.get(line[:1])
            yield click.style(line, colour) if colour else line


def _yaml(document: Mapping[str, Any] | None) -> list[str]:
    return output.as_document("yaml", document).splitlines() if document else []


async def _compare(access: Access, given: Sequence[Document], namespaces: Namespaces) -> tuple[list[str], list[str]]:
    """The differences of all objects, and why some could not be compared."""
    async with opened(access) as resources:
        judged = await judge(given, namespaces, stored_in(resources))
        if judged.unreadable:
            return [], [*judged.unreadable, *judged.wrong]
        for warning in judged.warnings:
            click.echo(f"Warning: {warning}", err=True)
        await check_version(resources)
        found: list[str] = []
        errors = list(judged.wrong)
        for resource in judged.resources:
            try:
                before, after = await resources.preview(resource)
            except TortieError as error:
                errors.append(f"{resource.key}: {sentence(error)}")
            else:
                found.extend(lines(before, after, str(resource.key)))
        return found, errors
