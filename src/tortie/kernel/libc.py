"""System calls that Python 3.11 does not offer, by way of the C library; failures are `OSError`."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNET = 0x40000000

MS_BIND = 0x1000
MS_REC = 0x4000
MS_SHARED = 0x100000
MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def setns(descriptor: int, kind: int) -> None:
    """Moves the calling thread, and it alone, into the namespace of `descriptor`."""
    _checked(_libc.setns(descriptor, kind))


def unshare(kind: int) -> None:
    """Gives the calling thread, and it alone, a new namespace."""
    _checked(_libc.unshare(kind))


def mount(source: str, target: str, filesystem: str, flags: int = 0) -> None:
    _checked(
        _libc.mount(os.fsencode(source), os.fsencode(target), os.fsencode(filesystem), ctypes.c_ulong(flags), None)
    )


def umount(target: str, flags: int = 0) -> None:
    _checked(_libc.umount2(os.fsencode(target), flags))


def filesystem_magic(path: str) -> int:
    """`f_type` of statfs(2), which `os.statvfs` leaves out."""
    # struct statfs starts with a long f_type and has 120 bytes on 64-bit Linux.
    buffer = (ctypes.c_long * 16)()
    _checked(_libc.statfs(os.fsencode(path), buffer))
    return buffer[0]


def getsockopt(descriptor: int, level: int, option: int, value: bytearray) -> None:
    """With a question in `value`, which the answer then fills; Python's own can only receive."""
    buffer = (ctypes.c_char * len(value)).from_buffer(value)
    size = ctypes.c_uint32(len(value))
    _checked(_libc.getsockopt(descriptor, level, option, buffer, ctypes.byref(size)))


def syscall(number: int, *arguments: object) -> int:
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments))
