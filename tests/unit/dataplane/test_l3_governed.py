"""Which interfaces are governed is remembered across agents, of this boot and network namespace alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tortie.dataplane.l3.governed import Governed


def known(file: Path) -> set[int]:
    """Of ten, to the next agent."""
    governed = Governed(file)
    return {index for index in range(10) if index in governed}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Of an agent that governed three interfaces, of which one is gone and another left the kernel."""
    path = tmp_path / "state" / "governed"
    governed = Governed(path)
    for index in (3, 5, 7):
        governed.add(index)
    governed.save()
    governed.discard(7)
    governed.keep({3, 9})
    governed.save()
    assert governed.problem is None
    return path


def test_the_next_agent_knows(file: Path) -> None:
    assert known(file) == {3}


@pytest.mark.parametrize("text", ["", "\n", "another boot 4:1\n3\n", "\x00", "3\n"])
def test_of_another_boot_or_namespace_nothing_is_taken(file: Path, text: str) -> None:
    file.write_text(text)
    assert known(file) == set()


def test_a_line_that_a_crash_cut_short_is_none(file: Path) -> None:
    file.write_text(file.read_text() + "4\n5")
    assert known(file) == {3, 4}
    governed = Governed(file)
    governed.add(6)
    governed.save()
    assert known(file) == {3, 4, 6}


def test_it_grows_by_what_changes_and_is_written_anew_when_it_has_doubled(file: Path) -> None:
    governed = Governed(file)
    sizes = []
    for _ in range(3000):
        for change in (governed.add, governed.discard):
            change(8)
            governed.save()
            sizes.append(file.stat().st_size)
    assert known(file) == {3}
    assert sizes[0] < sizes[1] < sizes[2]
    assert max(sizes) < 20_000


def test_a_damaged_file_is_none(file: Path) -> None:
    file.write_text(file.read_text() + "three\n")
    assert known(file) == set()
    file.write_bytes(b"\xff")
    assert known(file) == set()


def test_nothing_new_is_not_written(file: Path) -> None:
    governed = Governed(file)
    governed.add(3)
    file.unlink()
    governed.save()
    assert not file.exists()


def test_what_cannot_be_written_is_told_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the directory should be")
    governed = Governed(tmp_path / "state" / "governed")
    governed.add(3)
    governed.save()
    assert 3 in governed
    assert "is not remembered" in str(governed.problem)
    (tmp_path / "state").unlink()
    governed.save()
    assert not governed.problem
    assert known(tmp_path / "state" / "governed") == {3}
