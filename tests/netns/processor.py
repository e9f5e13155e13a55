"""How much a process works."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any


def share(process: subprocess.Popen[Any], for_s: float) -> float:
    """How much of one processor it takes in the next seconds, in which it must not end."""
    used, began = _used_s(process.pid), time.monotonic()
    try:
        raise AssertionError(f"it ended: {process.wait(for_s)}")
    except subprocess.TimeoutExpired:
        return (_used_s(process.pid) - used) / (time.monotonic() - began)


def _used_s(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
