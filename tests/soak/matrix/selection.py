"""Which cells a run takes: all, or by chance as many as there is time for."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.soak.matrix import agent, bird, host, kernel, store  # noqa: F401 - each files its faults
from tests.soak.matrix.cell import Cell, Row, complaints
from tests.soak.matrix.fault import BACKENDS, FAULTS, STORES

SCENE_S = 10.0
SCENES = 2  # in one slice, of six
ROOT = Path(__file__).parents[3]


def everything() -> list[Cell]:
    """Every cell, those of one scene together."""
    return [
        Cell(fault, backend, store_name)
        for backend in BACKENDS
        for store_name in STORES
        for fault in FAULTS
        if backend in fault.backends and store_name in fault.stores
    ]


def without(measured: Mapping[tuple[str, str, str], Row]) -> list[Cell]:
    """Every cell but those, by fault, backend and store; also those that were not as declared."""
    rows = ((cell, measured.get((str(cell.fault), cell.backend, cell.store))) for cell in everything())
    return [cell for cell, row in rows if row is None or complaints(cell.fault, row)]


def default_seed() -> str:
    """Another one each day and with each commit."""
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return f"{time.strftime('%Y-%m-%d')}-{commit.stdout.strip() or 'unknown'}"


def by_chance(seed: str, budget_s: float) -> list[Cell]:
    """Cells that together take no longer than the budget, in two scenes, so that most of the time is theirs."""
    chance = random.Random(seed)
    scenes = chance.sample([(backend, name) for backend in BACKENDS for name in STORES], SCENES)
    left_s = budget_s - SCENES * SCENE_S
    chosen = set()
    for cell in chance.sample(cells := everything(), len(cells)):
        if (cell.backend, cell.store) in scenes and cell.fault.takes_s <= left_s:
            left_s -= cell.fault.takes_s
            chosen.add(cell)
    return [cell for cell in cells if cell in chosen]
