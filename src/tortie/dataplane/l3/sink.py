"""Routes this node's workloads: wants rows, watches the kernel, and keeps both equal.

Wishes come by `desire`, facts by `observe`, and `apply` writes the difference. All are plain calls; the agent
decides when.

Invariants:
* An interface is governed only after it was found fit, once (`fitness`); an unfit one is left alone and reported.
* Routes are wanted only while the interface is running; the wish outlives the interface.
* A change of one endpoint or link costs work for that endpoint, not for all.
* `up` means that every row is written and that the kernel answers a lookup of the address with our route.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from tortie.conventions import ROUTE_PROTOCOL
from tortie.dataplane.l3.facts import Facts
from tortie.dataplane.l3.host import HostSettings
from tortie.dataplane.l3.render import render_endpoint
from tortie.dataplane.l3.repairs import Repairs
from tortie.dataplane.l3.rows import Address, Kind, RouteKey, RouteTarget, RowKey, Rows
from tortie.errors import KernelError, TortieError
from tortie.intent.l3 import EndpointKey, LocalEndpoint
from tortie.intent.report import EndpointReport, EndpointState, Noted
from tortie.kernel.netlink.link import Link
from tortie.kernel.netlink.monitor import Event
from tortie.reconcile import Reconciler, Table

# The slowest row, a filter, takes 0.1 ms: a pass holds the event loop for some 10 ms at most.
ROWS_PER_PASS = 100
# An endpoint whose link is new takes some 25 rows, 0.3 ms to render.
LINKS_PER_STEP = 25

# Each of these rows is a question of its own to the kernel; the other tables answer as a whole.
_READ_BY_KEY = frozenset({Kind.SYSCTL, Kind.MAC, Kind.FILTER, Kind.GATE})

# What stands in the way of an endpoint may go without an event (a rule, a question the kernel had no answer to).
JUDGE_AGAIN_S = 1.0
# Between two looks at settings of the host, when something is done anyway.
LOOK_AGAIN_S = 1.0

Lookup = Callable[[Address], RouteTarget | str]  # the route by which the kernel would reach an address, or why none


class L3:
    """The sink: one reconciler per kernel table, endpoints and links joined by interface name."""

    def __init__(
        self,
        tables: Mapping[Kind, Table[Any, Any]],
        facts: Facts,
        host: HostSettings,
        lookup: Lookup,
        responder: int,
        repairs: Repairs,
    ) -> None:
        """`responder` is the id of the loaded eBPF program, 0 when the kernel's proxy ARP stands in for it."""
        self._reconcilers = {kind: Reconciler(kind.name.lower(), tables[kind]) for kind in sorted(tables)}
        self.facts = facts
        self.repairs = repairs
        self._host = host
        self._lookup = lookup
        self._responder = responder
        self._endpoints: dict[EndpointKey, LocalEndpoint] = {}
        self._governor: dict[str, EndpointKey] = {}  # interface name -> the endpoint that governs it
        self._rows: dict[EndpointKey | None, Rows] = {}  # None: the host's own
        self._owner: dict[RowKey, EndpointKey | None] = {}
        self._closed: frozenset[int] = frozenset()  # interfaces by index
        self._unsettled: set[EndpointKey] = set()  # to be judged
        self._failing: set[EndpointKey] = set()  # judged, to be judged again after the next write
        self._judged_at = 0  # `writes` at the last look at the failing ones
        self._judge_again_at = 0.0
        self._look_at = 0.0  # of the next look at the host's settings
        self._rules_changed = False  # and with them, perhaps, the kernel's way to any address
        self._judge_all_at = 0.0  # not sooner, however often they change
        self._reports: dict[str, EndpointReport] = {}
        self._shown: Mapping[str, EndpointReport] | None = None  # a copy of them, until one changes
        self._errors: dict[str, EndpointReport] = {}  # of them, those of endpoints in error

    def desire(self, key: EndpointKey, endpoint: LocalEndpoint | None) -> None:
        """Takes one changed wish; None: the endpoint is gone, its rows go with the next `apply`."""
        old = self._endpoints.pop(key, None)
        if old is not None and self._governor.get(old.interface) == key:
            del self._governor[old.interface]
        if endpoint is None:
            self._reports.pop(_name(key), None)
            self._errors.pop(_name(key), None)
            self._shown = None
        else:
            self._endpoints[key] = endpoint
            if not endpoint.refused:
                self._governor[endpoint.interface] = key
        self._render(key)

    def close(self, interfaces: frozenset[int], now: float) -> None:
        """Takes the interfaces, by index, that no packet may pass whatever they are called, and no others.

        Closes them at once, before anything else is written; `apply` opens those that were closed before.
        """
        if interfaces != self._closed:
            self._closed = interfaces
            self._render_host()
            if (gates := self._reconcilers.get(Kind.GATE)) is not None:
                gates.apply_puts(now)

    def observe(self, event: Event) -> None:
        """Takes one event of the kernel; `Overflow` is the caller's to answer with `resync`."""
        change = self.facts.observe(event)
        port = getattr(event, "port", 0)
        for name, kind in change.lost:
            self._lost(name, kind, port)
        for row, value in change.rows:
            self._saw(row, value, port)
        for row in change.freed:
            self._saw_foreign(row)
        for name in change.links:
            self._render_interface(name)
        if change.host:
            self._render_host()
        self._rules_changed |= change.lookups

    def resync(self) -> Iterator[None]:
        """Reads everything back, in bounded steps; raises KernelError, after which it is to be done again.

        Events may be observed between the steps; a pass between them knows less than one after.
        """
        names = set(self.facts.names())
        yield from self.facts.resync()
        for number, name in enumerate(names | set(self.facts.names()), 1):
            self._render_interface(name)
            if number % LINKS_PER_STEP == 0:
                yield
        self._render_host()
        for kind, reconciler in self._reconcilers.items():
            first, lacked = not reconciler.known, set(reconciler.lacking)
            # Between the steps of reading by key others may be wanted, which nobody has harmed.
            old = set(reconciler.wanted) if kind in _READ_BY_KEY else None
            if kind in _READ_BY_KEY:
                # A filter of ours may also be left on an interface that no endpoint names any more.
                others = self.facts.carriers() if kind is Kind.FILTER or (kind is Kind.GATE and first) else ()
                yield from reconciler.resync_by_key(others, ROWS_PER_PASS)
            else:
                reconciler.resync()
                yield
            if not first:
                for key in set(reconciler.lacking) - lacked:
                    if old is None or key in old:
                        self.repairs.found(RowKey(kind, key))
        self.repairs.read_back()
        self._unsettled.update(self._endpoints)

    def apply(self, now: float) -> bool:
        """Writes what is due: withdrawals upwards, then additions downwards; then judges who is up.

        A bounded number of rows; True when more is due at once. A table's rest goes before the next table.
        """
        if now >= self._look_at:
            self._look_at = now + LOOK_AGAIN_S
            self._host.look()
        for kind in reversed(self._reconcilers):
            if self._reconcilers[kind].apply_deletes(now, ROWS_PER_PASS):
                return True
        for kind in self._reconcilers:
            more = self._reconcilers[kind].apply_puts(now, ROWS_PER_PASS)
            for key in self._reconcilers[kind].put_last:
                self.repairs.written(RowKey(kind, key))
            if more:
                return True
        if self._failing and (self.writes != self._judged_at or now >= self._judge_again_at):
            self._judged_at = self.writes
            self._judge_again_at = now + JUDGE_AGAIN_S
            for key in list(self._failing):
                self._render(key)
        if self._rules_changed and now >= self._judge_all_at:
            self._rules_changed = False
            self._judge_all_at = now + JUDGE_AGAIN_S
            self._unsettled.update(self._endpoints)
        for key in list(islice(self._unsettled, ROWS_PER_PASS)):
            self._unsettled.discard(key)
            self._judge(key)
        return bool(self._unsettled)

    def governing(self, interface: str) -> LocalEndpoint | None:
        """The endpoint that an interface belongs to."""
        key = self._governor.get(interface)
        return None if key is None else self._endpoints[key]

    @property
    def reports(self) -> Mapping[str, EndpointReport]:
        """By `namespace/name`. The same object as before while none has changed."""
        if self._shown is None:
            self._shown = dict(self._reports)
        return self._shown

    @property
    def errors(self) -> Mapping[str, EndpointReport]:
        """Of the reports those of endpoints in error."""
        return self._errors

    @property
    def pending(self) -> Iterator[Noted]:
        """Rows that could not be written yet, with the reason."""
        for kind, reconciler in self._reconcilers.items():
            for row, failure in reconciler.failures.items():
                yield Noted(subject=f"{kind.name.lower()} {_text(row)}", reason=str(failure.error))

    @property
    def problems(self) -> Iterator[Noted]:
        """Settings and interfaces of the host that hurt, and that are not ours to change."""
        yield from self._host.problems()
        if self.facts.problem is not None:
            yield self.facts.problem

    @property
    def writes(self) -> int:
        return sum(reconciler.writes for reconciler in self._reconcilers.values())

    @property
    def in_sync(self) -> bool:
        return all(reconciler.in_sync for reconciler in self._reconcilers.values())

    def next_due(self) -> float | None:
        """When a failed row should be tried, or a failing endpoint judged, again."""
        due = [reconciler.next_due() for reconciler in self._reconcilers.values()]
        if self._failing:
            due.append(self._judge_again_at)
        if self._rules_changed:
            due.append(self._judge_all_at)
        return min((time for time in due if time is not None), default=None)

    def _render_host(self) -> None:
        closed = {RowKey(Kind.GATE, ifindex): True for ifindex in self._closed}
        self._set_rows(None, self._host.rows(self.facts) | closed)

    def _render_interface(self, name: str) -> None:
        if name in self._governor:
            self._render(self._governor[name])

    def _render(self, key: EndpointKey) -> None:
        endpoint = self._endpoints.get(key)
        link = self._fit_link(endpoint) if endpoint is not None else None
        rows: Rows = {}
        if endpoint is not None and link is not None:
            rows = render_endpoint(endpoint, link, ipv6=self.facts.ipv6, responder=self._responder)
        self._set_rows(key, rows)
        self._failing.discard(key)
        if endpoint is not None:
            self._unsettled.add(key)
        else:
            self._unsettled.discard(key)

    def _fit_link(self, endpoint: LocalEndpoint) -> Link | None:
        link = self.facts.link(endpoint.interface)
        if endpoint.refused or link is None or self.facts.unfit(link):
            return None
        return link

    def _set_rows(self, owner: EndpointKey | None, rows: Rows) -> None:
        # Without the responder its tables do not exist.
        rows = {row: value for row, value in rows.items() if row.table in self._reconcilers}
        old = self._rows.pop(owner, {})
        for row in old.keys() - rows.keys():
            # The row may have passed to another endpoint in the same batch of changes.
            if self._owner.get(row) == owner:
                del self._owner[row]
                self._reconcilers[row.table].unwant(row.key)
                self.repairs.forget(row)
        for row, value in rows.items():
            self._owner[row] = owner
            self._reconcilers[row.table].want(row.key, value)
        if rows:
            self._rows[owner] = rows

    def _saw(self, row: RowKey, value: Any, port: int) -> None:
        """The kernel holds this row, or none when `value` is None; by the doing of that socket."""
        reconciler = self._reconcilers[row.table]
        was_right = row in self._owner and reconciler.right(row.key)
        if value is None:
            reconciler.saw_gone(row.key)
        else:
            reconciler.saw(row.key, value)
        if value is not None and reconciler.right(row.key):
            self.repairs.right(row)
        elif was_right:
            self.repairs.harmed(row, port)
        self._unsettle(row)

    def _saw_foreign(self, row: RowKey) -> None:
        """Something of others came or went under this key: what failed may succeed, what was up may not be."""
        self._reconcilers[row.table].retry(row.key)
        self._unsettle(row)

    def _lost(self, name: str, kind: Kind, port: int) -> None:
        """The kernel dropped its rows of a kind on an interface without an event for each."""
        owner = self._governor.get(name)
        if owner is None:
            return
        for row in list(self._rows.get(owner, ())):
            # Of routes those of IPv4 alone: of the others an event tells.
            if row.table == kind and not (isinstance(row.key, RouteKey) and len(row.key.destination) == 16):
                self._saw(row, None, port)

    def _unsettle(self, row: RowKey) -> None:
        owner = self._owner.get(row)
        if owner is not None:
            self._unsettled.add(owner)

    def _judge(self, key: EndpointKey) -> None:
        endpoint = self._endpoints[key]
        state, reason, settled = self._verdict(endpoint)
        report = EndpointReport(
            state=state,
            reason=reason,
            interface=endpoint.interface,
            addresses=tuple(str(address) for address in endpoint.addresses),
        )
        if report != self._reports.get(_name(key)):
            self._reports[_name(key)] = report
            self._shown = None
            self._errors.pop(_name(key), None)
            if state is EndpointState.ERROR:
                self._errors[_name(key)] = report
        if not settled:
            self._failing.add(key)

    def _verdict(self, endpoint: LocalEndpoint) -> tuple[EndpointState, str, bool]:
        """State, reason, and whether only an event or a new wish can change it."""
        name = endpoint.interface
        if endpoint.refused:
            return EndpointState.ERROR, endpoint.refused, True
        link = self.facts.link(name)
        if link is None:
            return EndpointState.DOWN, f"interface {name} does not exist: waiting for it", True
        unfit = self.facts.unfit(link)
        if unfit:
            return EndpointState.ERROR, unfit, False
        wrong = self._wrong(endpoint)
        if wrong is not None:
            return EndpointState.ERROR, wrong, False
        if not link.up:
            return EndpointState.DOWN, f"interface {name} is down: set it up, its routes follow", True
        if not link.running:
            return (
                EndpointState.DOWN,
                f"interface {name} is waiting for carrier: its guest is not running",
                True,
            )
        for address in endpoint.addresses:
            try:
                found = self._lookup(address)
            except KernelError as error:
                return EndpointState.ERROR, f"its route could not be verified: {error}", False
            if found != RouteTarget(link.ifindex, ROUTE_PROTOCOL):
                return EndpointState.ERROR, self._overruled(address, found), False
        return EndpointState.UP, "", True

    def _wrong(self, endpoint: LocalEndpoint) -> str | None:
        for row in self._rows.get(endpoint.key, {}):
            reconciler = self._reconcilers[row.table]
            if not reconciler.right(row.key):
                failure = reconciler.failures.get(row.key)
                error: TortieError = failure.error if failure else KernelError("not written yet")
                return f"{row.table.name.lower()} {_text(row.key)}: {error}"
        return None

    def _overruled(self, address: Address, found: RouteTarget | str) -> str:
        if isinstance(found, str):
            return f"the kernel does not take our route to {address}, though it is written: {found}"
        name = self.facts.name(found.ifindex)
        return (
            f"a route of protocol {found.protocol} to {address} by {name} stands before ours: "
            f"delete it, or give the endpoint another address"
        )


def _name(key: EndpointKey) -> str:
    return f"{key.namespace}/{key.name}"


def _text(key: object) -> str:
    parts = key if isinstance(key, tuple) else (key,)
    return " ".join(str(part) for part in parts)
