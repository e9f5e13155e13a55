"""What checks look at. What several of them need is read once, when the first asks for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from tortie.bootstrap import Bootstrap
from tortie.doctor import network, processes
from tortie.doctor.network import Network
from tortie.doctor.processes import Process
from tortie.errors import KernelError
from tortie.kernel import sysctl


class Host:
    """The network namespace of the calling thread, and the files below `root`.

    Without `settings` the usual ones are meant, and `fault` says why; `oddities` are what was odd about their sources.
    """

    def __init__(
        self,
        settings: Bootstrap | None = None,
        *,
        fault: str = "",
        oddities: Sequence[str] = (),
        root: Path = Path("/"),
    ) -> None:
        self.settings = settings or Bootstrap()
        self.fault = fault
        self.oddities = oddities
        self.root = root
        self._lock = threading.Lock()

    @property
    def network(self) -> Network:
        with self._lock:
            return self._network

    @property
    def processes(self) -> tuple[Process, ...]:
        """Those that are in this network namespace, or may be."""
        return tuple(process for process in self.all_processes if process.here is not False)

    @property
    def all_processes(self) -> tuple[Process, ...]:
        with self._lock:
            return self._processes

    def named(self, *names: str) -> Iterator[Process]:
        """The processes that the kernel calls so."""
        return (process for process in self.processes if process.name in names)

    def number(self, setting: str) -> int | None:
        """A sysctl below net; None where there is none."""
        try:
            return int(sysctl.read(setting))
        except (KernelError, ValueError):
            return None

    @cached_property
    def _network(self) -> Network:
        return network.read()

    @cached_property
    def _processes(self) -> tuple[Process, ...]:
        return processes.read()
