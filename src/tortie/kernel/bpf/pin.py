"""Pins: names in a bpffs that keep maps and programs alive without a process."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from tortie.kernel import libc
from tortie.kernel.bpf.syscall import OBJECT_GET, OBJECT_PIN, address, bpf
from tortie.kernel.failure import mapped

_BPF_FS_MAGIC = 0xCAFE4A11  # include/uapi/linux/magic.h
_SYSTEM = Path("/sys/fs/bpf")
_PIN = struct.Struct("=QII")  # path, descriptor, flags


def mount(path: str) -> None:
    """Makes `path` a directory of a bpffs, mounting one there unless it already lies in one.

    Below /sys/fs/bpf, where nothing else can make directories, the bpffs goes to /sys/fs/bpf itself, as every
    init system would have it.
    """
    with mapped(f"mount a bpffs on {path}"):
        if Path(path).is_relative_to(_SYSTEM):
            _mount_on(_SYSTEM)
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
        _mount_on(Path(path))


def _mount_on(path: Path) -> None:
    if libc.filesystem_magic(str(path)) != _BPF_FS_MAGIC:
        libc.mount("bpf", str(path), "bpf")


def pin(descriptor: int, path: str) -> None:
    """Pins a map or program; `Exists` if the name is taken, `Refused` outside of a bpffs."""
    name = bytearray(os.fsencode(path) + b"\0")
    bpf(OBJECT_PIN, bytearray(_PIN.pack(address(name), descriptor, 0)), f"pin {path}")


def get(path: str) -> int:
    """A descriptor of what is pinned there, or `Gone`; the caller closes it."""
    name = bytearray(os.fsencode(path) + b"\0")
    return bpf(OBJECT_GET, bytearray(_PIN.pack(address(name), 0, 0)), f"open pin {path}")


def unpin(path: str) -> None:
    """Removes the name; one that is not there is no error."""
    with mapped(f"unpin {path}"):
        Path(path).unlink(missing_ok=True)
