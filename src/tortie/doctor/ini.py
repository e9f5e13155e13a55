"""Configuration of systemd's and NetworkManager's kind: sections of settings, in a main file and in drop-ins.

A drop-in of a name hides those of that name in directories behind; all that are left count in the order of names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple


class Setting(NamedTuple):
    file: Path
    section: str
    key: str
    value: str


def parse(file: Path) -> list[Setting]:
    """The settings of a file in their order; raises OSError."""
    found = []
    section = ""
    for raw in file.read_text(errors="replace").splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif line and line[0] not in "#;":
            key, _, value = line.partition("=")
            found.append(Setting(file, section, key.strip(), value.strip()))
    return found


def drop_ins(directories: Iterable[Path], suffix: str) -> list[Path]:
    """Files by their names, the first directory before the others."""
    chosen: dict[str, Path] = {}
    for directory in directories:
        for file in directory.glob(f"*{suffix}") if directory.is_dir() else ():
            chosen.setdefault(file.name, file)
    return [chosen[name] for name in sorted(chosen)]


def settings(main: Iterable[Path], directories: Iterable[Path], suffix: str) -> Iterator[Setting]:
    """All settings in the order in which they count: the first main file that exists, then the drop-ins."""
    for file in [*[each for each in main if each.is_file()][:1], *drop_ins(directories, suffix)]:
        yield from parse(file)
