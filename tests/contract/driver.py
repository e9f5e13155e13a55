"""A backend driven as its agent does: `apply` when something is new, when it is due, and when it was woken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Set
from pathlib import Path

from tests.netns.conftest import Namespace
from tortie.dataplane.contract import Options, PolicyBackend, load
from tortie.intent.interface import Interface
from tortie.intent.policy import Address
from tortie.kernel.netlink import link

DEADLINE_S = 30.0


def interfaces(
    namespace: Namespace, addresses: Mapping[str, frozenset[Address]], governed: Set[str] = frozenset()
) -> dict[str, Interface]:
    """Those that a namespace has now."""
    with namespace.netlink() as sock:
        links = link.dump(sock)
    return {
        each.name: Interface(each.ifindex, addresses.get(each.name, frozenset()), each.name in governed)
        for each in links
    }


class Driver:
    """One backend of a namespace, from its start to its end."""

    def __init__(self, namespace: Namespace, name: str, folder: Path) -> None:
        self._woken = threading.Event()
        options = Options(wake=self._woken.set, xtables_lock=str(folder / "xtables.lock"))
        self._namespace = namespace
        self._seen: dict[str, Interface] = {}
        self.backend: PolicyBackend = namespace.call(lambda: load(name).make(options))
        self.see()

    def close(self) -> None:
        self.backend.close()

    def see(self, addresses: Mapping[str, frozenset[Address]] | None = None, governed: Set[str] = frozenset()) -> None:
        """Tells it of the interfaces that the namespace has now, and what else is said of them."""
        seen = interfaces(self._namespace, addresses or {}, governed)
        self.backend.observe(dict.fromkeys(self._seen.keys() - seen.keys()) | seen)
        self._seen = seen

    def pretend(self, names: Iterable[str]) -> None:
        """Tells it of interfaces that the namespace does not have."""
        self.backend.observe({name: Interface(1_000_000 + number) for number, name in enumerate(names)})

    def begin(self) -> None:
        """Lets it work as long as it does so here."""
        while self.backend.apply(time.monotonic()):
            pass

    def finish(self) -> None:
        """Waits until nothing is under way."""
        while self.backend.busy:
            assert self._woken.wait(DEADLINE_S), "the backend is busy and wakes nobody"
            self._woken.clear()
            self.begin()

    def settle(self) -> None:
        """Everything that was taken is in the kernel."""
        self.begin()
        self.finish()
        pending = [f"{each.subject}: {each.reason}" for each in self.backend.pending]
        assert not pending, "\n".join(pending)

    def resync(self) -> None:
        for _ in self.backend.resync():
            pass
        self.settle()
        assert self.backend.in_sync

    def run_until(self, is_true: Callable[[], bool]) -> float:
        """Lets time pass, as an agent with nothing to do would, and says how much until the fact was there."""
        begun = time.monotonic()
        while not is_true():
            assert time.monotonic() < begun + DEADLINE_S, "it did not come true"
            due = self.backend.next_due()
            self._woken.wait(1.0 if due is None else max(due - time.monotonic(), 0.0))
            self._woken.clear()
            self.begin()
        return time.monotonic() - begun
