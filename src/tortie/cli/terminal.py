"""What looks better on a terminal, and never reaches a pipe or a file."""

from __future__ import annotations

import os
import sys

import click


def has_colour() -> bool:
    """Whether stdout is a terminal whose user wants to see it styled (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def with_heading(table: str) -> str:
    """The table with its first line in bold, on a terminal."""
    if not has_colour():
        return table
    heading, _, rest = table.partition("\n")
    return f"{click.style(heading, bold=True)}\n{rest}"
