"""Policy in force on this node: one state, its judge, one backend in the kernel, and the audit of tracked connections.

Invariants:
* Nothing that was let pass before is cut by a start: a backend begins with what is in force and adds what is missing.
* The backend that a change of settings asks for has all of policy in the kernel before the one before it is let go.
  A host has one in the end: what others left, ever, is removed.
* Where policy was never in force, connections may be older than their tracking: for `LENIENT_S` TCP packets in the
  middle of a conversation are judged by policy, and dropped after that, like those of a connection that was cut.
* A revision is enforced when the kernel has its policy and no tracked connection remains that it denies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from tortie.agent.leftovers import Leftovers
from tortie.dataplane import contract
from tortie.dataplane.contract import Options, PolicyBackend, Repairs
from tortie.dataplane.events import Listener
from tortie.dataplane.flows import FlowAudit
from tortie.dataplane.l3.facts import Facts, Judged
from tortie.dataplane.nftables.closed import open_up
from tortie.errors import KernelError
from tortie.intent.bulk import BulkJudge
from tortie.intent.indexed import IndexedState
from tortie.intent.interface import Interface
from tortie.intent.policy import HostEndpointPolicy, RuleOrigin, WorkloadPolicy
from tortie.intent.report import Count, Noted
from tortie.intent.settings import Settings
from tortie.intent.state import PolicyChanges, everything
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netlink.socket import NetlinkSocket
from tortie.model.resource import ResourceKey

LOG = structlog.get_logger(__name__)

RETRY_S = 1.0
# Between two looks at what each endpoint lacks, while something does: 10 us an endpoint.
LOOK_AGAIN_S = 1.0
LENIENT_S = 60.0
# Of sets, in one step of telling a backend of what there is: some milliseconds.
MEMBERS_PER_STEP = 1000
# Between two lines of the log about what others change and is repaired.
TELL_REPAIRS_S = 10.0


class Wanted(NamedTuple):
    """Which backend, and how it is made."""

    name: str
    options: Options


class Enforcement:
    """Plain calls but for `run`; the agent decides when."""

    def __init__(self, netlink: NetlinkSocket, wake: Callable[[], object], xtables_lock: str, state_dir: Path) -> None:
        self._netlink = netlink
        self._wake = wake
        self._lock = xtables_lock
        self._was_here = state_dir / "policy-was-in-force"
        self._lenient_until: float | None = None if self._was_here.exists() else math.inf  # loop time
        self._state = IndexedState()
        self._judge = BulkJudge(self._state)
        self._flows = FlowAudit(self._state, self._judge, NetfilterSocket, netlink)
        self._wanted = self._as_asked(Settings())
        self._made: Wanted | None = None  # what the newest is
        self._running: dict[str, PolicyBackend] = {}  # by name; those before the newest go when that is in force
        self._telling: Iterator[PolicyChanges] | None = None  # the newest backend of all that was taken before it
        self._reading: Iterator[None] | None = None
        self._not_before = 0.0  # loop time of the next attempt to make or to read
        self._problem: Noted | None = None
        self._facts_seen = -1
        self._judged = Judged({}, {})
        self._interfaces: dict[str, Interface] = {}  # of this host, by name
        # Interfaces of workloads that no endpoint names, by index and name, as of the last `see`.
        self._strays: frozenset[tuple[int, str]] = frozenset()
        self._covered: frozenset[tuple[int, str]] = frozenset()  # of these, the ones that policy in force closes
        self._alone: Wanted | None = None  # the backend that was found in force, so that others may go
        self._leftovers = Leftovers(wake)
        self._settled = False
        self._lacking: dict[ResourceKey, str] = {}
        self._look_at = 0.0  # loop time of the next look at them
        self._ended_writes = 0
        self._told_repairs = Repairs()
        self._tell_repairs_at = 0.0  # loop time

    def configure(self, settings: Settings) -> None:
        """Takes the settings in force; another backend is made by the next `apply`."""
        self._wanted = self._as_asked(settings)
        if settings.interface_prefixes != self._state.interface_prefixes:
            self._state.interface_prefixes = settings.interface_prefixes
            self._note_governed(self._interfaces)
            self._facts_seen = -1
            self._flows.demand()

    @property
    def takes(self) -> bool:
        """Changes may be handed over: none is while a backend is told of what there is, which must not change then."""
        return self._telling is None

    def take(self, changes: PolicyChanges) -> None:
        """Takes what changed of policy, while it `takes`."""
        if changes.settings is not None and self._lenient_until is not None:
            lenient = msgspec.structs.replace(changes.settings, lenient=True)
            changes = msgspec.structs.replace(changes, settings=lenient)
        for backend in self._running.values():
            backend.take(changes)
        self._state.take(changes)
        self._judge.take(changes)
        self._flows.take(changes)
        self._look_at = 0.0
        if changes.workloads or changes.host_endpoints:
            self._facts_seen = -1

    def listen(self) -> Listener:
        """Hears of the packets that any backend's rules tell of. Raises KernelError."""
        return Listener(self._state, self._judge, self._netlink)

    def see(self, facts: Facts) -> None:
        """Takes what became of links and addresses: which are the host's own, and where endpoints are."""
        if facts.changes == self._facts_seen:
            return
        self._facts_seen = facts.changes
        self._judged = facts.judge(self._is_meant)
        exempt = frozenset(self._judged.own)
        if exempt != self._state.exempt_interfaces:
            self._state.exempt_interfaces = exempt
            self._flows.demand()
        news = facts.news()
        for name, found in news.items():
            self._interfaces.pop(name, None)
            if found is not None:
                self._interfaces[name] = found
        self._note_governed(news)
        self._strays = self._look_for_strays()
        self._covered &= self._strays
        for backend in self._running.values():
            backend.exempt(exempt)
            backend.observe(news)

    def _note_governed(self, interfaces: Mapping[str, Interface | None]) -> None:
        """Which of these are workloads' though their names do not begin so."""
        governed = {name for name, found in interfaces.items() if found is not None and found.governed}
        outsiders = {name for name in governed if not name.startswith(self._state.interface_prefixes)}
        before = {name for name in interfaces if name in self._state.governed_interfaces}
        if before != outsiders:
            self._state.governed_interfaces = (self._state.governed_interfaces - before) | outsiders
            self._flows.demand()

    def resync(self) -> None:
        """Asks for a whole read-back of the kernel, to be done by `apply`."""
        if (backend := self._newest) is not None:
            self._reading = backend.resync()

    def apply(self, now: float) -> bool:
        """A bounded step of making the kernel equal to what was taken; True when the next is due at once."""
        self._settled = False
        if self._lenient_until is not None and now >= self._lenient_until and self.takes:
            self._end_leniency()
        if now < self._not_before:
            return False
        try:
            backend = self._newest
            if backend is None or (self._made != self._wanted and self.takes):
                if not self._leftovers.spare(_subject(self._wanted.name)):
                    return False
                backend = self._change_backend()
            if self._telling is not None:
                if (told := next(self._telling, None)) is not None:
                    backend.take(told)
                    return True
                self._telling = None
            if self._reading is not None:
                for _ in self._reading:
                    return True
                self._reading = None
            for each in self._running.values():
                if each.apply(now):
                    return True
        except KernelError as error:
            self._problem = Noted(subject=_subject(self._wanted.name), reason=str(error))
            self._not_before = now + RETRY_S
            self.resync()
            return False
        self._problem = None
        self._settled = not backend.busy
        if self.in_force:
            self._covered = self._strays
        if self._alone != self._made and self._settled and backend.in_sync:
            self._let_others_go(now)
        self._look_for_lacking(now)
        self._tell_repairs(now)
        return False

    def cut(self, now: float) -> bool:
        """A step of the audit of tracked connections, once the kernel has the policy; True when more is due at once."""
        return self._flows.apply(now) if self._settled else False

    @property
    def settled(self) -> bool:
        """All that can be written is: what lacks now lacks for a reason."""
        return self._settled

    @property
    def keeps_up(self) -> bool:
        """Nothing that was taken waits here: it is in the kernel, or somebody else writes it."""
        return self._settled or (self._newest is not None and self._newest.busy)

    @property
    def enforced(self) -> bool:
        """What was taken holds for every packet."""
        return self.in_force and self._flows.quiet

    def missing(self, key: ResourceKey) -> str:
        """What a workload's policy still lacks in the kernel; empty when it is in force."""
        if self._problem is not None:
            return self._problem.reason
        return "no policy backend runs yet" if self._newest is None else self._newest.missing(key)

    def leaves_alone(self, interface: str) -> bool:
        """The interface is the host's own, whoever names it."""
        return interface in self._state.exempt_interfaces

    @property
    def uncovered(self) -> frozenset[int]:
        """Interfaces of workloads, by index, that no endpoint names, until policy in the kernel closes them."""
        return frozenset(ifindex for ifindex, _ in self._strays - self._covered)

    def _look_for_strays(self) -> frozenset[tuple[int, str]]:
        names = self._state.governed_interfaces - self._state.interfaces.keys()
        found = ((self._interfaces.get(name), name) for name in names)
        return frozenset((each.ifindex, name) for each, name in found if each is not None)

    @property
    def lacking(self) -> Mapping[ResourceKey, str]:
        """The workloads whose policy is not in force, each with what is missing."""
        return self._lacking

    @property
    def closed(self) -> Mapping[ResourceKey, str]:
        """The endpoints, of workloads and of the host, that a set above the limit closes, each with why."""
        if not self._state.oversize:
            return {}
        endpoints: list[WorkloadPolicy | HostEndpointPolicy] = [
            *self._state.workloads.values(),
            *self._state.host_endpoints.values(),
        ]
        found = ((each.key, self._state.oversize_of(each)) for each in endpoints)
        return {key: f"closed: {oversize}" for key, oversize in found if oversize is not None}

    @property
    def _newest(self) -> PolicyBackend | None:
        return self._running.get(self._made.name) if self._made else None

    @property
    def in_force(self) -> bool:
        """The kernel has all that was taken; connections that began before may not have been looked at yet."""
        return self._settled and self._newest is not None and self._newest.in_sync

    @property
    def name(self) -> str:
        return self._made.name if self._made else ""

    @property
    def pending(self) -> Iterator[Noted]:
        for backend in self._running.values():
            yield from backend.pending

    @property
    def problems(self) -> Iterator[Noted]:
        yield from (each for each in (self._problem, self._flows.problem) if each is not None)
        yield from self._leftovers.problems
        for backend in self._running.values():
            yield from backend.problems
        for name, why in self._judged.own.items():
            yield Noted(subject=f"interface {name}", reason=f"{why}; no policy is asked about its packets")
        for name, why in self._judged.kept.items():
            yield Noted(subject=f"interface {name}", reason=why)
        for key, oversize in self._state.oversize.items():
            staged = self._state.policies[key].staged
            effect = "it counts nothing" if staged else "the endpoints that it applies to are closed"
            yield Noted(subject=str(key), reason=f"{oversize}: raise that, or let its rules select fewer; {effect}")
        for key, reason in self.closed.items():
            if key.kind == "HostEndpoint":  # a workload's report says it
                yield Noted(subject=str(key), reason=reason)

    @property
    def writes(self) -> int:
        return self._ended_writes + sum(backend.writes for backend in self._running.values())

    @property
    def connections_cut(self) -> int:
        return self._flows.cut

    def counts(self, policies: Collection[ResourceKey]) -> Callable[[], Mapping[RuleOrigin, Count]]:
        """A reader, for any thread, of what rules have counted; of none while nobody enforces policy."""
        backend = self._newest
        return dict if backend is None else backend.counts(policies)

    @property
    def repairs(self) -> Repairs:
        """What others changed of what the backend in force wrote."""
        return Repairs() if self._newest is None else self._newest.repairs

    def next_due(self) -> float | None:
        due = [backend.next_due() for backend in self._running.values()] + [self._flows.next_due()]
        if self._made != self._wanted or self._problem is not None:
            due.append(self._not_before)
        if self._lenient_until not in (None, math.inf):
            due.append(self._lenient_until)
        return min((each for each in due if each is not None), default=None)

    async def run(self) -> None:
        """Removes what others left in the kernel, whenever a backend has come in force."""
        await self._leftovers.run()

    def close(self) -> None:
        """What is in force stays so."""
        self._flows.close()
        for backend in self._running.values():
            backend.close()

    def _as_asked(self, settings: Settings) -> Wanted:
        options = Options(self._wake, settings.interface_prefixes, settings.mark_mask, self._lock)
        return Wanted(settings.policy_backend, options)

    def _change_backend(self) -> PolicyBackend:
        # Two of one name would write the same rows.
        self._end(self._wanted.name)
        made = contract.load(self._wanted.name).make(self._wanted.options)
        self._running[self._wanted.name], self._made = made, self._wanted
        self._telling = everything(self._state, MEMBERS_PER_STEP)
        made.exempt(self._state.exempt_interfaces)
        made.observe(self._interfaces)
        self._reading = made.resync()
        return made

    def _end(self, name: str) -> None:
        if (backend := self._running.pop(name, None)) is not None:
            self._ended_writes += backend.writes
            backend.close()

    def _end_leniency(self) -> None:
        self._lenient_until = None
        try:
            self._was_here.parent.mkdir(parents=True, exist_ok=True)
            self._was_here.touch()
        except OSError as error:  # then the next start is lenient again
            LOG.warning("it cannot be noted that policy was in force", reason=str(error))
        self.take(PolicyChanges(settings=msgspec.structs.replace(self._state.settings, lenient=False)))

    def _let_others_go(self, now: float) -> None:
        """The newest backend is in force: the others end, and what any other left is removed."""
        for name in list(self._running)[:-1]:
            self._end(name)
        made = self._alone = self._made
        assert made is not None
        removals: dict[str, Callable[[], None]] = {"tortie-closed.service": open_up}
        for name in contract.names():
            if name != made.name:
                removals[_subject(name)] = partial(contract.load(name).remove, made.options)
        self._leftovers.remove(removals)
        if self._lenient_until == math.inf:
            self._lenient_until = now + LENIENT_S
        LOG.info("policy is in force", backend=self.name)

    def _look_for_lacking(self, now: float) -> None:
        if self.in_force:
            self._lacking = {}
        elif self._settled and now >= self._look_at:
            self._look_at = now + LOOK_AGAIN_S
            looked = ((key, self.missing(key)) for key in self._state.workloads)
            self._lacking = {key: reason for key, reason in looked if reason}

    def _tell_repairs(self, now: float) -> None:
        repairs, told = self.repairs, self._told_repairs
        if repairs == told or now < self._tell_repairs_at:
            return
        self._told_repairs, self._tell_repairs_at = repairs, now + TELL_REPAIRS_S
        if repairs.times:
            LOG.warning(
                "another program changed the rules of policy: repaired",
                backend=self.name,
                repairs=repairs.times,
                last_open_ms_at_most=repairs.open_ms,
                last_by=repairs.by,
            )

    def _is_meant(self, interface: str) -> bool:
        return interface.startswith(self._state.interface_prefixes) or interface in self._state.interfaces


def _subject(backend: str) -> str:
    return f"policy backend {backend}"
