"""The backend as the agent has it: all work in one thread, what is new in, and a view of how things stand out.

The sink belongs to the thread. Nothing that the caller may still change goes there, and nothing that the thread changes
comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from math import inf

import msgspec

from tortie.dataplane.contract import Repairs
from tortie.dataplane.iptables.sink import Facts, IptablesSink, View
from tortie.intent.interface import Interface
from tortie.intent.policy import AddressSet, ObjectKey, Policy, PortSet, RuleOrigin
from tortie.intent.report import Count, Noted
from tortie.intent.state import PolicyChanges


class IptablesBackend:
    """The policy backend."""

    def __init__(
        self,
        open_sink: Callable[[], IptablesSink],
        close_sink: Callable[[], None],
        count: Callable[[list[tuple[Policy, str]]], Mapping[RuleOrigin, Count]],
        wake: Callable[[], object],
        prefixes: tuple[str, ...],
    ) -> None:
        # Made at once, since a thread is born into the namespaces of the thread that starts it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="iptables")
        self._sink = self._thread.submit(open_sink).result()
        self._close_sink = close_sink
        self._count = count
        self._wake = wake
        self._prefixes = prefixes
        self._work: Future[View] | None = None
        self._view = View({}, (), (), 0, Repairs(), False, inf)
        self._new: list[PolicyChanges] = []
        self._facts = Facts()
        self._observed = False  # since the last work began
        self._reread = False
        self._carries = False  # whether the work under way was told anything
        self._interfaces: dict[ObjectKey, str] = {}  # of the endpoints that have a policy
        self._there: dict[str, Interface] = {}  # of this host
        self._queued: set[ObjectKey] = set()  # endpoints that were named since the last work began
        self._at_work: set[ObjectKey] = set()  # and those that it is about

    def take(self, changes: PolicyChanges) -> None:
        self._new.append(msgspec.structs.replace(changes, new_sets=tuple(map(_copy, changes.new_sets))))
        for key, workload in changes.workloads.items():
            if workload is None:
                self._interfaces.pop(key, None)
            else:
                self._interfaces[key] = workload.interface
            self._queued.add(key)

    def observe(self, interfaces: Mapping[str, Interface | None]) -> None:
        for name, found in interfaces.items():
            self._there.pop(name, None)
            if found is not None:
                self._there[name] = found
        self._learn(self._facts.exempt)

    def exempt(self, interfaces: frozenset[str]) -> None:
        changed = interfaces ^ self._facts.exempt
        self._queued.update(key for key, interface in self._interfaces.items() if interface in changed)
        self._learn(interfaces)

    def _learn(self, exempt: frozenset[str]) -> None:
        """Of interfaces that are workloads' by their names nothing more is asked."""
        asked = {
            name: found for name, found in self._there.items() if name in exempt or not name.startswith(self._prefixes)
        }
        facts = Facts(asked, exempt)
        if facts != self._facts:
            self._facts = facts
            self._observed = True

    def resync(self) -> Iterator[None]:
        self._reread = True
        return iter(())

    def apply(self, now: float) -> bool:
        """Never works here, so there is never more of it to be done at once."""
        if self._work is not None:
            if not self._work.done():
                return False
            self._view = self._work.result()
            self._work = None
            self._carries = False
            self._at_work = set()
        if self._new or self._observed or self._reread or now >= self._view.next_due:
            new, self._new = tuple(self._new), []
            facts, self._observed = self._facts if self._observed else None, False
            reread, self._reread = self._reread, False
            self._carries = bool(new) or facts is not None or reread
            self._at_work, self._queued = self._queued, set()
            self._work = self._thread.submit(self._sink.work, new, facts, now, reread=reread)
            self._work.add_done_callback(lambda _: self._wake())
        return False

    @property
    def busy(self) -> bool:
        return self._work is not None

    def missing(self, key: ObjectKey) -> str:
        interface = self._interfaces.get(key)
        if interface is None:
            return "its policy is not known yet"
        if interface in self._facts.exempt:
            return f"interface {interface} is the host's own: no workload's policy holds there"
        if key in self._queued or key in self._at_work:
            return "its policy is not written yet"
        return self._view.lacking.get(key, "")

    @property
    def pending(self) -> Iterator[Noted]:
        yield from self._view.pending

    @property
    def problems(self) -> Iterator[Noted]:
        yield from self._view.problems

    @property
    def writes(self) -> int:
        return self._view.writes

    @property
    def repairs(self) -> Repairs:
        return self._view.repairs

    @property
    def in_sync(self) -> bool:
        return self._view.in_sync and not (self._new or self._observed or self._reread or self._carries)

    def counts(self, policies: Collection[ObjectKey]) -> Callable[[], Mapping[RuleOrigin, Count]]:
        return lambda: self._thread.submit(lambda: self._count(self._sink.policies_in_kernel(policies))).result()

    def next_due(self) -> float | None:
        return None if self.busy else self._view.next_due

    def close(self) -> None:
        self._thread.submit(self._close_sink)
        self._thread.shutdown(wait=True)


def _copy(new: AddressSet | PortSet) -> AddressSet | PortSet:
    if isinstance(new, AddressSet):
        return AddressSet(id=new.id, addresses=set(new.addresses), networks=set(new.networks))
    return PortSet(id=new.id, members=set(new.members))
