"""The root file system of a QEMU guest: busybox, the modules of a virtio network card and one script.

The script brings `eth0` up as it is told, says READY on the first serial line and then runs commands that come
over the second one: a line `<token> <shell command>` is answered by the output and a line `<token> <exit code>`.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping

READY = "tortie guest is ready"

# In the order of their dependencies, under /lib/modules/<release>/kernel.
MODULES = (
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "net/core/failover.ko",
    "drivers/net/net_failover.ko",
    "drivers/net/virtio_net.ko",
)

_INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
# The guest's address is its own by decree; detecting duplicates would only delay its first packet.
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
for module in {modules}; do insmod /modules/$module; done
ip link set lo up
{network}
stty -F /dev/ttyS1 raw -echo
while true; do
    {{
        # Not before the line is open: what arrives earlier is lost.
        echo '{ready}' >/dev/ttyS0
        while read -r token command; do
            sh -c "$command" </dev/null 2>&1
            code=$?
            echo; echo "$token $code"
        done
    }} </dev/ttyS1 >/dev/ttyS1
done
"""

_DIRECTORY = 0o040755
_EXECUTABLE = 0o100755


def build(busybox: bytes, modules: Mapping[str, bytes], network: Iterable[str]) -> bytes:
    """A gzipped initramfs. `modules` are the files of MODULES by name, `network` the arguments of `ip` commands."""
    # busybox's ip guesses no family.
    lines = [f"ip {'-6 ' if ':' in line else ''}{line.removesuffix(' nodad')}" for line in network]
    names = [path.rpartition("/")[2] for path in MODULES]
    script = _INIT.format(modules=" ".join(names), network="\n".join(lines), ready=READY)
    entries: list[tuple[str, int, bytes]] = [
        (name, _DIRECTORY, b"") for name in ("bin", "dev", "modules", "proc", "sys")
    ]
    entries.append(("bin/busybox", _EXECUTABLE, busybox))
    entries += [(f"modules/{name}", _EXECUTABLE, modules[name]) for name in names]
    entries.append(("init", _EXECUTABLE, script.encode()))
    entries.append(("TRAILER!!!", 0, b""))
    archive = b"".join(_entry(number, *entry) for number, entry in enumerate(entries, 1))
    return gzip.compress(archive, compresslevel=1)


def _entry(number: int, name: str, mode: int, content: bytes) -> bytes:
    """A file in cpio's "newc" form (Linux: Documentation/driver-api/early-userspace/buffer-format.rst)."""
    encoded = name.encode() + b"\0"
    links = 1
    fields = (number, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields)
    return _padded(header + encoded) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
