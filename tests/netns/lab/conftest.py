"""Labs for tests: names of their own, removed whatever happened, and a list of what one left behind."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tortie.lab.down import down
from tortie.lab.layout import Layout
from tortie.lab.process import running


def traces(lab: str) -> list[str]:
    """All that there is of a lab: processes, mounts, namespaces, files."""
    layout = Layout(lab)
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [
        *(f"process {process.mark}" for process in running(lab)),
        *(f"mount {mount}" for mount in mounts if mount.startswith((f"{layout.directory}/", f"/run/netns/tl-{lab}-"))),
        *(f"namespace {name}" for name in layout.namespaces()),
        *([f"directory {layout.directory}"] if layout.directory.exists() else []),
    ]


@pytest.fixture
def lab_name() -> Iterator[str]:
    """A name that no other lab has; whatever was brought up under it is removed."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    name = f"tt{secrets.token_hex(4)}"
    yield name
    down(name)
    assert traces(name) == []
