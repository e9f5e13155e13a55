"""Rows of text as tables: calicoctl's two forms, and the plain one of tortie's own commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Row = Sequence[str]


def padded(rows: Sequence[Row]) -> str:
    """As `calicoctl get` prints it: each cell is followed by blanks, three at least, and the table by an empty line."""
    return padded_lines(rows, padded_widths(rows)) + "\n"


def padded_widths(rows: Sequence[Row]) -> list[int]:
    """How wide the columns of such a table are."""
    return [max(5, width + 3) for width in _widths(rows)]


def padded_lines(rows: Iterable[Row], widths: Sequence[int]) -> str:
    """Lines of such a table."""
    return "".join("".join(_cells(row, widths)) + "\n" for row in rows)


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
