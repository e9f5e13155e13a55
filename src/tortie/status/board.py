"""The board: what the sinks reported last. Values only; who waits for a change is the agent's business."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from tortie.model.resource import ResourceKey


class EndpointState(StrEnum):
    """Calico's words (they are written to the datastore as they stand)."""

    UP = "up"  # verified in the kernel
    DOWN = "down"  # in order, but its interface is missing or not running
    ERROR = "error"  # not routed; the reason says what to do


class EndpointReport(msgspec.Struct, frozen=True, kw_only=True):
    """One local endpoint as the data plane sees it."""

    state: EndpointState
    reason: str = ""  # empty when up
    interface: str
    addresses: tuple[str, ...]


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """Something an operator should know: an object by name, a table of the kernel, a setting of the host."""

    subject: str
    reason: str


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
    endpoints: Mapping[ResourceKey, EndpointReport] = {}
    pending: tuple[Noted, ...] = ()  # rows of the kernel that are not yet as they should be
    problems: tuple[Noted, ...] = ()  # objects left out, settings of the host that hurt
    responder: str = ""  # "ebpf", or why not
    bird: Bird = Bird(running=False)
    writes: int = 0  # kernel rows written since the agent started
    loop_lag_ms: float = 0.0
