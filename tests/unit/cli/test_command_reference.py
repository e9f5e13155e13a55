"""The written reference of commands is what the commands say now."""

from __future__ import annotations

import re
from pathlib import Path

from tests.unit.cli.conftest import Tortie
from tortie.__main__ import PROGRAMS, SECTIONS, command
from tortie.cli import command_reference

WRITTEN = Path(__file__).parents[3] / "docs/reference/cli.md"


def test_the_written_page_is_up_to_date(tmp_path: Path) -> None:
    command_reference.write(command(), SECTIONS, tmp_path / "cli.md")
    assert WRITTEN.read_text() == (tmp_path / "cli.md").read_text(), "run scripts/reference"


def test_every_word_has_a_section_and_a_link_to_it() -> None:
    page = command_reference.page(command(), SECTIONS)
    sections = re.findall("^## tortie (.*)$", page, re.MULTILINE)
    assert sections == list(PROGRAMS)
    assert re.findall(r"\]\(#tortie-([a-z-]+)\)", page) == sections
    assert "### tortie node status" in page
    assert "node run" not in page


def test_every_option_of_a_word_is_told_once(tortie: Tortie) -> None:
    page = command_reference.page(command(), SECTIONS)
    section = page.partition("\n## tortie get\n")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `(?:-\w, )*(--[a-z-]+)", section, re.MULTILINE)
    everywhere = re.findall(r"^\| `(?:-\w, )*(--[a-z-]+)", page.partition("\n## tortie ")[0], re.MULTILINE)
    offered = re.findall(r"^ +(?:-\w, )*(--[a-z-]+)", tortie("get", "--help").stdout, re.MULTILINE)
    assert sorted([*told, *everywhere]) == sorted({*offered, "--version"})
