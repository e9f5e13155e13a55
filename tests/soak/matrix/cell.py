"""One cell of the matrix: a fault, a policy backend and a store; what happened in it, and what may."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec

from tests.soak.matrix.fault import Fault
from tests.soak.matrix.scene import Scene

BEFORE_S = 0.3  # of traffic that must be whole before anything strikes
PERIOD_S = 0.002
FAILS_AFTER_S = 10.0  # beyond what is declared: a busy machine alone does not make a cell fail


class Cell(NamedTuple):
    fault: Fault
    backend: str
    store: str

    def __str__(self) -> str:
        return f"{self.fault}, {self.backend}, {self.store}"


class Row(msgspec.Struct, frozen=True):
    """What was measured in a cell. `repaired_s` counts from the end of the cause to the last packet that went wrong,
    `whole_s` to the moment at which agents, BIRDs and kernel were as before."""

    fault: str
    backend: str
    store: str
    sent: int
    lost: int
    leaked: int
    repaired_s: float
    whole_s: float
    lost_by_control: int
    worst_pause_s: float
    differs: tuple[str, ...] = ()
    told: str = ""  # by the fault itself
    at: str = ""
    seed: str = ""


async def measure(cell: Cell, scene: Scene) -> Row:
    """Strikes under traffic, undoes, and waits until all is as before."""
    scene.told = ""
    before, felt = await scene.photograph(), cell.fault.felt
    felt_before = felt(await scene.board("far")) if felt else 0
    async with scene.traffic() as traffic:
        await asyncio.sleep(BEFORE_S)
        begun = time.monotonic() - PERIOD_S
        async with asynccontextmanager(cell.fault.strike)(scene):
            await asyncio.sleep(cell.fault.lasts_s)
        gone = time.monotonic()
        await scene.whole()
        differs = await scene.as_on(before, timeout_s=20)
        whole = time.monotonic()
        await asyncio.sleep(BEFORE_S)
    if felt:
        assert felt(await scene.board("far")) > felt_before, "the fault did not take effect"
    seen = traffic.seen
    assert min(seen.lost, default=gone) > begun, "traffic was not whole before anything struck"
    wrong = [moment - gone + PERIOD_S for moment in (*seen.lost, *seen.leaked)]
    return Row(
        fault=str(cell.fault),
        backend=cell.backend,
        store=cell.store,
        sent=seen.sent,
        lost=len(seen.lost),
        leaked=len(seen.leaked),
        repaired_s=round(max([0.0, *wrong]), 3),
        whole_s=round(whole - gone, 3),
        lost_by_control=seen.lost_by_control,
        worst_pause_s=round(seen.worst_pause_s, 3),
        differs=tuple(differs),
        told=scene.told,
        at=time.strftime("%Y-%m-%d"),
    )


def complaints(fault: Fault, row: Row) -> list[str]:
    """What a row has that is not declared."""
    found = []
    if row.lost and not (fault.cuts or fault.loses):
        found.append(f"{row.lost} packets lost")
    if row.leaked and not fault.leaks:
        found.append(f"{row.leaked} packets leaked")
    if row.repaired_s > fault.late_bound_s + FAILS_AFTER_S:
        found.append(f"repaired after {row.repaired_s} s, and {fault.late_bound_s} s are declared")
    if row.differs:
        found.append("the kernel is not as before: " + "; ".join(row.differs))
    return found
