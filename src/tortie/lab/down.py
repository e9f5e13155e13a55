"""Removing a lab, whole or in whatever state a crash left it.

Nothing is remembered and nothing needs to be: processes are found by their mark, namespaces by their names, mounts
and files by their place. The order is that of causes: processes first, since they could make the rest anew.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from tortie.kernel import libc, netns
from tortie.kernel.failure import mapped
from tortie.lab.layout import BASE, Layout, existing_labs
from tortie.lab.process import exclusive, kill, running


def labs() -> list[str]:
    """Every lab of which anything is left."""
    return sorted({*existing_labs(), *(process.mark.lab for process in running() if process.mark.lab)})


def down(lab: str) -> bool:
    """Removes all of a lab; False when there was nothing. Raises `LabError` while another command works on it."""
    with exclusive(lab):
        return remove(Layout(lab))


def remove(layout: Layout) -> bool:
    """As `down`, for a caller that holds the lab."""
    found = kill(layout.lab) > 0
    for mount in _mounts_below(layout.directory):
        found = True
        with mapped(f"unmount {mount}"):
            # Detached: somebody's shell may stand in it, which must not keep the lab.
            libc.umount(str(mount), libc.MNT_DETACH)
    for namespace in layout.namespaces():
        found = True
        netns.delete(namespace)
    if layout.directory.exists():
        found = True
        shutil.rmtree(layout.directory)
    with suppress(OSError):  # other labs are still in it, or it never was
        BASE.rmdir()
    return found


def _mounts_below(directory: Path) -> list[Path]:
    """Mount points below a directory, innermost first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = Path(line.split()[4])
        if directory in point.parents:
            points.append(point)
    return sorted(points, reverse=True)
