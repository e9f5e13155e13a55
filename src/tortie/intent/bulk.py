"""The judge for many packets: the verdicts of `verdict`, equal in every part, at some tens of microseconds each.

It goes the same way through the same code. What is quicker are the answers on the way: an indexed state, and chains
that are compiled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tortie.intent.classify import Classifier
from tortie.intent.evaluate import Hit
from tortie.intent.indexed import IndexedState
from tortie.intent.packet import Fib, Flow, Packet
from tortie.intent.policy import FAMILIES, Chain, Direction, Family, HostEndpointPolicy, WorkloadPolicy
from tortie.intent.state import PolicyChanges
from tortie.intent.verdict import Destination, Journey, Judge, Verdict
from tortie.model.resource import ResourceKey

_Kind = tuple[Chain, Direction, Family]
_Place = tuple[ResourceKey, str, Direction, int]


class BulkJudge:
    """Follows the state; endpoints with the same policies share what is compiled of them."""

    def __init__(self, state: IndexedState) -> None:
        self._state = state
        self._compiled: dict[_Kind, Classifier] = {}
        self._places: dict[_Place, Classifier] = {}
        self._kinds_of: dict[ResourceKey, tuple[_Kind, ...]] = {}  # by endpoint
        self._used: Counter[_Kind] = Counter()  # by so many endpoints
        self._uncompiled: set[_Kind] = set()  # of those that are used
        self.prepared = False  # nothing changed since `prepare` began

    def take(self, changes: PolicyChanges) -> None:
        """What the state takes too; before or after, but with no verdict in between. Costs what changed."""
        if changes.policies or changes.workloads or changes.host_endpoints:
            self.prepared = False
            self._places.clear()
            changed = changes.policies.keys()
            stale = [kind for kind, found in self._compiled.items() if not found.policies.isdisjoint(changed)]
            for kind in stale:
                del self._compiled[kind]
            self._uncompiled.update(kind for kind in stale if kind in self._used)
        for key, workload in changes.workloads.items():
            self._use(key, () if workload is None else tuple(_kinds(workload)))
        for key, host_endpoint in changes.host_endpoints.items():
            self._use(key, () if host_endpoint is None else tuple(_kinds_of_host(host_endpoint)))
        sets = {*changes.changed_sets, *(each.id for each in changes.new_sets)}
        if sets:
            for classifier in self._compiled.values():
                if not classifier.sets.isdisjoint(sets):
                    classifier.forget_members()

    def prepare(self) -> Iterator[None]:
        """Compiles what is used and not compiled yet, in small steps; what changes meanwhile is for another time."""
        self.prepared = True
        for kind in list(self._uncompiled):
            if kind in self._uncompiled:
                self._uncompiled.discard(kind)
                yield from self._classifier(kind).compile()

    def verdict(self, packet: Packet, flow: Flow, fib: Fib, became: Destination | None = None) -> Verdict:
        return _QuickJourney(self, self._state, packet, flow, fib, became).end()

    def hits(self, judge: Judge, packet: Packet) -> Iterator[Hit]:
        place = judge.endpoint, judge.sort, judge.direction, packet.family
        found = self._places.get(place)
        if found is None:
            family: Family = 4 if packet.family == 4 else 6
            found = self._places[place] = self._classifier((judge.chain, judge.direction, family))
        return found.hits(packet)

    def _use(self, key: ResourceKey, kinds: tuple[_Kind, ...]) -> None:
        """Notes what an endpoint goes through from now on, and forgets what nobody does any more."""
        for kind in kinds:
            self._used[kind] += 1
            if kind not in self._compiled:
                self._uncompiled.add(kind)
        for kind in self._kinds_of.pop(key, ()):
            self._used[kind] -= 1
            if not self._used[kind]:
                del self._used[kind]
                self._compiled.pop(kind, None)
                self._uncompiled.discard(kind)
        if kinds:
            self._kinds_of[key] = kinds

    def _classifier(self, kind: _Kind) -> Classifier:
        found = self._compiled.get(kind)
        if found is None:
            found = self._compiled[kind] = Classifier(*kind, self._state)
        return found


def _kinds(workload: WorkloadPolicy) -> Iterator[_Kind]:
    for direction in Direction:
        for family in FAMILIES:
            yield workload.policy.chain(direction), direction, family


def _kinds_of_host(host: HostEndpointPolicy) -> Iterator[_Kind]:
    chains = [(host.pre_dnat, Direction.INGRESS)]
    for ways in (host.normal, host.forward, host.untracked):
        chains += [(ways.chain(direction), direction) for direction in Direction]
    for chain, direction in chains:
        for family in FAMILIES:
            yield chain, direction, family


class _QuickJourney(Journey):
    def __init__(
        self,
        judge: BulkJudge,
        state: IndexedState,
        packet: Packet,
        flow: Flow,
        fib: Fib,
        became: Destination | None,
    ) -> None:
        super().__init__(state, packet, flow, fib, became)
        self._judge = judge

    def hits(self, judge: Judge) -> Iterator[Hit]:
        return self._judge.hits(judge, self.packet)
