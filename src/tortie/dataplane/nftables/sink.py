"""Enforces policy with nftables: intent in, rows wanted, the kernel made equal to them.

Invariants:
* What is named is written before who names it, and goes after. So an interface opens with its dispatch entry, which
  is the last to come, and closes with it, the first to go.
* An interface is known by its index. What it is called decides once which endpoint it has; under another name it keeps
  its policy until it is told of, and is closed then.
* Endpoints that go through the same policies share the chains of these; a changed policy is rendered once.
* A member that comes or goes costs that one element.
* Nothing that takes long follows upon something that did, in one call of `apply`.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from tortie.dataplane.contract import Repairs
from tortie.dataplane.hosts import resolve
from tortie.dataplane.nftables.arrival import arrival
from tortie.dataplane.nftables.chains import Place
from tortie.dataplane.nftables.counting import chains_of, count
from tortie.dataplane.nftables.endpoints import endpoint_chain
from tortie.dataplane.nftables.hosts import host_rows
from tortie.dataplane.nftables.policies import Policies
from tortie.dataplane.nftables.rows import Kind, MemberKey, RowKey, Rows, RowValue
from tortie.dataplane.nftables.sets import SelectorSets
from tortie.dataplane.nftables.skeleton import closing, dispatch, entrance, exemption, naming, skeleton
from tortie.dataplane.nftables.table import ChainTable, MemberTable
from tortie.dataplane.nftables.translation import floating, outgoing
from tortie.dataplane.nftables.watch import TableWatch
from tortie.dataplane.wanted import Owner, WantedRows
from tortie.errors import KernelError
from tortie.intent.interface import Interface
from tortie.intent.policy import (
    FAMILIES,
    Address,
    Chain,
    Direction,
    Family,
    HostEndpointPolicy,
    NatPool,
    ObjectKey,
    Policy,
    PolicySettings,
    RuleOrigin,
    SetId,
    WorkloadPolicy,
)
from tortie.intent.report import Count, Noted
from tortie.intent.state import PolicyChanges
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.reconcile import Reconciler, Table

# Elements are small; a pass of this many holds the loop for some 10 ms.
MEMBERS_PER_PASS = 1000
ENTRIES_PER_PASS = 500  # of which each counts
ROWS_PER_PASS = 200
_PER_PASS = {Kind.MEMBER: MEMBERS_PER_PASS, Kind.ENTRY: ENTRIES_PER_PASS}

# How soon others' changes are looked for.
WATCH_S = 0.1


class Use(NamedTuple):
    """What endpoints go through, in one direction."""

    direction: Direction
    chain: Chain


class NftablesBackend:
    """The policy backend."""

    def __init__(
        self,
        tables: Mapping[Kind, Table[Any, Any]],
        members: MemberTable,
        chains: ChainTable,
        put_table: Callable[[], None],
        watch: TableWatch | None,
        prefixes: tuple[str, ...],
    ) -> None:
        self._members = members
        self._chains = chains
        self._put_table = put_table
        self._watch = watch  # None: nobody else can change the table
        self._members_are_certain = False
        self._look_at = 0.0
        self._in_order_at: float | None = None  # when the last pass ended that left everything right
        self._reading: Iterator[None] | None = None  # back what others changed
        self._writes_before_repair: int | None = None  # None: nobody changed anything
        self._repairs = Repairs()
        self._reconcilers = {kind: Reconciler(kind.name.lower(), tables[kind]) for kind in Kind}
        self._prefixes = prefixes
        self._exempt: frozenset[str] = frozenset()
        self._settings = PolicySettings()
        self._pools: tuple[NatPool, ...] = ()
        self._hosts: frozenset[Address] = frozenset()
        self._host_endpoints: dict[ObjectKey, HostEndpointPolicy] = {}
        self._interfaces: dict[str, Interface] = {}  # of this host
        self._endpoints_of: dict[str, list[ObjectKey]] = {}  # by interface; the first has it
        self._others: set[str] = set()  # interfaces that begin like no workload's, and are or were one's
        self._rows = WantedRows[RowKey, RowValue](self._reconcilers)
        self._sets = SelectorSets(self._rows, self._reconcilers[Kind.MEMBER])
        self._policies = Policies(self._sets.prefixes)
        self._workloads: dict[ObjectKey, WorkloadPolicy] = {}
        self._with_floating: set[ObjectKey] = set()
        self._floating_changed = False
        self._users: dict[Use, set[ObjectKey]] = {}
        self._names: dict[Use, str] = {}
        self._uses_of_policy: dict[ObjectKey, set[Use]] = {}
        self._policies_of_set: dict[SetId, set[ObjectKey]] = {}
        self._stale: set[Use] = set()
        self._render_skeleton()

    # --- Intent

    def take(self, changes: PolicyChanges) -> None:
        """Takes what changed; costs as much as there is in the changes."""
        if changes.settings is not None and changes.settings != self._settings:
            if changes.settings.lenient != self._settings.lenient:
                self._stale.update(self._users)
            self._settings = changes.settings
            self._render_skeleton()
        self._pools = self._pools if changes.pools is None else changes.pools
        self._hosts = self._hosts if changes.hosts is None else changes.hosts
        if not (changes.settings is None and changes.pools is None and changes.hosts is None):
            self._rows.put(("outgoing", None), outgoing(self._pools, self._hosts, self._settings))
        for new in changes.new_sets:
            if self._sets.put(new):
                self._distrust(new.id)
        for set_id, delta in changes.changed_sets.items():
            if self._sets.change(set_id, delta.added, delta.removed):
                self._distrust(set_id)
        for key, policy in changes.policies.items():
            self._put_policy(key, policy)
        for key, workload in changes.workloads.items():
            self._put_workload(key, workload)
        if self._floating_changed:
            self._floating_changed = False
            outside = (each for key in self._with_floating for each in self._workloads[key].floating)
            self._rows.put(("floating", None), floating(outside))
        for use in list(self._stale):
            self._render_use(use)
        for key, host_endpoint in changes.host_endpoints.items():
            if host_endpoint is None:
                self._host_endpoints.pop(key, None)
            else:
                self._host_endpoints[key] = host_endpoint
        if changes.host_endpoints or self._host_endpoints:
            self._render_hosts()
        for set_id in changes.gone_sets:
            self._sets.drop(set_id)

    def observe(self, interfaces: Mapping[str, Interface | None]) -> None:
        """Takes the interfaces that came, changed or went (None), by name."""
        for name, found in interfaces.items():
            before = self._interfaces.pop(name, None)
            if found is not None:
                self._interfaces[name] = found
            if _identity(before) != _identity(found):
                self._render_interface(name)
        if self._host_endpoints:
            self._render_hosts()

    def exempt(self, interfaces: frozenset[str]) -> None:
        """Takes the interfaces that are the host's own, whatever they begin with and whoever names them."""
        changed = interfaces ^ self._exempt
        if not changed:
            return
        self._exempt = interfaces
        self._rows.put(("exempt", None), exemption(interfaces))
        for name in changed:
            self._render_interface(name)
        if self._host_endpoints:
            self._render_hosts()

    def _render_hosts(self) -> None:
        def is_governed(name: str) -> bool:
            return name.startswith(self._prefixes) and name not in self._exempt

        hosts = resolve(self._host_endpoints.values(), self._interfaces, is_governed)
        self._rows.put(("hosts", None), host_rows(hosts, self._settings, self._policies.ask))

    def _put_policy(self, key: ObjectKey, policy: Policy | None) -> None:
        for set_id in self._policies.sets(key):
            self._policies_of_set[set_id].discard(key)
        before = self._policies.get(key)
        self._policies.put(key, policy)
        if policy is not None:
            for set_id in self._policies.sets(key):
                self._policies_of_set.setdefault(set_id, set()).add(key)
            changed = {way for way in Direction if before is None or not policy.is_same(before, way)}
            self._stale.update(use for use in self._uses_of_policy.get(key, ()) if use.direction in changed)

    def _distrust(self, set_id: SetId) -> None:
        """Its prefixes stand elsewhere now: rules that select by the set ask there."""
        for policy in self._policies_of_set.get(set_id, ()):
            self._stale.update(self._uses_of_policy.get(policy, ()))

    def _put_workload(self, key: ObjectKey, workload: WorkloadPolicy | None) -> None:
        before = self._workloads.pop(key, None)
        if before is not None:
            self._endpoints_of[before.interface].remove(key)
            if not self._endpoints_of[before.interface]:
                del self._endpoints_of[before.interface]
        if key in self._with_floating or (workload is not None and workload.floating):
            self._floating_changed = True
            self._with_floating.discard(key)
        if workload is not None:
            self._workloads[key] = workload
            insort(self._endpoints_of.setdefault(workload.interface, []), key)
            if workload.floating:
                self._with_floating.add(key)
            for use in _uses(workload):
                self._add_use(use, key)
        for use in set(_uses(before)) - set(_uses(workload)):
            self._users[use].discard(key)
            if not self._users[use]:
                self._forget_use(use)
        if workload is None:
            self._render_endpoint(key)
        for name in {each.interface for each in (before, workload) if each is not None}:
            self._render_interface(name)

    def _add_use(self, use: Use, key: ObjectKey) -> None:
        users = self._users.setdefault(use, set())
        if not users:
            for policy in use.chain.policies_and_profiles():
                self._uses_of_policy.setdefault(policy, set()).add(use)
            self._render_use(use)
        users.add(key)

    def _forget_use(self, use: Use) -> None:
        del self._users[use], self._names[use]
        for policy in use.chain.policies_and_profiles():
            self._uses_of_policy[policy].discard(use)
        self._stale.discard(use)
        self._rows.put(("use", use), {})

    def _render_use(self, use: Use) -> None:
        self._stale.discard(use)
        rows: Rows = {}
        chains: dict[Family, str] = {}
        for family in FAMILIES:
            chains[family], needed = endpoint_chain(use.chain, Place(use.direction, family), self._policies.ask)
            rows |= needed
        name, first = entrance(use.direction, chains, self._settings)
        self._rows.put(("use", use), rows | first)
        if self._names.get(use) != name:
            self._names[use] = name
            for key in self._users.get(use, ()):
                self._dispatch(key)

    def _render_interface(self, name: str) -> None:
        """What holds at an interface: the policy of its endpoint, or that it is closed for want of one."""
        found, keys = self._interfaces.get(name), self._endpoints_of.get(name, [])
        for key in keys:
            self._render_endpoint(key)
        is_other = not name.startswith(self._prefixes) and name not in self._exempt
        is_closed = is_other and not keys and found is not None and found.governed
        self._rows.put(("named", name), naming(name) if is_other and keys else {})
        self._rows.put(("closed", name), closing(found.ifindex) if is_closed and found is not None else {})
        had_others = bool(self._others)
        (self._others.add if is_closed or (is_other and keys) else self._others.discard)(name)
        if bool(self._others) != had_others:
            self._render_skeleton()

    def _render_endpoint(self, key: ObjectKey) -> None:
        """How packets of an endpoint's interface arrive, and where they are led."""
        found = self._governing(key)
        self._rows.put(("arrival", key), {} if found is None else arrival(found[0], found[1].ifindex))
        self._dispatch(key)

    def _governing(self, key: ObjectKey) -> tuple[WorkloadPolicy, Interface] | None:
        """The endpoint with the interface that is its own."""
        workload = self._workloads.get(key)
        if workload is None or workload.interface in self._exempt or self._endpoints_of[workload.interface][0] != key:
            return None
        interface = self._interfaces.get(workload.interface)
        return None if interface is None else (workload, interface)

    def _dispatch(self, key: ObjectKey) -> None:
        """Which chains the interface of an endpoint leads to."""
        rows: Rows = {}
        if (found := self._governing(key)) is not None:
            workload, interface = found
            for use in _uses(workload):
                rows |= dispatch(use.direction, interface.ifindex, self._names[use])
        self._rows.put(("dispatch", key), rows)

    def _render_skeleton(self) -> None:
        rows = skeleton(self._settings, self._prefixes, any_others=bool(self._others))
        self._rows.put(("skeleton", None), rows)

    # --- The kernel

    def resync(self) -> Iterator[None]:
        """Reads everything back, a kind of rows a step; raises KernelError, after which it is to be done again.

        Members of sets are left out once nobody else can have changed them: the kernel lists a set from its beginning
        for every hundred of them, a step each: 100,000 take 0.6 s, 300,000 take 3.6.
        """
        while self._sets.let_go():
            yield
        self._put_table()
        for kind, reconciler in self._reconcilers.items():
            if kind is not Kind.MEMBER:
                reconciler.resync()
                yield
            elif not self._members_are_certain:
                yield from reconciler.resync_by_part(self._members.parts(), MEMBERS_PER_PASS)
        self._members_are_certain = self._watch is None

    def apply(self, now: float) -> bool:
        """Writes what is due, then removes what is; True when more is due at once."""
        if self._look_for_others(now):
            return True
        try:
            more = self._write(now)
        except KernelError:
            self._members_are_certain = False
            raise
        if more:
            return True
        self._note_repair(now)
        return False

    def _write(self, now: float) -> bool:
        for kind, reconciler in self._reconcilers.items():
            limit = _PER_PASS.get(kind, ROWS_PER_PASS)
            before = reconciler.writes
            more = reconciler.apply_puts(now, limit)
            written = reconciler.writes - before
            # Of a map that takes the place of another the figures of that one were read.
            if more or written > ROWS_PER_PASS or (written and kind is Kind.SET):
                return True
        # With a set goes what is in it, and its members are then gone already.
        for kind in (Kind.BASE, Kind.DISPATCH, Kind.CHAIN, Kind.SET, Kind.MEMBER, Kind.ENTRY):
            if self._reconcilers[kind].apply_deletes(now, _PER_PASS.get(kind, ROWS_PER_PASS)):
                return True
        self._chains.remove_emptied()
        return self._sets.let_go()

    def _look_for_others(self, now: float) -> bool:
        """Reads everything back if somebody changed the table; True while that goes on."""
        if self._watch is not None and now >= self._look_at:
            self._look_at = now + WATCH_S
            if self._watch.changed():
                self._reading = self.resync()
                self._writes_before_repair = self.writes
        if self._reading is not None:
            for _ in self._reading:
                return True
            self._reading = None
        return False

    def _note_repair(self, now: float) -> None:
        """Everything that is due is written."""
        if not self.in_sync:
            return
        before, self._writes_before_repair = self._writes_before_repair, None
        if before not in (None, self.writes) and self._in_order_at is not None:
            by = self._watch.author if self._watch is not None else ""
            self._repairs = Repairs(self._repairs.times + 1, round(1000 * (now - self._in_order_at)), by)
        self._in_order_at = now

    def missing(self, key: ObjectKey) -> str:
        """What an endpoint's policy still lacks in the kernel; empty when it is in force."""
        if key not in self._workloads:
            return "its policy is not known yet"
        interface = self._workloads[key].interface
        if interface in self._exempt:
            return f"interface {interface} is the host's own: no workload's policy holds there"
        if (first := self._endpoints_of[interface][0]) != key:
            return f"interface {interface} is that of {first}"
        uses = _uses(self._workloads[key])
        owners: list[Owner] = [("skeleton", None), ("arrival", key), ("dispatch", key)]
        owners += [("use", use) for use in uses]
        for owner in owners:
            for row in self._rows.get(owner):
                reconciler = self._reconcilers[row.kind]
                if not reconciler.right(row.key):
                    failure = reconciler.failures.get(row.key)
                    return f"{row.kind.name.lower()} {_text(row)}: {failure.error if failure else 'not written yet'}"
        return ""

    @property
    def pending(self) -> Iterator[Noted]:
        """Rows that could not be written yet, with the reason."""
        for kind, reconciler in self._reconcilers.items():
            for row, failure in reconciler.failures.items():
                yield Noted(subject=f"{kind.name.lower()} {_text(RowKey(kind, row))}", reason=str(failure.error))

    @property
    def problems(self) -> Iterator[Noted]:
        return iter(())

    @property
    def writes(self) -> int:
        return sum(reconciler.writes for reconciler in self._reconcilers.values())

    @property
    def repairs(self) -> Repairs:
        return self._repairs

    @property
    def busy(self) -> bool:
        return False

    @property
    def in_sync(self) -> bool:
        idle = self._reading is None and self._sets.all_gone
        return idle and all(reconciler.in_sync for reconciler in self._reconcilers.values())

    def counts(self, policies: Collection[ObjectKey]) -> Callable[[], Mapping[RuleOrigin, Count]]:
        """A reader, for any thread, of what the rules of these policies have counted."""
        asked = [policy for key in policies if (policy := self._policies.get(key)) is not None]
        names = [str(name) for name in self._reconcilers[Kind.CHAIN].wanted]
        chains = [(policy, list(chains_of(policy, names))) for policy in asked]

        def read() -> Mapping[RuleOrigin, Count]:
            found: dict[RuleOrigin, Count] = {}
            with NetfilterSocket() as sock:
                for policy, some in chains:
                    found |= count(sock, policy, some)
            return found

        return read

    def next_due(self) -> float | None:
        """When a failed row should be tried again, or others' changes be looked for."""
        due = [reconciler.next_due() for reconciler in self._reconcilers.values()]
        if self._watch is not None:
            due.append(self._look_at)
        return min((time for time in due if time is not None), default=None)

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
        self._chains.close()


def _uses(workload: WorkloadPolicy | None) -> list[Use]:
    if workload is None:
        return []
    return [Use(direction, workload.policy.chain(direction)) for direction in Direction]


def _identity(interface: Interface | None) -> tuple[int, bool] | None:
    """What a workload's policy depends on; addresses are asked for by host endpoints."""
    return None if interface is None else (interface.ifindex, interface.governed)


def _text(row: RowKey) -> str:
    key = row.key
    return f"{key.set} {key.key.hex()}" if isinstance(key, MemberKey) else key
