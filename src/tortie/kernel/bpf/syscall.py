"""bpf(2): command numbers, the call itself, and memory that the kernel reads and writes.

Layouts are those of `union bpf_attr` (include/uapi/linux/bpf.h). The kernel takes a shorter union than its
own and reads what is missing as zero, so each command gives the fields it uses.
"""

from __future__ import annotations

import ctypes
import platform

from tortie.errors import Unsupported
from tortie.kernel import libc
from tortie.kernel.failure import mapped

_NUMBER = {"x86_64": 321, "aarch64": 280}  # __NR_bpf

MAP_CREATE = 0
MAP_LOOKUP = 1
MAP_UPDATE = 2
MAP_DELETE = 3
MAP_NEXT_KEY = 4
PROGRAM_LOAD = 5
OBJECT_PIN = 6
OBJECT_GET = 7
PROGRAM_TEST_RUN = 10
PROGRAM_BY_ID = 13
INFO_BY_FD = 15
MAP_LOOKUP_BATCH = 24
MAP_UPDATE_BATCH = 26

NAME_BYTES = 15  # BPF_OBJ_NAME_LEN without its NUL


def bpf(command: int, attributes: bytearray, doing: str) -> int:
    """One bpf(2) call. The kernel writes results into `attributes`."""
    number = _NUMBER.get(platform.machine())
    if number is None:
        raise Unsupported(f"{doing}: bpf(2) is not known on {platform.machine()}")
    size = len(attributes)
    memory = (ctypes.c_char * size).from_buffer(attributes)
    with mapped(doing):
        return libc.syscall(number, ctypes.c_int(command), memory, ctypes.c_uint(size))


def address(memory: bytearray) -> int:
    """Where the bytes lie. Valid while the caller keeps `memory` and does not resize it."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory)) if memory else 0


def object_name(name: str) -> bytes:
    """What the kernel takes as a name: letters, digits, `_` and `.`, 15 of them."""
    return name.encode("ascii", "replace")[:NAME_BYTES].ljust(NAME_BYTES + 1, b"\0")
