"""The board: what the sinks reported last. Values only; who waits for a change is the agent's business."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tortie.intent.report import EndpointReport, Noted


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One BGP session as BIRD reports it."""

    name: str
    kind: str  # mesh, global, node
    address: str
    state: str
    since: str
    info: str
    imported: int
    exported: int


class Bird(msgspec.Struct, frozen=True, kw_only=True):
    """BIRD as this node last saw it."""

    running: bool
    version: str = ""
    configured: bool = False  # it runs with the configuration that is wanted
    problem: str = ""
    sessions: tuple[Session, ...] = ()
    announcing: bool = True  # it runs a configuration that tells peers of routes
    reflector: bool = False  # it passes on routes between others

    @property
    def silent(self) -> bool:
        """No peer with a session has a route from us. A withdrawal is on its way when it is no longer counted."""
        return self.configured and not self.announcing and not any(each.exported for each in self.sessions)


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """A warning or error of the agent's log."""

    time: str  # RFC 3339, UTC
    text: str


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """A row of ours that others took away or changed, and that is back."""

    time: str  # of the last time that it was back; RFC 3339, UTC
    table: str
    what: str  # the row in words
    by: str  # who took it, as far as the kernel tells
    back_ms: float  # from the event on
    longest_ms: float
    times: int


class Duration(msgspec.Struct, frozen=True, kw_only=True):
    """How long something takes: so often, in all, the last time, and how often within each of `LIMITS_S`."""

    count: int = 0
    sum_s: float = 0.0
    last_s: float = 0.0
    within: tuple[int, ...] = ()


# Upper limits of what is counted by `Duration.within`; what took longer is in the count alone.
LIMITS_S = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """Packets that were dropped for one reason, and their bytes."""

    packets: int = 0
    bytes: int = 0


class Vitals(msgspec.Struct, frozen=True, kw_only=True):
    """Figures that move by themselves: measured when somebody asks, not when something happens."""

    uptime_s: float = 0.0
    resident_bytes: int = 0  # of memory
    processor_s: float = 0.0  # of the agent's process
    loop_lag_worst_ms: float = 0.0  # of the last minute
    datastore_stale_s: float = 0.0  # how long the datastore has not answered; 0 while it does
    # From a change that is taken in to its being in force: `policy` (rules in the kernel), `enforced` (and no
    # connection left that they deny), `routes`, `bgp` (in BIRD); and `resync`, a reading back of the kernel.
    applied: Mapping[str, Duration] = {}
    resyncs: Mapping[str, int] = {}  # by cause: start, interval, lost-events, retry
    connections_cut: int = 0
    dropped: Mapping[str, Dropped] = {}  # by reason


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A change that waits to be confirmed."""

    name: str
    by: str  # user@host
    deadline: str  # RFC 3339, UTC, by this host's clock: as this agent counts it
    objects: tuple[str, ...]
    gone_back: bool  # it is out of force: its time is up, or the store says so


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """All there is to know about this node."""

    node: str
    version: str
    datastore: str  # URL without secrets
    connected: bool = False
    in_sync: bool = False  # the datastore's snapshot is complete: this node may write
    drained: bool = False  # no route is announced, and nothing may be attached, until `tortie node uncordon`
    from_snapshot: bool = False  # the state in force comes from the local snapshot
    datastore_problem: str = ""
    revision: int = 0
    policy_backend: str = ""  # who enforces policy
    # Of this revision and all before it nothing that they deny passes, not even on a connection that began before.
    enforced_revision: int = 0
    endpoints: Mapping[str, EndpointReport] = {}  # by namespace/name
    pending: tuple[Noted, ...] = ()  # rows of the kernel that are not yet as they should be
    problems: tuple[Noted, ...] = ()  # objects left out, settings of the host that hurt
    confirmations: tuple[Waiting, ...] = ()
    responder: str = ""  # "ebpf", or why not
    bird: Bird = Bird(running=False)
    errors: tuple[Logged, ...] = ()  # the last ones, oldest first
    repairs: tuple[Repaired, ...] = ()  # what others took away of routing and is back: the last ones, oldest first
    repaired: Mapping[str, int] = {}  # rows that are back, by table, since the agent started
    writes: int = 0  # kernel rows of routing written since the agent started
    policy_writes: int = 0  # and those of policy
    policy_repairs: int = 0  # how often others changed rows of policy, and they were put right
    policy_open_ms: int = 0  # the last time, for so long at most
    policy_changed_by: str = ""  # the last time, as far as the kernel tells
    loop_lag_ms: float = 0.0
    vitals: Vitals = Vitals()
