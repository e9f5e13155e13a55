"""Enforces policy with iptables: intent in, rows wanted, the kernel made equal to them. Blocks while programs run.

Invariants:
* What is named is written before who names it, and goes after: sets and their members, chains, jumps.
* A changed policy is its own chains and no others; endpoints that go through the same policies share a chain.
* A member that comes or goes costs that one member.
* What others did to our rows is found by what is cheap to ask (`watch`), and repaired by reading them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from tortie.dataplane.iptables.chains import Marks, endpoint_chain, policy_rows
from tortie.dataplane.iptables.match import ADDRESSES, NAMED_PORTS, members_of
from tortie.dataplane.iptables.rows import FAMILIES, Kind, MemberKey, RowKey, Rows, SetSpec, set_name
from tortie.dataplane.iptables.skeleton import arrival, dispatch, skeleton
from tortie.dataplane.iptables.watch import Watch
from tortie.errors import KernelError
from tortie.intent.policy import (
    AddressSet,
    Chain,
    Direction,
    Member,
    NamedPort,
    ObjectKey,
    Policy,
    PolicySettings,
    PortSet,
    SetId,
    WorkloadPolicy,
)
from tortie.intent.report import Noted
from tortie.intent.state import PolicyChanges
from tortie.reconcile import Backoff, Reconciler, Table

# How soon others' changes are looked for.
WATCH_S = 0.1
# One line each for `ipset restore`, whose text should not become too large.
MEMBERS_PER_PASS = 50_000

Owner = tuple[str, object]

_SKELETON: Owner = ("skeleton", None)
_DISPATCH: Owner = ("dispatch", None)


class View(NamedTuple):
    """How things stand after a pass."""

    lacking: Mapping[ObjectKey, str]  # of endpoints that are not in force, what they lack
    pending: tuple[Noted, ...]
    writes: int
    in_sync: bool
    next_due: float


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
        self._reading: Backoff[None] = Backoff()
        self._prefixes = prefixes
        self._exempt: frozenset[str] = frozenset()
        self._marks = marks
        self._settings = PolicySettings()
        self._policies: dict[ObjectKey, Policy] = {}
        self._workloads: dict[ObjectKey, WorkloadPolicy] = {}
        self._users: dict[Use, set[ObjectKey]] = {}
        self._names: dict[Use, str] = {}
        self._set_kinds: dict[SetId, str] = {}
        self._members: dict[SetId, dict[MemberKey, int]] = {}
        self._rows: dict[Owner, Rows] = {}
        self._owners: dict[RowKey, set[Owner]] = {}
        self._render_skeleton()
        self._render_dispatch()

    # --- Intent

    def take(self, changes: PolicyChanges) -> None:
        if changes.settings is not None and changes.settings != self._settings:
            self._settings = changes.settings
            self._render_skeleton()
        for new in changes.new_sets:
            self._put_set(new)
        for set_id, delta in changes.changed_sets.items():
            self._change_set(set_id, delta.added, delta.removed)
        for key, policy in changes.policies.items():
            self._policies.pop(key, None)
            if policy is not None:
                self._policies[key] = policy
            self._set_rows(("policy", key), policy_rows(policy) if policy is not None else {})
        for key, workload in changes.workloads.items():
            self._put_workload(key, workload)
        if changes.workloads:
            self._render_dispatch()
        for set_id in changes.gone_sets:
            self._drop_set(set_id)

    def exempt(self, interfaces: frozenset[str]) -> None:
        if interfaces != self._exempt:
            self._exempt = interfaces
            self._render_dispatch()

    def _put_workload(self, key: ObjectKey, workload: WorkloadPolicy | None) -> None:
        before = self._workloads.pop(key, None)
        if workload is not None:
            self._workloads[key] = workload
            for use in _uses(workload):
                self._add_use(use, key)
        self._set_rows(("arrival", key), arrival(workload) if workload is not None else {})
        for use in set(_uses(before)) - set(_uses(workload)):
            self._users[use].discard(key)
            if not self._users[use]:
                del self._users[use], self._names[use]
                self._set_rows(("use", use), {})

    def _add_use(self, use: Use, key: ObjectKey) -> None:
        users = self._users.setdefault(use, set())
        if not users:
            name, rows = endpoint_chain(use.chain, use.direction, self._marks)
            self._names[use] = name
            self._set_rows(("use", use), rows)
        users.add(key)

    def _render_skeleton(self) -> None:
        rows = skeleton(self._settings, self._marks)
        self._set_rows(_SKELETON, rows)

    def _render_dispatch(self) -> None:
        """Of endpoints that name one interface the lowest key has it."""
        by_interface: dict[str, tuple[str, str]] = {}
        for key in sorted(self._workloads):
            workload = self._workloads[key]
            to, out = (self._names[use] for use in _uses(workload))
            by_interface.setdefault(workload.interface, (out, to))
        for name in self._exempt:
            by_interface.pop(name, None)
        self._set_rows(_DISPATCH, dispatch(by_interface, self._prefixes, self._exempt))

    # --- Sets

    def _put_set(self, new: AddressSet | PortSet) -> None:
        """A set in the place of an old one is the difference to it."""
        kind = ADDRESSES if isinstance(new, AddressSet) else NAMED_PORTS
        if self._set_kinds.get(new.id, kind) != kind:
            self._drop_set(new.id)
        self._set_kinds[new.id] = kind
        rows: Rows = {RowKey(Kind.SET, set_name(new.id, family)): SetSpec(kind, family) for family in FAMILIES}
        self._set_rows(("set", new.id), rows)
        members: Iterable[Member] = (*new.addresses, *new.networks) if isinstance(new, AddressSet) else new.members
        before = self._members.pop(new.id, {})
        self._change_set(new.id, members, ())
        for gone in before.keys() - self._members[new.id].keys():
            self._reconcilers[Kind.MEMBER].unwant(gone)

    def _drop_set(self, set_id: SetId) -> None:
        if self._set_kinds.pop(set_id, None) is None:
            return
        self._set_rows(("set", set_id), {})
        for member in self._members.pop(set_id, {}):
            self._reconcilers[Kind.MEMBER].unwant(member)

    def _change_set(self, set_id: SetId, added: Iterable[Member], removed: Iterable[Member]) -> None:
        """An address and the prefix that holds nothing else are one member: it goes with the last of them."""
        counts = self._members.setdefault(set_id, {})
        reconciler = self._reconcilers[Kind.MEMBER]
        for key in _member_keys(set_id, removed):
            counts[key] = counts.get(key, 0) - 1
            if counts[key] <= 0:
                del counts[key]
                reconciler.unwant(key)
        for key in _member_keys(set_id, added):
            counts[key] = counts.get(key, 0) + 1
            reconciler.want(key, None)

    # --- Rows

    def _set_rows(self, owner: Owner, rows: Rows) -> None:
        """What an owner wants from now on. Owners may want the same row, and then say the same of it."""
        old = self._rows.pop(owner, {})
        if rows:
            self._rows[owner] = rows
        for row, value in rows.items():
            self._owners.setdefault(row, set()).add(owner)
            self._reconcilers[row.kind].want(row.key, value)
        for row in old.keys() - rows.keys():
            owners = self._owners[row]
            owners.discard(owner)
            if not owners:
                del self._owners[row]
                self._reconcilers[row.kind].unwant(row.key)

    # --- The kernel

    def work(self, changes: Iterable[PolicyChanges], now: float, *, exempt: frozenset[str], reread: bool) -> View:
        """Takes the changes, looks for those of others, and writes what is due; nothing before the first `reread`."""
        self.exempt(exempt)
        for each in changes:
            self.take(each)
        if reread:
            self._started = True
            self._unread = dict.fromkeys(Kind, "to be read again")
            self._reading.clear(None)
        if self._started:
            try:
                self._repair(now)
            except KernelError as error:
                self._unread = dict.fromkeys(Kind, str(error))
                self._reading.failed(None, now)
        return self._view(now)

    def _repair(self, now: float) -> None:
        self._unread |= dict.fromkeys(self._watch.changed(), "changed by somebody else")
        if self._unread and self._reading.due(None, now):
            # Before the reading: what others change meanwhile is to be seen the next time.
            self._watch.note()
            for kind in sorted(self._unread):
                self._reconcilers[kind].resync()
            self._unread = {}
            self._reading.clear(None)
        if not self._unread and self._write(now):
            self._watch.note()

    def _write(self, now: float) -> bool:
        """Sets go whole: with a set goes what is in it, and its members are then gone already. True if it wrote."""
        before = self._writes
        for kind, reconciler in self._reconcilers.items():
            while reconciler.apply_puts(now, MEMBERS_PER_PASS if kind is Kind.MEMBER else None):
                pass
        for kind in (Kind.JUMP, Kind.CHAIN, Kind.SET, Kind.MEMBER):
            while self._reconcilers[kind].apply_deletes(now, MEMBERS_PER_PASS if kind is Kind.MEMBER else None):
                pass
        # A chain that was refused was written too, as a denial.
        return self._writes != before or any(each.failures for each in self._reconcilers.values())

    @property
    def _writes(self) -> int:
        return sum(each.writes for each in self._reconcilers.values())

    # --- How it stands

    def _view(self, now: float) -> View:
        in_sync = not self._unread and all(each.in_sync for each in self._reconcilers.values())
        due = [each.next_due() for each in self._reconcilers.values()]
        return View(
            lacking={} if in_sync else dict(self._lacking()),
            pending=tuple(self._pending()),
            writes=self._writes,
            in_sync=in_sync,
            next_due=min(time for time in (*due, now + WATCH_S) if time is not None),
        )

    def _pending(self) -> Iterator[Noted]:
        for kind, reason in self._unread.items():
            yield Noted(subject=f"all rows of kind {kind.name.lower()}", reason=reason)
        for kind, reconciler in self._reconcilers.items():
            for row, failure in reconciler.failures.items():
                yield Noted(subject=f"{kind.name.lower()} {_text(row)}", reason=str(failure.error))

    def _lacking(self) -> Iterator[tuple[ObjectKey, str]]:
        """By the owners of what is not right."""
        wrong: dict[Owner, str] = {}
        for owner, rows in self._rows.items():
            for row in rows:
                if not self._reconcilers[row.kind].right(row.key):
                    wrong[owner] = self._why(row.kind, row.key)
                    break
        for set_id, members in self._members.items():
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
        yield from (_SKELETON, _DISPATCH, ("arrival", key))
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


def _member_keys(set_id: SetId, members: Iterable[Member]) -> Iterator[MemberKey]:
    for member in members:
        version = member.address.version if isinstance(member, NamedPort) else member.version
        name = set_name(set_id, version)
        for text in members_of(member):
            yield MemberKey(name, text)


def _text(row: object) -> str:
    return " ".join(map(str, row)) if isinstance(row, tuple) else str(row)
