"""The page of faults: what the table says of rows, and that it leaves the rest of the page alone."""

from __future__ import annotations

import msgspec

from tests.soak.matrix.cell import Row, complaints
from tests.soak.matrix.fault import FAULTS
from tests.soak.matrix.report import HEADING, render, replaced
from tests.soak.matrix.selection import by_chance, everything, without

CELL = next(cell for cell in everything() if not cell.fault.cuts)
PERFECT = Row(str(CELL.fault), CELL.backend, CELL.store, 1000, 0, 0, 0.0, 0.5, 0, 0.001, at="2026-01-01")


def test_a_row_is_told_and_what_was_not_run_is_named() -> None:
    text = render({(PERFECT.fault, PERFECT.backend, PERFECT.store): PERFECT})
    assert f"| {CELL.fault} | {CELL.backend}: {CELL.store} | 0 | 0 | 0 | 0.5 |  |" in text
    assert f"1 of {len(everything())} cells" in text
    not_run = text.partition("Not run:")[2]
    (others,) = (line for line in not_run.splitlines() if line.startswith(f"- {CELL.fault}: "))
    assert f"{CELL.backend} with {CELL.store}" not in others


def test_the_section_takes_its_own_place() -> None:
    page = f"# Faults\n\n## Policy\n\none\n\n{HEADING}\n\nold\n\n## Last\n\ntwo\n"
    assert replaced(page, f"{HEADING}\n\nnew\n") == page.replace("old", "new")
    assert replaced("# Faults\n\n## Policy\n\none\n", f"{HEADING}\n\nnew\n").endswith(f"one\n\n{HEADING}\n\nnew\n")


def test_what_is_not_declared_is_complained_of() -> None:
    assert complaints(CELL.fault, PERFECT) == []
    worse = Row(str(CELL.fault), CELL.backend, CELL.store, 1000, 1, 2, 99.0, 0.5, 0, 0.001, ("- a route",))
    assert len(complaints(CELL.fault, worse)) == 4


def test_a_slice_is_the_same_for_a_seed_and_keeps_to_its_time() -> None:
    chosen = by_chance("seed", 300)
    assert chosen == by_chance("seed", 300)
    assert chosen != by_chance("another", 300)
    assert 200 < sum(cell.fault.takes_s for cell in chosen) < 300


def test_the_rest_is_what_no_row_tells_of_or_one_that_failed() -> None:
    key = (PERFECT.fault, PERFECT.backend, PERFECT.store)
    assert [cell for cell in everything() if cell not in without({key: PERFECT})] == [CELL]
    failed = msgspec.structs.replace(PERFECT, differs=("- a route",))
    assert CELL in without({key: failed})
    assert f"- {CELL}: the kernel is not as before: - a route" in render({key: failed})
    assert "Not as declared" not in render({key: PERFECT})


def test_every_fault_has_a_name_of_its_own_in_each_store() -> None:
    cells = [str(cell) for cell in everything()]
    assert len(cells) == len(set(cells))
    assert len(FAULTS) > 30
