"""What `tortie lab` prints: plain on a pipe, with colour on a terminal (click takes it out of a pipe)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import click


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns; the last column is not padded."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    )


def heading(text: str) -> None:
    click.echo(click.style(f"\n== {text}", bold=True))


def stopwatch() -> Callable[[str], None]:
    """Prints each step with the seconds since the start."""
    start = time.monotonic()

    def progress(step: str) -> None:
        click.echo(f"{time.monotonic() - start:6.2f} s  {step}")

    return progress
