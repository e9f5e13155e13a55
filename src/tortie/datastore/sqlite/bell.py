"""Wakes the watchers of one store in every process after a commit.

A writer rings by touching the database file *after* its commit, so whoever is woken sees the commit. Watching
the write-ahead log instead would wake readers between the last write to it and the update of the shared index
that makes the commit visible: some would look too early and find nothing. The directory is watched, not the
file, so a file that is created or replaced rings too.

A ring may be lost (a writer killed between commit and touch, no inotify instance left): waiters also wake
after `POLL_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
from pathlib import Path

POLL_S = 1.0

# linux/inotify.h
_IN_ATTRIB = 0x00000004
_IN_MOVED_TO = 0x00000080
_IN_CREATE = 0x00000100
_IN_Q_OVERFLOW = 0x00004000
_IN_IGNORED = 0x00008000
_IN_ONLYDIR = 0x01000000
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name

_libc = ctypes.CDLL(None, use_errno=True)


def ring(path: Path) -> None:
    """Wakes the watchers of the store at `path`; never fails, the poll stands behind it."""
    with contextlib.suppress(OSError):
        os.utime(path)


class Bell:
    """One store's bell, in one event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = asyncio.Event()
        self._inotify = -1
        self._watching = False

    def next_ring(self) -> asyncio.Event:
        """The event of the next ring: take it before reading, `wait` on it after, and no ring is missed."""
        if not self._watching:
            self._watch()
        return self._next

    @staticmethod
    async def wait(rung: asyncio.Event) -> bool:
        """Returns at the ring, or after `POLL_S`; whether it was the ring."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                return await rung.wait()
        return False

    def close(self) -> None:
        """Wakes everybody and stops watching."""
        if self._inotify >= 0:
            asyncio.get_running_loop().remove_reader(self._inotify)
            os.close(self._inotify)
            self._inotify = -1
        self._ring()

    def _ring(self) -> None:
        self._next.set()
        self._next = asyncio.Event()

    def _watch(self) -> None:
        """Without an inotify instance (128 per user by default) or a directory the poll alone wakes."""
        if self._inotify < 0:
            self._inotify = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._inotify < 0:
                return
            asyncio.get_running_loop().add_reader(self._inotify, self._drain)
        mask = _IN_ATTRIB | _IN_CREATE | _IN_MOVED_TO | _IN_ONLYDIR
        self._watching = _libc.inotify_add_watch(self._inotify, os.fsencode(self._path.parent), mask) >= 0

    def _drain(self) -> None:
        name = os.fsencode(self._path.name)
        buffer = os.read(self._inotify, 65536)
        rung = False
        while buffer:
            _, mask, _, length = _EVENT.unpack_from(buffer)
            subject = buffer[_EVENT.size : _EVENT.size + length].rstrip(b"\0")
            buffer = buffer[_EVENT.size + length :]
            if mask & _IN_IGNORED:  # the directory is gone
                self._watching = False
            rung |= subject == name or bool(mask & _IN_Q_OVERFLOW)
        if rung:
            self._ring()
