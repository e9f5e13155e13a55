"""TAP devices: the interface a virtual machine's frames come out of, opened as its hypervisor would."""

from __future__ import annotations

import fcntl
import os
import struct

from tortie.kernel.failure import mapped

# include/uapi/linux/if_tun.h
_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000


def open_tap(name: str) -> int:
    """Makes or attaches to a TAP in the calling thread's network namespace and returns its descriptor.

    Each read gives one Ethernet frame, each write takes one. The device has a carrier while the descriptor is
    open and, unless `keep` was called, vanishes with it. `Busy` while another process holds it.
    """
    with mapped(f"open TAP {name}"):
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", os.fsencode(name), _IFF_TAP | _IFF_NO_PI))
        except OSError:
            os.close(descriptor)
            raise
    return descriptor


def keep(descriptor: int) -> None:
    """Lets the device live on without carrier when its descriptor is closed."""
    with mapped("keep a TAP"):
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
