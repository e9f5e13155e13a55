"""CalicoNodeStatus: asks a node's agent to report on itself, and holds the report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from tortie.errors import Problem
from tortie.model.kind import NAME, Kind, column, with_status
from tortie.model.resource import Resource
from tortie.model.schema import Int64, Name, Spec


class CalicoNodeStatusSpec(Spec, frozen=True, kw_only=True):
    """What is asked.

    Source: api/pkg/apis/projectcalico/v3/nodestatus.go
    """

    node: Name
    """The node that reports, by the name of its Node."""

    classes: tuple[Literal["Agent", "BGP", "Routes"], ...]
    """What it reports, each once: the BGP daemon, the sessions, the routes."""

    update_period_seconds: Annotated[int, Meta(ge=0, le=86400)]
    """Seconds between two reports, 0 to 86400; 0 stops them."""


class DaemonStatus(Spec, frozen=True, kw_only=True):
    """A BGP daemon, in its own words."""

    state: str = ""
    """Ready or NotReady."""

    version: str = ""
    """Its version."""

    router_id: str = ""
    """Its router id, as an IPv4 address."""

    last_boot_time: str = ""
    """When it started."""

    last_reconfiguration_time: str = ""
    """When it took a new configuration last."""


class AgentStatus(Spec, frozen=True, kw_only=True):
    """The BGP daemons."""

    bird_v4: DaemonStatus = DaemonStatus()
    """That of IPv4."""

    bird_v6: DaemonStatus = DaemonStatus()
    """That of IPv6."""


class PeerStatus(Spec, frozen=True, kw_only=True):
    """A BGP session."""

    peer_ip: str = ""
    """The peer's address."""

    type: str = ""
    """What asks for the session: NodeMesh, NodePeer or GlobalPeer."""

    state: str = ""
    """Idle, Connect, Active, OpenSent, OpenConfirm, Established or Close."""

    since: str = ""
    """Since when, as the daemon says it."""


class BgpStatus(Spec, frozen=True, kw_only=True):
    """The BGP sessions."""

    number_established_v4: Int64 = 0
    """How many IPv4 sessions are up."""

    number_not_established_v4: Int64 = 0
    """How many IPv4 sessions are not."""

    number_established_v6: Int64 = 0
    """How many IPv6 sessions are up."""

    number_not_established_v6: Int64 = 0
    """How many IPv6 sessions are not."""

    peers_v4: tuple[PeerStatus, ...] = ()
    """The IPv4 sessions."""

    peers_v6: tuple[PeerStatus, ...] = ()
    """The IPv6 sessions."""


class RouteSource(Spec, frozen=True, kw_only=True):
    """Where a route was learned."""

    source_type: str = ""
    """Kernel, Static, Direct, NodeMesh or BGPPeer."""

    peer_ip: str = ""
    """The peer that sent it."""


class RouteStatus(Spec, frozen=True, kw_only=True):
    """A route."""

    type: str = ""
    """FIB: packets are forwarded by it; RIB: it is only known."""

    destination: str = ""
    """Its prefix."""

    gateway: str = ""
    """Its next hop."""

    interface: str = ""
    """Its interface."""

    learned_from: RouteSource = RouteSource()
    """Where it was learned."""


class RoutesStatus(Spec, frozen=True, kw_only=True):
    """The routes that the BGP daemons know."""

    routes_v4: tuple[RouteStatus, ...] = ()
    """IPv4 routes."""

    routes_v6: tuple[RouteStatus, ...] = ()
    """IPv6 routes."""


class CalicoNodeStatusStatus(Spec, frozen=True, kw_only=True):
    """What the node's agent reports. Never absent; empty before the first report."""

    last_updated: str = ""
    """When it reported last, RFC 3339; null before the first time."""

    agent: AgentStatus = AgentStatus()
    """The BGP daemons, if asked for."""

    bgp: BgpStatus = BgpStatus()
    """The sessions, if asked for."""

    routes: RoutesStatus = RoutesStatus()
    """The routes, if asked for."""


def rules(status: Resource[CalicoNodeStatusSpec]) -> Iterator[Problem]:
    classes = status.spec.classes
    if not classes:
        yield Problem("spec.classes", "", "must have at least one of Agent, BGP, Routes")
    if len(set(classes)) < len(classes):
        yield Problem("spec.classes", ", ".join(classes), "must have each class once")


CLASSES = column("CLASSES", lambda status: ",".join(status.spec.classes))
COLUMNS = (NAME, column("NODE", lambda status: status.spec.node))

KIND = Kind(
    name="CalicoNodeStatus",
    plural="caliconodestatuses",
    aliases=("caliconodestatus", "nodestatus", "nodestatuses"),
    spec=CalicoNodeStatusSpec,
    status=CalicoNodeStatusStatus,
    columns=COLUMNS,
    wide=(*COLUMNS, CLASSES),
    on_write=with_status,
    rules=rules,
)
