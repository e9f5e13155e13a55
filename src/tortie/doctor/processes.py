"""The processes of this machine, as far as this user may see them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import NamedTuple

from tortie.errors import KernelError
from tortie.kernel.netns import NamespaceId, identify

_PROC = Path("/proc")


class Process(NamedTuple):
    pid: int
    name: str  # as the kernel calls it: 15 characters
    command: tuple[str, ...] = ()  # empty for threads of the kernel
    here: bool | None = True  # in the network namespace that is examined; None: this user may not see it

    def __str__(self) -> str:
        return f"{' '.join(self.command) or self.name} (pid {self.pid})"

    @property
    def is_agent(self) -> bool:
        """`tortie agent`, however it was started."""
        words = [PurePath(word).name for word in self.command]
        return "tortie" in words[:4] and "agent" in words[words.index("tortie") + 1 :]

    @property
    def is_felix(self) -> bool:
        words = [PurePath(word).name for word in self.command]
        return words[:1] == ["calico-felix"] or (words[:1] == ["calico-node"] and "-felix" in words)

    @property
    def is_bird(self) -> bool:
        return self.name in ("bird", "bird6", "bird2")


def read() -> tuple[Process, ...]:
    """All of them, without those that ended meanwhile."""
    own = identify("/proc/thread-self/ns/net")
    found = [_read(directory, own) for directory in _PROC.iterdir() if directory.name.isdecimal()]
    return tuple(process for process in found if process is not None)


def holders(inode: int, among: Iterable[Process]) -> list[Process]:
    """Who has this socket open, perhaps from another network namespace.

    Raises PermissionError if that could be somebody whom this user may not look at.
    """
    wanted = f"socket:[{inode}]"
    found, hidden = [], False
    for process in among:
        try:
            # One by one: a descriptor may be closed while the others are looked at.
            if any(_target(entry) == wanted for entry in (_PROC / str(process.pid) / "fd").iterdir()):
                found.append(process)
        except PermissionError:
            hidden = True
        except OSError:
            continue
    if hidden and not found:
        raise PermissionError(f"the holder of socket {inode} is another user's process")
    return found


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except FileNotFoundError:
        return ""


def _read(directory: Path, own: NamespaceId) -> Process | None:
    try:
        name = (directory / "comm").read_text(errors="replace").strip()
        command = (directory / "cmdline").read_bytes().decode(errors="replace").rstrip("\0")
    except OSError:
        return None
    here: bool | None = None
    with contextlib.suppress(KernelError):
        here = identify(str(directory / "ns/net")) == own
    return Process(int(directory.name), name, tuple(command.split("\0")) if command else (), here)
