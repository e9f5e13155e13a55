"""Network namespaces: a function run inside one, named ones made and removed as `ip netns` does, identity.

A namespace is entered by a thread of its own that ends with the function: a thread never has to be moved
back, so a failure half way cannot leave the process in the wrong namespace.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from tortie.errors import KernelError
from tortie.kernel import libc
from tortie.kernel.failure import mapped

Result = TypeVar("Result")

NAMED = Path("/run/netns")


class NamespaceId(NamedTuple):
    """What tells two living namespaces apart: the nsfs inode behind every path and descriptor."""

    device: int
    inode: int


def named(name: str) -> str:
    """The path of a namespace made by `create` or `ip netns add`."""
    return str(NAMED / name)


def run_in(netns_path: str, function: Callable[[], Result]) -> Result:
    """Runs `function` in that network namespace and returns its result or raises its exception.

    Files of /proc/sys/net, sockets and devices are those of the namespace. `Gone` if there is no such path.
    """

    def enter() -> None:
        with mapped(f"enter network namespace {netns_path}"):
            descriptor = os.open(netns_path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                libc.setns(descriptor, libc.CLONE_NEWNET)
            finally:
                os.close(descriptor)

    return _run_in_thread(enter, function)


def run_in_new(function: Callable[[], Result]) -> Result:
    """Runs `function` in a fresh network namespace, which vanishes with the last thing that refers to it."""

    def enter() -> None:
        with mapped("make a network namespace"):
            libc.unshare(libc.CLONE_NEWNET)

    return _run_in_thread(enter, function)


def identify(namespace: str | int) -> NamespaceId:
    """The identity of the namespace of a path or an open descriptor."""
    with mapped(f"look at network namespace {namespace}"):
        status = os.stat(namespace)  # noqa: PTH116 (a descriptor has no Path)
    return NamespaceId(status.st_dev, status.st_ino)


def known() -> Iterator[str]:
    """A path of each network namespace that has a name or a process, as far as this user may see; blocking."""
    seen: set[NamespaceId] = set()
    for path in (*NAMED.glob("*"), *Path("/proc").glob("[0-9]*/ns/net")):
        try:
            identity = identify(str(path))
        except KernelError:
            continue  # it ended, or belongs to somebody else
        if identity not in seen:
            seen.add(identity)
            yield str(path)


def create(name: str) -> str:
    """Makes a named namespace and returns its path; `Exists` if there is one. Its loopback is down."""
    path = NAMED / name
    with mapped(f"create network namespace {name}"):
        NAMED.mkdir(mode=0o755, parents=True, exist_ok=True)
        _share_mounts()
        path.touch(mode=0o444, exist_ok=False)
        try:
            run_in_new(lambda: libc.mount("/proc/thread-self/ns/net", str(path), "none", libc.MS_BIND))
        except (OSError, KernelError):
            path.unlink()
            raise
    return str(path)


def delete(name: str) -> None:
    """Removes a named namespace; one that is not there is no error.

    Its devices go when the last process, socket or descriptor inside is gone.
    """
    path = NAMED / name
    with mapped(f"delete network namespace {name}"):
        if not path.exists():
            return
        try:
            libc.umount(str(path), libc.MNT_DETACH)
        except OSError as error:
            # Nothing is mounted: a crash between the two steps of `create` left just the file.
            if error.errno != errno.EINVAL:
                raise
        path.unlink(missing_ok=True)


def _share_mounts() -> None:
    # As iproute2, and under its lock: namespaces made here must appear, and be removable, in the mount namespaces of
    # others. Two processes that did this at once would stack two mounts, and the lower keep what is deleted above.
    lock = os.open(NAMED, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            libc.mount("", str(NAMED), "none", libc.MS_SHARED | libc.MS_REC)
        except OSError:
            libc.mount(str(NAMED), str(NAMED), "none", libc.MS_BIND | libc.MS_REC)
            libc.mount("", str(NAMED), "none", libc.MS_SHARED | libc.MS_REC)
    finally:
        os.close(lock)


def _run_in_thread(enter: Callable[[], None], function: Callable[[], Result]) -> Result:
    results: list[Result] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            enter()
            results.append(function())
        except BaseException as error:  # handed to the caller's thread, whatever it is
            errors.append(error)

    thread = threading.Thread(target=body, name="netns", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
