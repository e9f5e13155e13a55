"""Rows of text as tables: calicoctl's two forms, and the plain one of tortie's own commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Row = Sequence[str]


def padded(rows: Sequence[Row]) -> str:
    """As `calicoctl get` prints it: each cell is followed by blanks, three at least, and the table by an empty line."""
    widths = [max(5, width + 3) for width in _widths(rows)]
    return "".join("".join(_cells(row, widths)) + "\n" for row in rows) + "\n"


def bordered(rows: Sequence[Row]) -> str:
    """As `calicoctl node status` prints it; the first row is the heading."""
    widths = _widths(rows)
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+\n"
    lines = ["| " + " | ".join(_cells(row, widths)) + " |\n" for row in rows]
    return rule + lines[0] + rule + "".join(lines[1:]) + rule


def aligned(rows: Sequence[Row]) -> str:
    """Columns two blanks apart, without trailing blanks."""
    widths = _widths(rows)
    return "".join("  ".join(_cells(row, widths)).rstrip() + "\n" for row in rows)


def _widths(rows: Iterable[Row]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _cells(row: Row, widths: Sequence[int]) -> list[str]:
    return [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
