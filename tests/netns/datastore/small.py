"""A file system of a few megabytes, for one process and its children alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

MOUNT_AND_RUN = 'mount -t tmpfs -o size="$1" small "$2" && shift 2 && exec "$@"'


def run_on(mount_point: Path, size: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a mount namespace of its own, where `mount_point` is an empty tmpfs of that size."""
    mount_point.mkdir(exist_ok=True)
    return subprocess.run(
        [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-ec",
            MOUNT_AND_RUN,
            "sh",
            size,
            mount_point,
            *command,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
