"""The cells of a run as parameters: `SOAK=all` all, otherwise a slice by `SEED`; one scene for cells that share it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from tests.soak.matrix.cell import Cell
from tests.soak.matrix.scene import Scene
from tests.soak.matrix.selection import by_chance, default_seed, everything

BUDGET_S = float(os.environ.get("BUDGET") or 420)
ALL = os.environ.get("SOAK") == "all"
SEED = os.environ.get("SEED") or default_seed()


def pytest_report_header() -> str:
    return "fault matrix: all cells" if ALL else f"fault matrix: cells for {BUDGET_S:g} s, SEED={SEED}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" in metafunc.fixturenames:
        cells = everything() if ALL else by_chance(SEED, BUDGET_S)
        metafunc.parametrize("cell", cells, ids=str)


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
