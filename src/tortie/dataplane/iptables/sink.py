"""Enforces policy with iptables: intent in, rows wanted, the kernel made equal to them. Blocks while programs run.

Invariants:
* What is named is written before who names it, and goes after: sets and their members, chains, jumps.
* A changed policy is its own chains and no others; endpoints that go through the same policies share a chain.
* A member that comes or goes costs that one member.
* A kernel without what FRAGMENT needs has all the rest: what it then lets through is said, and waited for by nobody.
* What others did to our rows is found by what is cheap to ask (`watch`), and repaired by reading them again, until a
  reading finds nothing to write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, NamedTuple

from tortie.dataplane.contract import Repairs
from tortie.dataplane.hosts import resolve
from tortie.dataplane.iptables.chains import Marks, endpoint_chain, policy_rows
from tortie.dataplane.iptables.dispatch import Ours
from tortie.dataplane.iptables.fragments import Sender, Unasked, fragment_skeleton, fragments_from
from tortie.dataplane.iptables.hooks import hooks
from tortie.dataplane.iptables.hosts import host_rows, places_of, policies_of
from tortie.dataplane.iptables.rows import FILTER, MANGLE, RAW, Kind, RowKey, RowValue
from tortie.dataplane.iptables.sets import Sets
from tortie.dataplane.iptables.skeleton import arrival, dispatch, skeleton
from tortie.dataplane.iptables.translation import Translation, translation_rows
from tortie.dataplane.iptables.watch import Watch
from tortie.dataplane.wanted import Owner, WantedRows
from tortie.errors import KernelError, Unsupported
from tortie.intent.interface import Interface
from tortie.intent.policy import (
    Address,
    Chain,
    Direction,
    HostEndpointPolicy,
    NatPool,
    ObjectKey,
    Policy,
    PolicySettings,
    WorkloadPolicy,
)
from tortie.intent.report import Noted
from tortie.intent.state import PolicyChanges
from tortie.reconcile import Backoff, Reconciler, Table

# How soon others' changes are looked for.
WATCH_S = 0.1
# One line each for `ipset restore`, whose text should not become too large.
MEMBERS_PER_PASS = 50_000

_SKELETON: Owner = ("skeleton", None)
_HOOKS: Owner = ("hooks", None)
_DISPATCH: Owner = ("dispatch", None)
_HOSTS: Owner = ("hosts", None)
_TRANSLATION: Owner = ("translation", None)


class View(NamedTuple):
    """How things stand after a pass."""

    lacking: Mapping[ObjectKey, str]  # of endpoints that are not in force, what they lack
    pending: tuple[Noted, ...]
    problems: tuple[Noted, ...]
    writes: int
    repairs: Repairs
    in_sync: bool
    next_due: float


class Facts(NamedTuple):
    """What the kernel's interfaces are, as far as policy depends on them."""

    interfaces: Mapping[str, Interface] = {}  # all but those that are workloads' by their names
    exempt: frozenset[str] = frozenset()  # the host's own, whatever they begin with and whoever names them


class Use(NamedTuple):
    """A chain that endpoints go through."""

    chain: Chain
    direction: Direction


