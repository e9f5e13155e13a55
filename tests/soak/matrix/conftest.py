"""The cells of a run as parameters: `SOAK=all` all, `SOAK=rest` those that the file `RESULTS` has no row of, otherwise
a slice by `SEED`; one scene for cells that share it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.matrix.cell import Cell
from tests.soak.matrix.report import Rows, read
from tests.soak.matrix.scene import Scene
from tests.soak.matrix.selection import by_chance, default_seed, everything, without

HANGS_AFTER_S = 600.0  # and four times what it takes
BUDGET_S = float(os.environ.get("BUDGET") or 420)
ALL, REST = (os.environ.get("SOAK") == each for each in ("all", "rest"))
RESULTS = os.environ.get("RESULTS", "")
SEED = os.environ.get("SEED") or default_seed()


def pytest_report_header() -> str:
    slice_s = f"cells for {BUDGET_S:g} s, SEED={SEED}"
    return f"fault matrix: {'all cells' if ALL else f'cells that {RESULTS} lacks' if REST else slice_s}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" in metafunc.fixturenames:
        cells = everything() if ALL else without(measured()) if REST else by_chance(SEED, BUDGET_S)
        # By time a cell ends that hangs, and no other: how many steps an apply has, the agent says.
        limits = [pytest.mark.timeout(HANGS_AFTER_S + 4 * cell.fault.takes_s) for cell in cells]
        each = [pytest.param(cell, id=str(cell), marks=limit) for cell, limit in zip(cells, limits, strict=True)]
        metafunc.parametrize("cell", each)


def measured() -> Rows:
    return read(Path(RESULTS)) if Path(RESULTS).is_file() else {}


class Scenes:
    """The scene of the last cell, as long as it is of use to the next one."""

    def __init__(self) -> None:
        self._scene: Scene | None = None

    def of(self, cell: Cell) -> Scene:
        if self._scene is None or (self._scene.backend, self._scene.store) != (cell.backend, cell.store):
            self.remove()
            self._scene = asyncio.run(Scene.make(cell.backend, cell.store))
        return self._scene

    def remove(self) -> None:
        if self._scene is not None:
            self._scene.remove()
            self._scene = None


@pytest.fixture(scope="session")
def scenes() -> Iterator[Scenes]:
    made = Scenes()
    yield made
    made.remove()
