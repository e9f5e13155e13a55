"""What the agent may expect of a policy backend, and how it finds one: by the folder's name.

A backend takes intent, renders it, and makes the kernel equal to it. Nothing it does may hold the event loop: where the
kernel is asked by netlink, the work is done in `apply`, in bounded steps. Where programs have to be run, which takes
20 ms and more, it is done in a thread of the backend's own: `apply` hands over what is new, and takes in what became of
what was handed over before. Either way the caller does the same: it calls `apply` when something is new, when
`next_due` says so, and when it is woken.

What every backend promises is written as tests, in tests/contract, which run for each that `names` finds.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import import_module
from typing import NamedTuple, Protocol

from tortie import dataplane
from tortie.errors import UsageError
from tortie.intent.interface import Interface
from tortie.intent.policy import ObjectKey, RuleOrigin
from tortie.intent.report import Count, Noted
from tortie.intent.state import PolicyChanges
from tortie.intent.verdict import Reason


class Options(NamedTuple):
    """What a backend must know before it takes intent."""

    wake: Callable[[], object]  # called, from any thread, when `apply` has results to take in
    prefixes: tuple[str, ...] = ("cali", "tap")  # interfaces that begin so are closed until an endpoint opens them
    mark_mask: int = 0xFFFF0000  # the bits of a packet's mark that are ours; needed by iptables alone
    xtables_lock: str = "/run/xtables.lock"


class Repairs(NamedTuple):
    """How often others changed what was in force, and it was put right again."""

    times: int = 0
    # Of the last one: from the last look that found all in order to the end of the repair. So long at most something
    # may have passed that policy denies.
    open_ms: int = 0
    by: str = ""  # of the last one: who did it, as far as the kernel tells


class PolicyBackend(Protocol):
    """Enforces policy in the network namespace of the thread that made it.

    It begins with what is in force, whoever put it there, and closes nothing that the same intent keeps open.
    """

    def take(self, changes: PolicyChanges) -> None:
        """Takes what changed; nothing is written yet."""

    def observe(self, interfaces: Mapping[str, Interface | None]) -> None:
        """Takes the interfaces that came, changed or went (None), by name.

        Policy of an endpoint holds at the interface of its name, once that is told of; until then it is closed.
        """

    def exempt(self, interfaces: frozenset[str]) -> None:
        """Takes the interfaces that are the host's own, though they begin like a workload's or an endpoint names them.

        Nothing is closed there, and no policy of a workload holds.
        """

    def resync(self) -> Iterator[None]:
        """Nothing that was known of the kernel counts any more: all of it is read again before the next write.

        In steps; raises KernelError where the reading is done here, after which it is to be done again.
        """

    def apply(self, now: float) -> bool:
        """Writes what is due, then removes what is, or lets it be done; True when it is to be called again at once."""

    @property
    def busy(self) -> bool:
        """Work is under way elsewhere; `wake` is called at its end."""

    def missing(self, key: ObjectKey) -> str:
        """What an endpoint's policy still lacks in the kernel; empty when it is in force."""

    @property
    def pending(self) -> Iterator[Noted]:
        """What could not be put in force yet, with the reason."""

    @property
    def problems(self) -> Iterator[Noted]:
        """What stays open because of this host, and is waited for by nobody."""

    @property
    def writes(self) -> int:
        """Rows written or removed since the start."""

    @property
    def repairs(self) -> Repairs:
        """What others did since the start."""

    @property
    def in_sync(self) -> bool:
        """The kernel is as all that was taken wants it, as far as was seen."""

    def counts(self, policies: Collection[ObjectKey]) -> Callable[[], Mapping[RuleOrigin, Count]]:
        """A reader of what the rules of these policies and profiles have counted in the kernel: what each decided.

        Those of a direction that no endpoint asks for are absent. The reader blocks and raises KernelError; it is for
        any thread of the backend's network namespace. A rule that stays the same keeps its count, whatever becomes of
        the others, also from one agent to the next.
        """

    def next_due(self) -> float | None:
        """When `apply` has something to do by itself: a failed row to try again, or others' changes to look for."""

    def close(self) -> None:
        """Lets go of threads and sockets, after what is under way; what is in force stays so."""


class Backend(NamedTuple):
    """How a backend begins, how it ends for good, and what it dropped; all for the network namespace of the calling
    thread.
    """

    make: Callable[[Options], PolicyBackend]
    # Names what of it stands in the kernel, an object each, and brings nothing into being by looking. It blocks; raises
    # TortieError.
    traces: Callable[[Options], list[str]]
    # Takes everything of it out of the kernel, when nobody runs it any more. It blocks, and may be repeated; raises
    # TortieError when something of it stays.
    remove: Callable[[Options], None]
    # What was dropped for each reason, since the rules that count it were written. It blocks; raises KernelError.
    drops: Callable[[], Mapping[Reason, Count]]


def names() -> list[str]:
    """Every backend, in the order of their names."""
    return sorted(name for folder in _folders() for name in _backends(folder))


def load(name: str) -> Backend:
    """The backend of that name, `FOLDER` or `FOLDER-VARIANT`; imports no other one."""
    folder = name.partition("-")[0]
    if folder in _folders() and name in (found := _backends(folder)):
        return found[name]
    raise UsageError(f"there is no policy backend {name!r}; there are: {', '.join(names())}")


def _folders() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(dataplane.__path__) if module.ispkg]


def _backends(folder: str) -> Mapping[str, Backend]:
    """A folder that holds backends says so by `BACKENDS`; others hold something else."""
    found: Mapping[str, Backend] = getattr(import_module(f"{dataplane.__name__}.{folder}"), "BACKENDS", {})
    return found
