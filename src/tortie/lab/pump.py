"""The wire between a TAP on a host and the TAP that is a workload's `eth0`: every frame read here is written there.

It stands in for the virtual machine that would hold the host's TAP: while it runs the TAP has a carrier, when it
ends the carrier is gone. One process per workload:

    python -m tortie.lab.pump HOST-NAMESPACE TAP WORKLOAD-NAMESPACE INTERFACE
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import sys

from tortie.kernel.netns import named, run_in

# include/uapi/linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000

# Without a virtio header the kernel hands over frames of at most the MTU, which is at most 65535 bytes.
FRAME_BYTES = 65535 + 18
# Frames moved per wake-up and direction, so that a flood one way does not silence the other.
BURST = 64


def command(namespace: str, tap: str, workload_namespace: str, interface: str) -> list[str]:
    """The command line of a pump."""
    return [sys.executable, "-m", "tortie.lab.pump", namespace, tap, workload_namespace, interface]


def open_tap(namespace: str, interface: str) -> int:
    """The descriptor of a TAP; a persistent one is joined, otherwise it is made and lives as long as this."""

    def attach() -> int:
        # The device belongs to the namespace in which /dev/net/tun was opened.
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            request = struct.pack("16sH22x", interface.encode(), IFF_TAP | IFF_NO_PI)
            fcntl.ioctl(descriptor, TUNSETIFF, request)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    return run_in(named(namespace), attach)


def pump(near: int, far: int) -> None:
    """Moves frames both ways until one of the TAPs is deleted."""
    other = {near: far, far: near}
    poll = select.poll()
    for descriptor in other:
        poll.register(descriptor, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if not _move(descriptor, other[descriptor]):
                return


def _move(source: int, target: int) -> bool:
    """False when a TAP is gone for good."""
    for _ in range(BURST):
        try:
            frame = os.read(source, FRAME_BYTES)
            os.write(target, frame)
        except BlockingIOError:
            return True
        except OSError as error:
            # EIO: the receiving interface is down, so its wire is cut. EBADFD: the interface was deleted.
            if error.errno != errno.EIO:
                return False
    return True


def main() -> None:
    host_namespace, tap, workload_namespace, interface = sys.argv[1:]
    pump(open_tap(host_namespace, tap), open_tap(workload_namespace, interface))


if __name__ == "__main__":
    main()
