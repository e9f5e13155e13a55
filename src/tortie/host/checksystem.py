"""Whether this host can do what tortie needs: one line for each need, ending in OK, FAIL or SKIP.

FAIL is for what tortie cannot do without, SKIP for what only some of it needs: what goes missing then is said. Nothing
is loaded or changed: a module that the kernel could load counts as there.
"""

from __future__ import annotations

import os
import platform
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from tortie.kernel import modules
from tortie.kernel.modules import lines

MEETS = "System meets minimum system requirements to run Calico!"
FAILS = "System does not meet the minimum system requirements to run Calico."

OLDEST_KERNEL = (5, 10)
OLDEST_PYTHON = (3, 11)
OLDEST_BIRD = 2

Result = Literal["OK", "FAIL", "SKIP"]

_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12  # include/uapi/linux/netlink.h
_BIRD_VERSION = re.compile(r"BIRD version ([0-9]+)\.")


class Check(NamedTuple):
    """One need and what became of it."""

    what: str
    result: Result
    remark: str = ""

    def __str__(self) -> str:
        shown = f"{self.what} ({self.remark})" if self.remark else self.what
        return f"\t{shown:<70} {self.result}"


def checks(kernel_config: Path | None = None, root: Path = Path("/")) -> Iterator[tuple[str, list[Check]]]:
    """All checks in groups, each with its heading. `root` is where `proc`, `sys`, `lib` and `boot` are."""
    release = platform.release()
    yield "kernel version", [_version("", release, OLDEST_KERNEL)]
    yield "kernel modules", list(_modules(modules.known(root, release, kernel_config)))
    yield "kernel features", list(_features(root))
    yield "forwarding", list(_forwarding(root))
    yield "programs", [_version("Python", platform.python_version(), OLDEST_PYTHON), _bird(), *_tools()]


def main(kernel_config: Path | None = None) -> int:
    """Prints the checks and what follows; the exit code."""
    failed = False
    for heading, found in checks(kernel_config):
        print(f"Checking {heading}...")
        for check in found:
            print(check)
            failed = failed or check.result == "FAIL"
    print(FAILS if failed else MEETS)
    return 1 if failed else 0


def _modules(known: frozenset[str]) -> Iterator[Check]:
    for name, option, without in (*modules.USED, *modules.USED_BY_IPTABLES):
        yield Check(name, "OK") if name in known else Check(name, "SKIP", f"{option}: {without}")


def _features(root: Path) -> Iterator[Check]:
    yield _socket("routing netlink", socket.AF_NETLINK, _NETLINK_ROUTE)
    yield _socket("netfilter netlink", socket.AF_NETLINK, _NETLINK_NETFILTER, "no policy")
    yield _socket("packet sockets", socket.AF_PACKET, 0, "no captures")
    yield _present("network namespaces", root / "proc/self/ns/net")
    yield _present("IPv6", root / "proc/sys/net/ipv6", "IPv4 alone")
    mounts = [line.split(" ") for line in lines(root / "proc/self/mounts")]
    has_bpf = any(len(mount) > 2 and mount[2] == "bpf" for mount in mounts)
    yield Check("bpf file system", "OK") if has_bpf else Check("bpf file system", "SKIP", "mount it on /sys/fs/bpf")


def _forwarding(root: Path) -> Iterator[Check]:
    for family, path in (("IPv4", "ipv4/ip_forward"), ("IPv6", "ipv6/conf/all/forwarding")):
        found = lines(root / "proc/sys/net" / path)
        if not found:
            yield Check(f"{family} forwarding", "FAIL" if family == "IPv4" else "SKIP", "unknown to the kernel")
        else:
            yield Check(f"{family} forwarding", "OK", "" if found[0] != "0" else "off until the agent runs")


def _bird() -> Check:
    try:
        done = subprocess.run(["bird", "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("BIRD", "FAIL", f"bird cannot be run: {error}")
    said = (done.stderr + done.stdout).strip()
    version = _BIRD_VERSION.search(said)
    if version is None or int(version[1]) < OLDEST_BIRD:
        return Check(said.partition("\n")[0] or "BIRD", "FAIL", f"must be version {OLDEST_BIRD} or later")
    return Check(said.partition("\n")[0], "OK")


def _tools() -> Iterator[Check]:
    for program, without in (
        ("ip", "less in `tortie node diags`"),
        ("nft", "less in `tortie node diags`"),
        ("iptables-restore", "no policy by iptables"),
        ("ipset", "no policy by iptables"),
    ):
        found = any(os.access(Path(folder) / program, os.X_OK) for folder in os.get_exec_path())
        yield Check(program, "OK") if found else Check(program, "SKIP", without)


def _version(what: str, version: str, oldest: tuple[int, int]) -> Check:
    numbers = tuple(int(part) for part in re.findall("[0-9]+", version)[:2])
    shown = f"{what} {version}".strip()
    return (
        Check(shown, "OK") if numbers >= oldest else Check(shown, "FAIL", f"must be {oldest[0]}.{oldest[1]} or later")
    )


def _socket(what: str, family: int, protocol: int, without: str = "") -> Check:
    try:
        socket.socket(family, socket.SOCK_RAW, protocol).close()
    except OSError as error:
        return Check(what, "SKIP" if without else "FAIL", f"{error.strerror}{f': {without}' if without else ''}")
    return Check(what, "OK")


def _present(what: str, path: Path, without: str = "") -> Check:
    if path.exists():
        return Check(what, "OK")
    return Check(what, "SKIP" if without else "FAIL", without or f"no {path}")
