"""Real network namespaces for tests: made per test, removed at its end whatever happened."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import pytest

from tortie.errors import KernelError
from tortie.kernel import failure
from tortie.kernel import netns as kernel_netns
from tortie.kernel.netlink import link
from tortie.kernel.netlink.socket import NetlinkSocket

Result = TypeVar("Result")


class Namespace:
    """A network namespace of a test; its loopback is up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = kernel_netns.create(name)
        with self.netlink() as sock:
            link.change(sock, link.get(sock, "lo").ifindex, up=True)

    def run(self, command: str, check: bool = True) -> str:
        """Runs a command line inside and returns what it printed; a failure shows its words."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, "sh", "-c", command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"{self.name}: {command}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def call(self, function: Callable[[], Result]) -> Result:
        """Runs a Python function inside."""
        return kernel_netns.run_in(self.path, function)

    def netlink(self) -> NetlinkSocket:
        return NetlinkSocket.open_in(self.path)


NetnsFactory = Callable[[str], Namespace]


@pytest.fixture
def netns() -> Iterator[NetnsFactory]:
    """`netns("a")` makes a namespace tt-<random>-a."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    tag = secrets.token_hex(3)
    names: list[str] = []

    def make(label: str) -> Namespace:
        names.append(f"tt-{tag}-{label}")
        return Namespace(names[-1])

    yield make
    for name in names:
        kernel_netns.delete(name)


class Recording(dict[int, type[KernelError]]):
    """The mapping of errnos, noting those that it lacks."""

    def __init__(self, mapping: Mapping[int, type[KernelError]]) -> None:
        super().__init__(mapping)
        self.missing: set[int] = set()

    def get(self, number: int, default: type[KernelError]) -> type[KernelError]:  # type: ignore[override]  # as called
        if number not in self:
            self.missing.add(number)
        return super().get(number, default)


@pytest.fixture(autouse=True)
def every_errno_is_filed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test in which the kernel gave an errno that `failure.CLASS_OF_ERRNO` does not list."""
    recording = Recording(failure.CLASS_OF_ERRNO)
    monkeypatch.setattr(failure, "CLASS_OF_ERRNO", recording)
    yield
    names = [f"{number} ({os.strerror(number)})" for number in sorted(recording.missing)]
    assert not names, f"errnos without a class in tortie.kernel.failure: {names}"