class IptablesSink:
    """All rows of policy by iptables."""

    def __init__(
        self,
        tables: Mapping[Kind, Table[Any, Any]],
        watch: Watch,
        prefixes: tuple[str, ...],
        marks: Marks,
    ) -> None:
        self._reconcilers = {kind: Reconciler(kind.name.lower(), tables[kind]) for kind in Kind}
        self._watch = watch
        self._started = False
        self._unread: dict[Kind, str] = dict.fromkeys(Kind, "not read yet")  # kinds of which nothing is certain
        self._without: dict[Kind, str] = {}  # kinds that this kernel cannot have
        self._reading: Backoff[None] = Backoff()
        self._in_order_at: float | None = None  # when the last pass began that left everything right
        self._repairing = False
        self._repaired_at: float | None = None  # the last writing of the repair under way
        self._repairs = Repairs()
        self._author = ""  # of what is being repaired
        self._prefixes = prefixes
        self._marks = marks
        self._settings = PolicySettings()
        self._policies: dict[ObjectKey, Policy] = {}
        self._workloads: dict[ObjectKey, WorkloadPolicy] = {}
        self._host_endpoints: dict[ObjectKey, HostEndpointPolicy] = {}
        self._facts = Facts()
        self._host_policies: dict[str, set[ObjectKey]] = {RAW: set(), MANGLE: set()}  # by table
        self._pools: tuple[NatPool, ...] = ()
        self._node_addresses: frozenset[Address] = frozenset()
        self._users: dict[Use, set[ObjectKey]] = {}
        self._names: dict[Use, str] = {}
        self._senders: dict[str, Sender] = {}  # by interface
        self._rows = WantedRows[RowKey, RowValue](self._reconcilers)
        self._sets = Sets(lambda set_id, rows: self._rows.put(("set", set_id), rows), self._reconcilers[Kind.MEMBER])
        self._render_skeleton()
        self._render_dispatch()
        self._render_hosts()

    # --- Intent

    def take(self, changes: PolicyChanges) -> None:
        if changes.settings is not None and changes.settings != self._settings:
            self._settings = changes.settings
            self._render_skeleton()
        self._pools = self._pools if changes.pools is None else changes.pools
        self._node_addresses = self._node_addresses if changes.hosts is None else changes.hosts
        for new in changes.new_sets:
            self._sets.put(new)
        for set_id, delta in changes.changed_sets.items():
            self._sets.change(set_id, delta.added, delta.removed)
        for key, policy in changes.policies.items():
            self._put_policy(key, policy)
        for key, workload in changes.workloads.items():
            self._put_workload(key, workload)
        for key, endpoint in changes.host_endpoints.items():
            self._host_endpoints.pop(key, None)
            if endpoint is not None:
                self._host_endpoints[key] = endpoint
        if changes.workloads:
            self._render_dispatch()
        if changes.workloads or changes.host_endpoints or changes.settings is not None:
            self._render_hosts()
        if changes.workloads or changes.settings is not None or not (changes.pools is None and changes.hosts is None):
            self._render_translation()
        for set_id in changes.gone_sets:
            self._sets.drop(set_id)

    def learn(self, facts: Facts) -> None:
        """Takes what the kernel's interfaces are now."""
        self._facts = facts
        self._render_dispatch()
        self._render_hosts()
        self._render_translation()

    def _put_policy(self, key: ObjectKey, policy: Policy | None) -> None:
        self._policies.pop(key, None)
        if policy is not None:
            self._policies[key] = policy
        self._rows.put(("policy", key), policy_rows(policy) if policy is not None else {})
        for table, keys in self._host_policies.items():
            if key in keys:
                self._render_host_policy(key, table)

    def _put_workload(self, key: ObjectKey, workload: WorkloadPolicy | None) -> None:
        before = self._workloads.pop(key, None)
        if workload is not None:
            self._workloads[key] = workload
            for use in _uses(workload):
                self._add_use(use, key)
        self._rows.put(("arrival", key), arrival(workload) if workload is not None else {})
        for use in set(_uses(before)) - set(_uses(workload)):
            self._users[use].discard(key)
            if not self._users[use]:
                del self._users[use], self._names[use]
                self._rows.put(("use", use), {})

    def _add_use(self, use: Use, key: ObjectKey) -> None:
        users = self._users.setdefault(use, set())
        if not users:
            name, rows = endpoint_chain(use.chain, use.direction, self._marks)
            self._names[use] = name
            self._rows.put(("use", use), rows)
        users.add(key)

    def _render_skeleton(self) -> None:
        rows = skeleton(self._settings, self._marks) | fragment_skeleton(self._prefixes)
        self._rows.put(_SKELETON, rows)

    def _render_dispatch(self) -> None:
        """Of endpoints that name one interface the lowest key has it."""
        by_interface: dict[str, tuple[str, str]] = {}
        senders: dict[str, WorkloadPolicy] = {}
        for key in sorted(self._workloads):
            workload = self._workloads[key]
            to, out = (self._names[use] for use in _uses(workload))
            by_interface.setdefault(workload.interface, (out, to))
            senders.setdefault(workload.interface, workload)
        for name in self._facts.exempt:
            by_interface.pop(name, None)
        self._rows.put(_DISPATCH, dispatch(by_interface, self._prefixes, self._facts.exempt, self._governed))
        self._render_fragments(senders)

    def _render_fragments(self, workloads: Mapping[str, WorkloadPolicy]) -> None:
        closed = dict.fromkeys(self._governed, Unasked.CLOSED)
        own = dict.fromkeys(self._facts.exempt, Unasked.OWN)
        senders: dict[str, Sender] = {**closed, **workloads, **own}
        before, self._senders = self._senders, senders
        for name in before.keys() - senders.keys():
            self._rows.put(("fragments", name), {})
        for name, sender in senders.items():
            if before.get(name) is not sender:
                self._rows.put(("fragments", name), fragments_from(name, sender))

    def _render_hosts(self) -> None:
        ours = self._ours
        hosts = resolve(self._host_endpoints.values(), self._facts.interfaces, ours.begins)
        for table, before in self._host_policies.items():
            wanted = policies_of(hosts, table)
            self._host_policies[table] = wanted
            for key in before ^ wanted:
                self._render_host_policy(key, table)
        rows = host_rows(hosts, self._settings, self._marks, ours)
        self._rows.put(_HOSTS, rows)
        self._rows.put(_HOOKS, hooks(places_of(hosts), self._marks, ours))

    def _render_host_policy(self, key: ObjectKey, table: str) -> None:
        """A policy in the tables where nobody but host endpoints is asked."""
        policy = self._policies.get(key) if key in self._host_policies[table] else None
        self._rows.put((f"policy in {table}", key), policy_rows(policy, table) if policy is not None else {})

    def _render_translation(self) -> None:
        workloads = (self._workloads[key] for key in sorted(self._workloads))
        wanted = Translation(
            floating=tuple(each for workload in workloads for each in workload.floating),
            pools=self._pools,
            hosts=self._node_addresses,
            settings=self._settings,
            ours=self._ours,
        )
        self._rows.put(_TRANSLATION, translation_rows(wanted))

    @property
    def _ours(self) -> Ours:
        named = {workload.interface for workload in self._workloads.values()} - self._facts.exempt
        others = sorted(name for name in named | self._governed if not name.startswith(self._prefixes))
        return Ours(self._prefixes, tuple(others), tuple(sorted(self._facts.exempt)))

    @property
    def _governed(self) -> frozenset[str]:
        """The interfaces that are, or have been, a workload's though their names do not say so."""
        return frozenset(name for name, found in self._facts.interfaces.items() if found.governed) - self._facts.exempt

    # --- The kernel

    def work(self, changes: Iterable[PolicyChanges], facts: Facts | None, now: float, *, reread: bool) -> View:
        """Takes what is new, looks for changes of others, and writes what is due; nothing before the first `reread`."""
        if facts is not None:
            self.learn(facts)
        for each in changes:
            self.take(each)
        if reread:
            self._started = True
            self._unread = dict.fromkeys(Kind, "to be read again")
            self._watch.doubt()
            self._reading.clear(None)
        if self._started:
            try:
                self._look(now)
                self._repair(now)
            except KernelError as error:
                self._unread = dict.fromkeys(Kind, str(error))
                self._watch.doubt()
                self._reading.failed(None, now)
        return self._view(now)

    def _look(self, now: float) -> None:
        """Sees whether others changed anything since the last look."""
        found = self._watch.changed()
        if found:
            self._unread |= dict.fromkeys(found, "changed by somebody else")
            self._repairing = self._in_order_at is not None
            self._author = self._watch.author or self._author

    def _repair(self, now: float) -> None:
        if self._unread and self._reading.due(None, now):
            # Before the reading: what others change meanwhile is to be seen the next time.
            self._watch.note()
            for kind in sorted(self._unread):
                self._read(kind)
            self._unread = {}
            self._reading.clear(None)
        if self._unread:
            return
        before = self._writes
        wrote = self._write(now)
        if wrote:
            self._watch.note()
        if self._repairing and self._writes != before:
            self._repaired_at = monotonic()
            # Who is at it may have gone on while it was written, which the watch cannot tell from the writing.
            self._unread = dict.fromkeys(Kind, "repaired, and to be read again")
            self._watch.doubt()
        elif self._in_sync:
            if self._repaired_at is not None and self._in_order_at is not None:
                open_ms = round(1000 * (self._repaired_at - self._in_order_at))
                self._repairs = Repairs(self._repairs.times + 1, open_ms, self._author)
            self._repairing, self._repaired_at, self._in_order_at, self._author = False, None, now, ""

    def _read(self, kind: Kind) -> None:
        self._without.pop(kind, None)
        try:
            self._reconcilers[kind].resync()
        except Unsupported as error:
            if kind is not Kind.FRAGMENT:
                raise
            self._without[kind] = str(error)

    def _write(self, now: float) -> bool:
        """Sets go whole: with a set goes what is in it, and its members are then gone already. True if it wrote."""
        before = self._writes
        for kind, reconciler in self._reconcilers.items():
            while reconciler.apply_puts(now, MEMBERS_PER_PASS if kind is Kind.MEMBER else None):
                pass
        for kind in (Kind.FRAGMENT, Kind.JUMP, Kind.CHAIN, Kind.SET, Kind.MEMBER):
            while self._reconcilers[kind].apply_deletes(now, MEMBERS_PER_PASS if kind is Kind.MEMBER else None):
                pass
        # A chain that was refused was written too, as a denial.
        return self._writes != before or any(each.failures for each in self._reconcilers.values())

    @property
    def _in_sync(self) -> bool:
        return not self._unread and all(
            each.in_sync for kind, each in self._reconcilers.items() if kind not in self._without
        )

    @property
    def _writes(self) -> int:
        return sum(each.writes for each in self._reconcilers.values())

    def policies_in_kernel(self, keys: Collection[ObjectKey]) -> list[tuple[Policy, str]]:
        """Each of these policies with each table that it is in."""
        found = [(policy, FILTER) for key in keys if (policy := self._policies.get(key)) is not None]
        return found + [
            (policy, table)
            for table, some in self._host_policies.items()
            for key in keys
            if key in some and (policy := self._policies.get(key)) is not None
        ]

    # --- How it stands

    def _view(self, now: float) -> View:
        in_sync = self._in_sync
        due = [each.next_due() for each in self._reconcilers.values()]
        if self._unread and self._started:
            due.append(max(now, self._reading.due_at(None)))
        return View(
            lacking={} if in_sync else dict(self._lacking()),
            pending=tuple(self._pending()),
            problems=tuple(self._problems()),
            writes=self._writes,
            repairs=self._repairs,
            in_sync=in_sync,
            next_due=min(time for time in (*due, now + WATCH_S) if time is not None),
        )

    def _pending(self) -> Iterator[Noted]:
        for kind, reason in self._unread.items():
            yield Noted(subject=f"all rows of kind {kind.name.lower()}", reason=reason)
        for kind, reconciler in self._reconcilers.items():
            for row, failure in reconciler.failures.items():
                yield Noted(subject=f"{kind.name.lower()} {_text(row)}", reason=str(failure.error))

    def _problems(self) -> Iterator[Noted]:
        for reason in self._without.values():
            yield Noted(
                subject="fragments",
                reason=f"a workload may finish, in another's name, what this one sends in fragments: {reason}",
            )

    def _lacking(self) -> Iterator[tuple[ObjectKey, str]]:
        """By the owners of what is not right."""
        wrong: dict[Owner, str] = {}
        for owner, rows in self._rows.items():
            for row in rows:
                if row.kind not in self._without and not self._reconcilers[row.kind].right(row.key):
                    wrong[owner] = self._why(row.kind, row.key)
                    break
        for set_id, members in self._sets.members.items():
            for member in members:
                if not self._reconcilers[Kind.MEMBER].right(member):
                    wrong[("set", set_id)] = self._why(Kind.MEMBER, member)
                    break
        for reason in self._unread.values():
            wrong[_SKELETON] = reason
        for key, workload in self._workloads.items():
            found = next((wrong[owner] for owner in self._owners_for(key, workload) if owner in wrong), None)
            if found is not None:
                yield key, found

    def _owners_for(self, key: ObjectKey, workload: WorkloadPolicy) -> Iterator[Owner]:
        yield from (_SKELETON, _HOOKS, _DISPATCH, ("arrival", key), ("fragments", workload.interface))
        for use in _uses(workload):
            yield ("use", use)
            for name in use.chain.policies_and_profiles():
                yield ("policy", name)
                policy = self._policies.get(name)
                for set_id in policy.sets() if policy else ():
                    yield ("set", set_id)

    def _why(self, kind: Kind, row: object) -> str:
        failure = self._reconcilers[kind].failures.get(row)
        return f"{kind.name.lower()} {_text(row)}: {failure.error if failure else 'not written yet'}"


def _uses(workload: WorkloadPolicy | None) -> list[Use]:
    """To the workload, then from it."""
    if workload is None:
        return []
    return [Use(workload.policy.chain(direction), direction) for direction in (Direction.INGRESS, Direction.EGRESS)]


def _text(row: object) -> str:
    return " ".join(map(str, row)) if isinstance(row, tuple) else str(row)
