"""The written reference is what the model says now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tortie.cli import reference
from tortie.model import KINDS

WRITTEN = Path(__file__).parents[3] / "docs/reference/resources"


def test_the_written_pages_are_up_to_date() -> None:
    found = {file.name: file.read_text() for file in WRITTEN.glob("*.md")}
    stale = [name for name, text in reference.pages().items() if found.get(name) != text]
    assert (stale, found.keys() - reference.pages().keys()) == ([], set()), "run scripts/reference"


def test_every_kind_has_a_page_and_the_index_leads_to_all() -> None:
    pages = reference.pages()
    assert {f"{name.lower()}.md" for name in (*KINDS, *reference.ALLOCATION)} == pages.keys() - {"README.md"}
    assert set(re.findall(r"\]\(([a-z0-9]+\.md)\)", pages["README.md"])) == pages.keys() - {"README.md"}


@pytest.mark.parametrize("page", reference.pages())
def test_tables_have_as_many_cells_in_each_row(page: str) -> None:
    columns = 0
    for line in reference.pages()[page].splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert cells in (columns or cells, 0), line
        columns = cells


def test_writing_removes_pages_of_kinds_that_are_gone(tmp_path: Path) -> None:
    (tmp_path / "oldkind.md").write_text("x")
    (tmp_path / "other.txt").write_text("x")
    reference.write(tmp_path)
    assert not (tmp_path / "oldkind.md").exists()
    assert (tmp_path / "other.txt").exists()
    assert (tmp_path / "ippool.md").read_text() == reference.pages()["ippool.md"]
