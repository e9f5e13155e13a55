"""Variants that take turns, and the table of what they took.

Invariants:
* In every round each variant has one turn, in an order drawn anew, and the baseline has two, under its own name and
  as its twin. What the machine does beside hits all alike, and how far the twins are apart is how little the
  table can tell.
* A turn that never comes to its end takes `NEVER`, so it counts in every figure and cannot hide in a median.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence

Turn = Callable[[], float]
"""Does one thing once and returns the milliseconds it took."""

NEVER = math.inf

# With fewer samples the 99th percentile is only another word for the maximum.
_ENOUGH_FOR_P99 = 100


def take_turns(variants: Mapping[str, Turn], rounds: int, baseline: str = "") -> dict[str, list[float]]:
    """The milliseconds of every turn, by variant; with a baseline, of its twin too."""
    turns = dict(variants)
    if baseline:
        turns[twin(baseline)] = variants[baseline]
    taken: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name in random.sample(list(turns), len(turns)):
            taken[name].append(turns[name]())
    return taken


def twin(baseline: str) -> str:
    return f"{baseline} (twin)"


def percentile(samples: Sequence[float], share: int) -> float:
    """The smallest sample that at least `share` percent of the samples do not exceed; 50 is the median."""
    return sorted(samples)[math.ceil(len(samples) * share / 100) - 1]


def print_table(title: str, taken: Mapping[str, Sequence[float]], baseline: str = "") -> None:
    """Milliseconds, one row per variant; with a baseline, also how its median compares."""
    rows = [["", "n", "min", "median", "p90", "p99", "max", *(["ratio"] if baseline else [])]]
    for name, samples in taken.items():
        shown = [min(samples), *(percentile(samples, share) for share in (50, 90, 99)), max(samples)]
        cells = [_figure(value) for value in shown]
        if len(samples) < _ENOUGH_FOR_P99:
            cells[3] = "-"
        if baseline:
            cells.append(f"{percentile(samples, 50) / percentile(taken[baseline], 50):.2f}")
        rows.append([name, str(len(samples)), *cells])
    first, *others = ([len(row[column]) for row in rows] for column in range(len(rows[0])))
    print(f"\n== {title}, in ms")
    for row in rows:
        figures = (cell.rjust(max(widths) + 2) for cell, widths in zip(row[1:], others, strict=True))
        print(row[0].ljust(max(first)) + "".join(figures))


def _figure(value: float) -> str:
    """Three digits that mean something."""
    if value == NEVER:
        return "never"
    return f"{value:.{2 if value >= 1 else 3}f}" if value < 100 else f"{value:.0f}"
