"""What this host has, what is to be done to make it fit, and doing it.

Invariants:
* Nothing is done that was not told before, and a second time there is nothing to do.
* Only the host's own network namespace is prepared: files of the system are none of a lab's host, nor of a container's.
* sysctls are written to files, and set by the agent alone; but what they were before is recorded here, since after the
  next boot nobody knows.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path

from tortie.bootstrap import Bootstrap
from tortie.dataplane.l3.facts import Facts
from tortie.dataplane.l3.governed import GOVERNED, Governed
from tortie.dataplane.l3.host import HostSettings
from tortie.dataplane.l3.originals import RECORD, Originals
from tortie.dataplane.l3.rows import Kind
from tortie.doctor import networkd, networkmanager, udev
from tortie.doctor.host import Host
from tortie.errors import KernelError, TortieError
from tortie.host import checksystem
from tortie.host.preparation import own_file
from tortie.host.preparation.own_file import State
from tortie.host.preparation.wanted import PATHS, Service, Wanted, wanted
from tortie.kernel import sysctl
from tortie.kernel.netlink.socket import NetlinkSocket
from tortie.kernel.netns import identify
from tortie.kernel.run import run_blocking

RELOAD_S = 60.0
_PROGRAMS = {
    Service.NETWORKD: (networkd.PROCESS, ("usr/lib/systemd/systemd-networkd", "lib/systemd/systemd-networkd")),
    Service.UDEV: (udev.PROCESSES[0], ("usr/lib/systemd/systemd-udevd", "lib/systemd/systemd-udevd", "sbin/udevd")),
    Service.NETWORK_MANAGER: (networkmanager.PROCESS, ("usr/sbin/NetworkManager", "usr/bin/NetworkManager")),
}
# Program -> its package, by the family of distributions that `ID` or `ID_LIKE` of /etc/os-release names.
_PACKAGES = {
    "debian": ("apt install", {"bird": "bird2", "ip": "iproute2", "nft": "nftables"}),
    "fedora": ("dnf install", {"bird": "bird", "ip": "iproute", "nft": "nftables"}),
}


class Preparation:
    """For the files below `root`, and the network namespace of the calling thread."""

    def __init__(self, settings: Bootstrap, root: Path = Path("/")) -> None:
        self._settings = settings
        self._root = root
        self._host = Host(settings, root=root)
        self._sysctls = _sysctls(Path(settings.state_dir))
        self._todo: list[Wanted] = []
        self._left_alone: list[tuple[Wanted, State]] = []
        for each in wanted(frozenset(filter(self._is_installed, Service)), self._sysctls):
            self._sort(each)

    @staticmethod
    def is_for_this_namespace() -> bool:
        """The network namespace is the host's own. Where process 1 may not be looked at nobody knows: it is not."""
        try:
            return identify("/proc/1/ns/net") == identify("/proc/thread-self/ns/net")
        except KernelError:
            return False

    def missing(self) -> Iterator[str]:
        """What the host lacks, and nothing here can give it."""
        for heading, found in checksystem.checks(root=self._root):
            for check in found:
                if check.result == "FAIL":
                    yield f"{heading}: {check.what}{f' ({check.remark})' if check.remark else ''}"
        command, packages = self._packages()
        lacking = [package for program, package in packages.items() if shutil.which(program) is None]
        if lacking:
            yield f"packages: {' '.join(lacking)}" + (f": {command} {' '.join(lacking)}" if command else "")

    def left_alone(self) -> Iterator[str]:
        """Files that are not ours to write, though they should say something."""
        for each, state in self._left_alone:
            yield f"{each.path} was {state.value}, and is left alone: {each.why} if it says\n{_indented(each.body)}"

    def steps(self) -> Iterator[str]:
        """What is to be done, a step each, with what changes in which file; nothing when all is done."""
        for each in self._todo:
            path = self._at(each.path)
            before = path.read_text().splitlines() if path.exists() else []
            after = own_file.marked(each.body).splitlines()
            changes = list(unified_diff(before, after, n=0, lineterm=""))[2:]
            lines = _indented("\n".join(line for line in changes if not line.startswith("@@")))
            yield f"write {each.path}: {each.why}\n{lines}"
        for service in self._reloads():
            yield f"run {' '.join(service.value)}"

    def do(self) -> Iterator[str]:
        """Does it, and yields what failed."""
        for each in self._todo:
            try:
                own_file.write(self._at(each.path), each.body)
            except OSError as error:
                yield f"{each.path} cannot be written: {error.strerror}"
        self._record()
        for service in self._reloads():
            try:
                run_blocking(service.value, RELOAD_S)
            except TortieError as error:
                yield str(error)

    def _sort(self, each: Wanted) -> None:
        path = self._at(each.path)
        state = own_file.state_of(path)
        if state in (State.FOREIGN, State.EDITED):
            self._left_alone.append((each, state))
        elif state is State.MISSING or path.read_text() != own_file.marked(each.body):
            self._todo.append(each)

    def _record(self) -> None:
        """What the agent will find as it wants it after a boot; where it is so now, an agent has recorded it."""
        record = Originals(Path(self._settings.state_dir, RECORD))
        for path, value in self._sysctls.items():
            if (before := sysctl.read(path)) != value:
                for each in sysctl.written_with(path):
                    record.record(each, sysctl.read(each))
                record.record(path, before)

    def _reloads(self) -> list[Service]:
        """Only of what runs: what is started later reads the files then."""
        told = {each.service for each in self._todo}
        return [service for service in Service if service in told and any(self._host.named(_PROGRAMS[service][0]))]

    def _is_installed(self, service: Service) -> bool:
        process, programs = _PROGRAMS[service]
        return any(self._host.named(process)) or any((self._root / each).exists() for each in programs)

    def _packages(self) -> tuple[str, dict[str, str]]:
        try:
            release = (self._root / "etc/os-release").read_text(errors="replace")
        except OSError:
            release = ""
        words = {word for line in release.splitlines() if line.startswith("ID") for word in line.split("=")[1].split()}
        named = {word.strip('"') for word in words}
        return next((known for family, known in _PACKAGES.items() if family in named), ("", {"bird": "BIRD 2"}))

    def _at(self, path: Path) -> Path:
        return self._root / path.relative_to("/")


def find(root: Path = Path("/")) -> list[str]:
    """The files that a preparation wrote, for a reset."""
    said = {State.OURS: "", State.EDITED: f", edited: kept as {{}}{own_file.EDITED_SUFFIX}"}
    found = [(path, own_file.state_of(root / path.relative_to("/"))) for path in PATHS]
    return [f"{path}{said[state].format(path)}" for path, state in found if state in said]


def remove(root: Path = Path("/")) -> None:
    """Nobody is told: what reads them would act on what it finds now, and routes of others are in its way."""
    for path in PATHS:
        own_file.remove(root / path.relative_to("/"))


def _sysctls(state_dir: Path) -> dict[str, str]:
    """What the agent sets for the host as a whole, in that order."""
    with NetlinkSocket() as sock:
        facts = Facts(sock, Path("/proc/sys/net/ipv6").exists(), Governed(state_dir / GOVERNED))
        for _ in facts.resync():
            continue
        rows = HostSettings().rows(facts)
    return {str(key.key): str(value) for key, value in rows.items() if key.table is Kind.SYSCTL}


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
