"""What looks better on a terminal, and never reaches a pipe or a file."""

from __future__ import annotations

import os
import sys

import click


def wants_colour() -> bool:
    """Whether the user wants to see styled text where a terminal shows it (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def has_colour() -> bool:
    """Whether stdout is a terminal whose user wants to see it styled."""
    return sys.stdout.isatty() and wants_colour()


def echo(line: str) -> None:
    """Prints a line that may be styled; the style never reaches a pipe or a file."""
    click.echo(line, color=None if wants_colour() else False)


def with_heading(table: str) -> str:
    """The table with its first line in bold, on a terminal."""
    if not has_colour():
        return table
    heading, _, rest = table.partition("\n")
    return f"{click.style(heading, bold=True)}\n{rest}"
