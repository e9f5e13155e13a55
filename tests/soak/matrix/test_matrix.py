"""What each fault of the matrix costs, against what it may. Rows are appended to the file `RESULTS`, if any."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from tests.soak.matrix.cell import Cell, complaints, measure
from tests.soak.matrix.conftest import RESULTS, SEED, Scenes
from tortie.lab import etcd

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed"),
]


def test_a_fault(cell: Cell, scenes: Scenes, capsys: pytest.CaptureFixture[str]) -> None:
    if cell.store == "etcd" and etcd.missing():
        pytest.skip(etcd.missing())
    scene = scenes.of(cell)
    try:
        row = asyncio.run(measure(cell, scene))
        with capsys.disabled():
            print(f"\n{cell}: lost {row.lost}, leaked {row.leaked}, repaired in {row.repaired_s} s", end=" ")
        if RESULTS:
            with Path(RESULTS).open("ab") as results:
                results.write(msgspec.json.encode(msgspec.structs.replace(row, seed=SEED)) + b"\n")
        assert complaints(cell.fault, row) == []
    except BaseException:
        scenes.remove()  # the next cell begins with a whole one
        raise
