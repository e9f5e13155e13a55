"""The interfaces that were found fit for workloads, by index: they stay governed until they leave the kernel.

A file in the state directory tells the next agent. Its first line names the boot and the network namespace that the
indexes are of, since they begin anew in any other; then comes a line for each that was governed, `N`, and that left the
kernel, `-N`. It grows by what changes, and is replaced as a whole by one without the past when it has doubled. What it
cannot tell an agent is judged anew, as on a host that never had one.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path

import structlog

from tortie.intent.report import Noted
from tortie.kernel import netns

LOG = structlog.get_logger(__name__)

GOVERNED = "governed-interfaces"  # the file's name

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = "/proc/thread-self/ns/net"
_SLACK = 4096  # lines of the past that may stand before a rewrite is worth it


class Governed:
    """Of the network namespace that it is made in."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._of = f"{_BOOT_ID.read_text().strip()} {':'.join(map(str, netns.identify(_NAMESPACE)))}"
        self._indexes = self._load()
        self._news: list[int] = []  # since the last `save`; negative: it is gone
        self._lines = -1  # of the file; negative: it is to be written as a whole
        self.problem: Noted | None = None

    @property
    def indexes(self) -> AbstractSet[int]:
        return self._indexes

    def __contains__(self, ifindex: int) -> bool:
        return ifindex in self._indexes

    def add(self, ifindex: int) -> None:
        """Not remembered before `save`."""
        if ifindex not in self._indexes:
            self._indexes.add(ifindex)
            self._news.append(ifindex)

    def discard(self, ifindex: int) -> None:
        if ifindex in self._indexes:
            self._indexes.discard(ifindex)
            self._news.append(-ifindex)

    def keep(self, there: AbstractSet[int]) -> None:
        """Forgets those that left the kernel."""
        for ifindex in self._indexes - there:
            self.discard(ifindex)

    def save(self) -> None:
        """Writes what changed. What cannot be written is tried again by the next."""
        if not self._news:
            return
        grown = self._lines + len(self._news)
        try:
            if self._lines < 0 or grown > 2 * len(self._indexes) + _SLACK:
                self._rewrite()
            else:
                with self._file.open("a") as file:
                    file.write("".join(f"{each}\n" for each in self._news))
                self._lines = grown
        except OSError as error:
            self._lines = -1  # a part may be written
            reason = f"which interfaces are workloads' is not remembered, and judged anew by the next agent: {error}"
            self.problem = Noted(subject=str(self._file), reason=reason)
            return
        self._news.clear()
        self.problem = None

    def _rewrite(self) -> None:
        staged = self._file.with_name(f"{self._file.name}.new")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text("".join(f"{line}\n" for line in (self._of, *sorted(self._indexes))))
        staged.replace(self._file)
        self._lines = len(self._indexes)

    def _load(self) -> set[int]:
        found: set[int] = set()
        try:
            # A line that a crash cut short has no end, and is dropped.
            of, *lines = self._file.read_text().split("\n")[:-1] or [""]
            for index in map(int, lines if of == self._of else ()):
                (found.add if index > 0 else found.discard)(abs(index))
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            LOG.warning("record of governed interfaces is unusable", file=str(self._file), reason=str(error))
            return set()
        return found
