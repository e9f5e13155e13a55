"""The table of docs/faults.md from a file of results: the last row of each cell, and the cells that no row tells of.

    python -m tests.soak.matrix.report RESULTS >TABLE
    python -m tests.soak.matrix.report RESULTS docs/faults.md

The second form replaces the section in the page, up to the next heading of its rank.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TypeAlias

import msgspec

from tests.soak.matrix.cell import Cell, Row, complaints
from tests.soak.matrix.fault import FAULTS, REPAIR_BOUND_S, Fault
from tests.soak.matrix.selection import everything

HEADING = "## Fault matrix"
INTRODUCTION = """\
Two hosts, two route reflectors, a workload on each host (`tests/soak/matrix`). One host is struck while its workload
is sent to and sends, each 2 ms: a conversation that lasts, new connections, and packets that policy denies in either
direction. *Lost* are packets of the first two, *leaked* those of the last. *Repaired* is the time from the end of the
cause, or from the blow where nothing has to end, to the last packet that went wrong; the goal is 0.2 s. *Whole* is when
agents, BIRD and all rows in the kernel were as before. Figures are the worst of the cells named; a sign after them
points to the reasons below the table. Beside each cell ran a path without tortie, for what the machine loses by itself.

`RESULTS=file SOAK=all scripts/soak` measures every cell, `SOAK=rest` those that the file lacks, and
`python -m tests.soak.matrix.report file docs/faults.md` writes this section. Without either as many cells are run as
there is time for, by a seed that is printed.
"""

Rows: TypeAlias = dict[tuple[str, str, str], Row]  # by fault, backend and store


def read(path: Path) -> Rows:
    rows = (msgspec.json.decode(line, type=Row) for line in path.read_bytes().splitlines())
    return {(row.fault, row.backend, row.store): row for row in rows}


def render(rows: Rows) -> str:
    cells = everything()
    found = [(cell, row) for cell in cells if (row := rows.get((str(cell.fault), cell.backend, cell.store)))]
    days = sorted({row.at for _, row in found})
    lines = [
        HEADING,
        "",
        INTRODUCTION,
        f"{len(found)} of {len(cells)} cells, measured {' to '.join(dict.fromkeys(days[:1] + days[-1:]))}; the path "
        f"without tortie lost {sum(row.lost_by_control for _, row in found)} packets, and the longest pause of the "
        f"sender was {max((row.worst_pause_s for _, row in found), default=0):g} s.",
        "",
        "| fault | policy, store | lost | leaked | repaired, s | whole, s | |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    notes: list[str] = []
    for each in FAULTS:
        lines += _lines(each, [(cell, row) for cell, row in found if cell.fault == each], notes)
    lines += ["", *(f"{number}. {note}" for number, note in enumerate(notes, start=1))]
    if failed := [f"- {cell}: {'; '.join(wrong)}" for cell, row in found if (wrong := complaints(cell.fault, row))]:
        lines += ["", "Not as declared:", "", *failed]
    if lacking := _not_run(cells, found):
        lines += ["", "Not run:", "", *lacking]
    return "\n".join(lines).rstrip() + "\n"


def _lines(fault: Fault, found: list[tuple[Cell, Row]], notes: list[str]) -> list[str]:
    """A line for all cells of a fault that cost the same, so that what is 0 everywhere is one line."""
    reasons = dict.fromkeys(reason for reason in (fault.cuts, fault.loses, fault.leaks, fault.late) if reason)
    signs = []
    for reason in reasons:
        if reason not in notes:
            notes.append(reason)
        signs.append(str(notes.index(reason) + 1))
    groups: dict[tuple[bool, ...], list[tuple[Cell, Row]]] = {}
    for cell, row in found:
        key = (row.lost > 0, row.leaked > 0, row.repaired_s > REPAIR_BOUND_S)
        groups.setdefault(key, []).append((cell, row))
    lines = []
    for group in groups.values():
        where = "all" if len(group) == len(fault.backends) * len(fault.stores) else _names(group)
        worst = [max(row[at] for row in map(_figures, (row for _, row in group))) for at in range(4)]
        figures = " | ".join(f"{figure:g}" for figure in worst)
        said = "; ".join(row.told for _, row in group if row.told)
        lines.append(f"| {fault} | {where} | {figures} | {', '.join([*signs, *([said] if said else [])])} |")
    return lines


def _figures(row: Row) -> tuple[float, ...]:
    return (row.lost, row.leaked, row.repaired_s, row.whole_s)


def _names(group: list[tuple[Cell, Row]]) -> str:
    by_store: dict[str, list[str]] = {}
    for cell, _ in group:
        by_store.setdefault(cell.store, []).append(cell.backend)
    return "; ".join(f"{', '.join(backends)}: {store}" for store, backends in by_store.items())


def _not_run(cells: list[Cell], found: list[tuple[Cell, Row]]) -> list[str]:
    run = {cell for cell, _ in found}
    lacking: dict[str, list[str]] = {}
    for cell in cells:
        if cell not in run:
            lacking.setdefault(str(cell.fault), []).append(f"{cell.backend} with {cell.store}")
    return [f"- {fault}: {', '.join(where)}" for fault, where in lacking.items()]


def replaced(page: str, section: str) -> str:
    """The page with the section in the place of the one before, or at its end."""
    pattern = re.compile(rf"^{HEADING}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(page):
        return pattern.sub(lambda _: section + "\n", page).rstrip() + "\n"
    return f"{page.rstrip()}\n\n{section}" if page else f"# Faults\n\n{section}"


def main() -> None:
    section = render(read(Path(sys.argv[1])))
    if len(sys.argv) < 3:
        print(section, end="")
        return
    page = Path(sys.argv[2])
    page.write_text(replaced(page.read_text() if page.exists() else "", section))


if __name__ == "__main__":
    main()
