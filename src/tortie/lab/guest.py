"""A workload that is a whole virtual machine: QEMU, without KVM, on the host's TAP.

The guest's kernel is Debian's for clouds; `fetch_kernel` keeps a copy of what is needed of it, nothing is
installed. A command inside the guest travels over its second serial line (see `initramfs`).
"""

from __future__ import annotations

import asyncio
import fcntl
import secrets
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from tortie.lab import initramfs
from tortie.lab.fabric import guest_commands
from tortie.lab.layout import Layout
from tortie.lab.process import LabError, Mark, alive, end, ended, inside, start, wait_until
from tortie.lab.topology import Workload

CACHE = Path("/var/cache/tortie-lab/guest")
KERNEL_PACKAGE = "linux-image-cloud-amd64"  # depends on the package of the current version
BUSYBOX = Path("/bin/busybox")
QEMU = "qemu-system-x86_64"

# Emulated, a guest is up after 2-6 s. One was once silent for 90 s, and the next one was not: of 750 started one after
# another to find the reason, all came up within 4 s.
BOOT_TIMEOUT_S = 40.0
BOOTS = 3
MEMORY_MIB = 128


class Output(NamedTuple):
    code: int
    text: str


def missing() -> str:
    """What has to be done before a guest can run here; empty when nothing has."""
    if not (shutil.which(QEMU) and BUSYBOX.exists()):
        return "QEMU guests need: apt-get install --no-install-recommends qemu-system-x86 busybox-static"
    if not has_kernel():
        return "QEMU guests need a kernel: tortie lab fetch-kernel"
    return ""


def has_kernel() -> bool:
    return all((CACHE / name).exists() for name in ("vmlinuz", *(Path(path).name for path in initramfs.MODULES)))


def fetch_kernel() -> str:
    """Downloads Debian's kernel package and keeps the kernel and the modules used; returns the kernel's release."""
    depends = _output(["apt-cache", "depends", KERNEL_PACKAGE])
    names = [word for word in depends.split() if word.startswith("linux-image-")]
    if len(names) < 2:  # the first is the package itself
        raise LabError(f"apt knows no package {KERNEL_PACKAGE}: run apt-get update on a Debian machine")
    release = names[1].removeprefix("linux-image-")
    wanted = {f"./boot/vmlinuz-{release}": "vmlinuz"}
    wanted |= {f"./lib/modules/{release}/kernel/{path}": Path(path).name for path in initramfs.MODULES}
    with tempfile.TemporaryDirectory(prefix="tortie-kernel-") as directory:
        _output(["apt-get", "-o", "APT::Sandbox::User=root", "download", names[1]], directory)
        (package,) = Path(directory).glob("*.deb")
        contents = Path(directory, "contents.tar")
        _output(["sh", "-c", 'dpkg-deb --fsys-tarfile "$0" >"$1"', str(package), str(contents)])
        _keep(contents, wanted)
    return release


def _output(argv: Sequence[str], directory: str | None = None) -> str:
    result = subprocess.run(argv, cwd=directory, capture_output=True, text=True, check=False)
    if result.returncode:
        raise LabError(f"{shlex.join(argv)}: {result.stderr.strip() or f'exit code {result.returncode}'}")
    return result.stdout


def _keep(archive: Path, wanted: dict[str, str]) -> None:
    new = CACHE.with_name(f"{CACHE.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        for path, name in wanted.items():
            content = tar.extractfile(path)
            if content is None:
                raise LabError(f"the kernel package holds no {path}")
            (new / name).write_bytes(content.read())
    shutil.rmtree(CACHE, ignore_errors=True)
    new.rename(CACHE)


def shell_socket(layout: Layout, workload: str) -> Path:
    return layout.member(workload).directory / "shell.sock"


async def boot(layout: Layout, workload: Workload) -> None:
    """Starts the guest and returns when it takes commands; its TAP has a carrier long before."""
    files = layout.member(workload.name)
    console = files.log("console")
    command = _command(layout, workload, console)
    mark = Mark(layout.lab, workload.name, "qemu")

    def ready() -> bool:
        return initramfs.READY in console.read_text(errors="replace")

    for _ in range(BOOTS):
        console.write_text("")
        process = await start(inside(layout.namespace(workload.host), *command), mark, files.log("qemu"))
        await wait_until(lambda: ready() or not alive(process), BOOT_TIMEOUT_S)  # noqa: B023 - called before the next
        if not alive(process):
            raise ended(mark, files.log("qemu"))
        if ready():
            return
        end(process)
    tail = "\n".join(console.read_text(errors="replace").splitlines()[-10:])
    silence = f"the guest did not come up within {BOOT_TIMEOUT_S:g} s, {BOOTS} times"
    raise LabError(f"{workload.name}: {silence}; {console} ends:\n{tail}")


def _command(layout: Layout, workload: Workload, console: Path) -> list[str]:
    """The command line of the guest's QEMU; writes the files that it names."""
    assert workload.tap is not None
    modules = {path.name: path.read_bytes() for path in CACHE.glob("*.ko")}
    image = layout.member(workload.name).directory / "initramfs"
    image.write_bytes(initramfs.build(BUSYBOX.read_bytes(), modules, guest_commands(workload)))
    tap = f"tap,id=net0,ifname={workload.tap.interface},script=no,downscript=no"
    return [
        *(QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-accel", "tcg", "-machine", "q35", "-cpu", "max", "-m", str(MEMORY_MIB)),
        *("-kernel", str(CACHE / "vmlinuz"), "-initrd", str(image), "-append", "console=ttyS0 panic=-1"),
        *("-serial", f"file:{console}", "-serial", f"unix:{shell_socket(layout, workload.name)},server,nowait"),
        *("-netdev", tap, "-device", f"virtio-net-pci,netdev=net0,mac={workload.mac},romfile="),
    ]


async def run_in_guest(layout: Layout, workload: str, argv: Sequence[str], timeout_s: float = 60) -> Output:
    """Runs a command in the guest; one at a time, a second one waits for its turn."""
    path = shell_socket(layout, workload)
    try:
        async with asyncio.timeout(timeout_s):
            # QEMU talks to one client, and a queue on its socket would not hold many.
            with path.with_suffix(".lock").open("w") as lock:
                await wait_until(lambda: _locks(lock), timeout_s)
                return await _ask(path, argv)
    except TimeoutError:
        raise LabError(f"{workload}: {shlex.join(argv)}: no end after {timeout_s:g} s") from None
    except (OSError, asyncio.IncompleteReadError) as error:
        raise LabError(f"{workload}: the guest does not answer on {path}: {error}") from None


async def _ask(path: Path, argv: Sequence[str]) -> Output:
    token = secrets.token_hex(8)
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(f"{token} {shlex.join(argv)}\n".encode())
        # What an earlier client left unread is not ours: the answer ends with our own token.
        answer = await reader.readuntil(f"\n{token} ".encode())
        code = int(await reader.readline())
    finally:
        writer.close()
        await writer.wait_closed()
    return Output(code, answer.decode(errors="replace").rpartition("\n" + token)[0])


def _locks(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
