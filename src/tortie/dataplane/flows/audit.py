"""Cuts what policy forbids now: walks the tracked connections, judges those of our endpoints, deletes the denied.

The kernel lets an established connection pass without a look at the rules. So after every change that may close
something, and when the agent starts, each connection is judged as if it began now. There is no memory of what a
connection was allowed by: a walk finds the same whatever happened before.

Invariants:
* `apply` is called when the kernel has the policy: what begins from then on is the rules' matter.
* A step takes some milliseconds, however many connections and rules there are.
* Connections of which no end is an endpoint's are not touched, but for those of a workload that left; with host
  endpoints every connection is judged.
* It is over when a walk found nothing to cut.

Deleting an entry cuts, because a TCP packet in the middle of a conversation opens none (the backends' part), and any
other packet is judged as a new one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice

from tortie.dataplane.flows.closing import Closing
from tortie.dataplane.flows.departures import Departures
from tortie.dataplane.flows.judging import FlowJudge, touches
from tortie.dataplane.flows.routes import KernelRoutes
from tortie.errors import KernelError
from tortie.intent.bulk import BulkJudge
from tortie.intent.indexed import IndexedState
from tortie.intent.report import Noted
from tortie.intent.state import PolicyChanges
from tortie.kernel.netfilter import conntrack
from tortie.kernel.netfilter.conntrack import Connection
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netlink.socket import NetlinkSocket

# Of the event loop's time, for one step.
STEP_S = 0.005
# Changes come in bursts: one walk for all of them.
DEBOUNCE_S = 0.05
# After a walk it pauses for as long as it was busy, so that steady changes take at most half of a processor.
MAX_PAUSE_S = 0.3
RETRY_S = 1.0
# What a walk cut is looked for again after this, then after four times as long, until there is nothing.
AGAIN_S = 0.05
MAX_AGAIN_S = 60.0
# Connections judged between two looks at the clock.
_JUDGED_AT_ONCE = 10


class FlowAudit:
    """The connections of the network namespace of its sockets."""

    def __init__(
        self,
        state: IndexedState,
        judge: BulkJudge,
        open_socket: Callable[[], NetfilterSocket],
        netlink: NetlinkSocket,
    ) -> None:
        self._state = state
        self._judge = judge
        self._open = open_socket
        self._netlink = netlink
        self._cutter = open_socket()
        self._closing = Closing()
        self._departures = Departures()
        self._departed: set[bytes] = set()
        self._wanted = True  # whatever there is was never looked at
        self._first = True
        self._steps: Iterator[None] | None = None
        self._due: float | None = None
        self._not_before = 0.0
        self._busy_s = 0.0
        self._again_s = AGAIN_S
        self._cut = 0  # by this walk
        self._failed: dict[Connection, KernelError] = {}
        self.problem: Noted | None = None
        self.walks = 0  # that came to their end
        self.cut = 0  # connections, ever

    def close(self) -> None:
        self._steps = None
        self._cutter.close()

    def take(self, changes: PolicyChanges) -> None:
        """What the state and the judge take too."""
        departed = self._departures.take(changes)
        self._departed |= departed
        self._wanted |= self._closing.take(changes) or bool(departed)

    def demand(self) -> None:
        """A walk is wanted: something else than a change of policy may have let connections in."""
        self._wanted = True

    def apply(self, now: float) -> bool:
        """One step, if one is due; True when the next is due at once."""
        if self._steps is None and not self._starts(now):
            return False
        started = time.monotonic()
        try:
            over = self._step(started + STEP_S)
        except KernelError as error:
            self._steps = None
            self._due = now + RETRY_S
            self.problem = Noted(subject="tracked connections", reason=f"they are not audited: {error}")
            return False
        taken = time.monotonic() - started
        self._busy_s += taken
        if over:
            self._conclude(now + taken)
        return not over

    def next_due(self) -> float | None:
        """When the next walk begins; None when none is wanted."""
        return self._due

    @property
    def quiet(self) -> bool:
        """All that policy forbids is cut."""
        return not self._wanted and self._due is None and self._steps is None

    def _schedule(self, now: float) -> None:
        if self._wanted:
            self._wanted = False
            soon = max(now + (0.0 if self._first else DEBOUNCE_S), self._not_before)
            self._due = soon if self._due is None else min(soon, self._due)
            self._again_s = AGAIN_S

    def _starts(self, now: float) -> bool:
        self._schedule(now)
        if self._due is None or now < self._due:
            return False
        self._due = None
        self._busy_s, self._cut, self._failed = 0.0, 0, {}
        self._steps = self._walk()
        return True

    def _step(self, until: float) -> bool:
        """Goes on until then; True at the end of the walk."""
        assert self._steps is not None
        return all(time.monotonic() < until for _ in self._steps)

    def _conclude(self, now: float) -> None:
        self._steps = None
        self._first = False
        self.walks += 1
        self.problem = None
        self._not_before = now + min(self._busy_s, MAX_PAUSE_S)
        for connection, error in islice(self._failed.items(), 1):
            self.problem = Noted(subject=f"connection {connection}", reason=f"it cannot be cut: {error}")
        if self._cut or self._failed:
            self._due = now + self._again_s
            self._again_s = min(4 * self._again_s, MAX_AGAIN_S)
        self._schedule(now)  # what changed during the walk

    def _walk(self) -> Iterator[None]:
        departed, self._departed = self._departed, set()
        flows = FlowJudge(self._state, self._judge, KernelRoutes(self._netlink))
        try:
            with self._open() as sock:
                for piece in conntrack.walk(sock):
                    if not self._judge.prepared:
                        yield from self._judge.prepare()
                        flows.renew(KernelRoutes(self._netlink))
                    pieces = iter(piece)
                    while some := list(islice(pieces, _JUDGED_AT_ONCE)):
                        self._delete([each for each in some if self._is_to_go(each, flows, departed)])
                        yield
                departed = {each for each in departed if self._cut and self._state.owner(each) is None}
        finally:
            # Those of a walk that failed, or that cut something, are looked for again.
            self._departed |= departed

    def _is_to_go(self, connection: Connection, flows: FlowJudge, departed: set[bytes]) -> bool:
        if departed and touches(connection, departed):
            return True
        if flows.concerns(connection):
            return flows.denied(connection)
        return self._first and flows.is_leftover(connection)

    def _delete(self, connections: list[Connection]) -> None:
        if connections:
            failed = conntrack.delete(self._cutter, connections)
            self._failed |= failed
            self._cut += len(connections) - len(failed)
            self.cut += len(connections) - len(failed)
