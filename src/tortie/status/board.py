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


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """A warning or error of the agent's log."""

    time: str  # RFC 3339, UTC
    text: str


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """All there is to know about this node."""

    node: str
    version: str
    datastore: str  # URL without secrets
    connected: bool = False
    in_sync: bool = False  # the datastore's snapshot is complete: this node may write
    from_snapshot: bool = False  # the state in force comes from the local snapshot
    datastore_problem: str = ""
    revision: int = 0
    policy_backend: str = ""  # who enforces policy
    # Of this revision and all before it nothing that they deny passes, not even on a connection that began before.
    enforced_revision: int = 0
    endpoints: Mapping[str, EndpointReport] = {}  # by namespace/name
    pending: tuple[Noted, ...] = ()  # rows of the kernel that are not yet as they should be
    problems: tuple[Noted, ...] = ()  # objects left out, settings of the host that hurt
    responder: str = ""  # "ebpf", or why not
    bird: Bird = Bird(running=False)
    errors: tuple[Logged, ...] = ()  # the last ones, oldest first
    writes: int = 0  # kernel rows of routing written since the agent started
    policy_writes: int = 0  # and those of policy
    loop_lag_ms: float = 0.0
