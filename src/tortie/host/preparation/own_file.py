"""A file of ours among those of the system, known by its first line.

Invariant: what does not begin with our mark, or was changed since, is never overwritten; removing it keeps the changes.
"""

from __future__ import annotations

import hashlib
import os
import re
from enum import Enum
from pathlib import Path

EDITED_SUFFIX = ".edited"  # no program reads a file of such a name as configuration
_MARK = "# Written by tortie node init, and removed by tortie node reset. "
_FIRST_LINE = re.compile(re.escape(_MARK) + r"([0-9a-f]{16})\n")


class State(Enum):
    """Whose the file is."""

    MISSING = "missing"
    OURS = "ours"
    EDITED = "edited since tortie node init wrote it"
    FOREIGN = "written by somebody else"


def marked(body: str) -> str:
    return f"{_MARK}{_digest(body)}\n{body}"


def state_of(path: Path) -> State:
    """What cannot be read, and a link to elsewhere, is somebody else's."""
    if path.is_symlink():
        return State.FOREIGN
    try:
        text = path.read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return State.MISSING
    except OSError:
        return State.FOREIGN
    found = _FIRST_LINE.match(text)
    if found is None:
        return State.FOREIGN
    return State.OURS if found[1] == _digest(text[found.end() :]) else State.EDITED


def write(path: Path, body: str) -> None:
    """Replaces the file as a whole; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.tortie")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "w") as file:
        file.write(marked(body))
        file.flush()
        os.fsync(descriptor)
    staged.replace(path)


def remove(path: Path) -> None:
    """One that was edited is kept beside its place, where nothing reads it."""
    match state_of(path):
        case State.OURS:
            path.unlink()
        case State.EDITED:
            path.rename(path.with_name(f"{path.name}{EDITED_SUFFIX}"))
        case _:
            return


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]
