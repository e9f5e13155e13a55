"""BGPPeer: BGP sessions between chosen nodes and a router, other nodes, or the workloads themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from tortie.errors import Problem
from tortie.model.addresses import IPAddress, PeerAddress
from tortie.model.kind import NAME, Kind, Need, column
from tortie.model.resource import Resource, ResourceKey
from tortie.model.scalars import AsNumber, Duration
from tortie.model.schema import Int32, Name, OptionalName, Spec
from tortie.model.secret import BgpPassword
from tortie.model.selector import Selector


class BGPPeerSpec(Spec, frozen=True, kw_only=True):
    """BGP sessions: first who has them, then with whom, then how.

    Source: api/pkg/apis/projectcalico/v3/bgppeer.go
    """

    node: OptionalName = ""
    """The node that has the session; not beside nodeSelector. Default, when both are absent: every node, a "global"
    peer."""

    node_selector: Selector | None = None
    """The nodes that have the session, by their labels; not beside node."""

    peer_ip: PeerAddress | None = None
    """One router: its address, or with a port 192.0.2.1:179, [2001:db8::1]:179. Not beside peerSelector or
    localWorkloadSelector. Default port: 179, or the listenPort of the node that has the address."""

    peer_selector: Selector | None = None
    """Other nodes, by their labels; each pair of nodes has one session. Not beside peerIP, asNumber or
    localWorkloadSelector."""

    local_workload_selector: Selector | None = None
    """Workloads of the node, by their labels. Needs asNumber; not beside peerIP or peerSelector."""

    as_number: AsNumber | None = None
    """The peer's AS number: 0 to 4294967295, or dotted as 1.10. With peerSelector it must be absent: that of each
    selected node counts."""

    local_as_number: AsNumber | None = None
    """The AS number that the node shows to this peer. Default: the node's own."""

    source_address: Literal["UseNodeIP", "None"] | None = None
    """UseNodeIP: the session comes from the node's address; None: from the one that the kernel chooses.
    Default: UseNodeIP."""

    next_hop_mode: Literal["Auto", "Self", "Keep"] | None = None
    """The next hop in routes sent to the peer: as BGP prescribes, always this node, or as it was received.
    Default: Auto."""

    keep_original_next_hop: bool = False
    """Deprecated: nextHopMode Keep. Not beside nextHopMode. Default: false."""

    password: BgpPassword | None = None
    """The password of the session (TCP MD5). Default: none."""

    max_restart_time: Duration | None = None
    """How long routes of a peer that restarts stay in use (graceful restart). Default: 120s, BIRD's."""

    keepalive_time: Duration | None = None
    """Time between two keepalive messages. Default: a third of the hold time, BIRD's choice."""

    num_allowed_local_as_numbers: Int32 | None = None
    """How often the own AS number may stand in the path of a received route. Weakens the protection against loops.
    Default: never."""

    ttl_security: Annotated[int, Meta(ge=0, le=255)] | None = None
    """Number of hops to the peer, 0 to 255: packets from farther away are ignored (RFC 5082). Default: 0, off."""

    reachable_by: IPAddress | None = None
    """The gateway to the peer, which gets a host route by it. Needs peerIP, of the same family."""

    filters: tuple[Name, ...] = ()
    """BGPFilters, applied in this order. Each must exist when the peer is written."""

    reverse_peering: Literal["Auto", "Manual"] | None = None
    """Whether nodes that peerSelector picks have the session back by themselves, or by a BGPPeer of their own.
    Default: Auto."""


def rules(peer: Resource[BGPPeerSpec]) -> Iterator[Problem]:
    spec = peer.spec
    if spec.node and spec.node_selector is not None:
        yield Problem("spec.node", spec.node, "must be absent beside nodeSelector")
    if spec.peer_selector is not None:
        if spec.peer_ip is not None:
            yield Problem("spec.peerIP", str(spec.peer_ip), "must be absent beside peerSelector")
        if spec.as_number:
            reason = "must be absent beside peerSelector: the AS number of each selected node counts"
            yield Problem("spec.asNumber", str(spec.as_number), reason)
    if spec.local_workload_selector is not None:
        yield from _local_workload_rules(spec)
    if spec.keep_original_next_hop and spec.next_hop_mode is not None:
        yield Problem("spec.keepOriginalNextHop", "true", "must be absent beside nextHopMode, which replaces it")
    if spec.reachable_by is not None:
        if spec.peer_ip is None:
            yield Problem("spec.reachableBy", str(spec.reachable_by), "needs peerIP")
        elif spec.reachable_by.version != spec.peer_ip.address.version:
            reason = f"must be an IPv{spec.peer_ip.address.version} address, as peerIP is"
            yield Problem("spec.reachableBy", str(spec.reachable_by), reason)


def _local_workload_rules(spec: BGPPeerSpec) -> Iterator[Problem]:
    if spec.peer_ip is not None:
        yield Problem("spec.peerIP", str(spec.peer_ip), "must be absent beside localWorkloadSelector")
    if spec.peer_selector is not None:
        reason = "must be absent beside localWorkloadSelector"
        yield Problem("spec.peerSelector", spec.peer_selector.source, reason)
    if not spec.as_number:
        yield Problem("spec.asNumber", "", "is required beside localWorkloadSelector")


def needs(peer: Resource[BGPPeerSpec]) -> Iterator[Need]:
    for index, name in enumerate(peer.spec.filters):
        yield Need(ResourceKey("BGPFilter", "", name), f"spec.filters[{index}]")


def _nodes(peer: Resource[BGPPeerSpec]) -> str:
    return peer.spec.node or str(peer.spec.node_selector or "(global)")


COLUMNS = (
    NAME,
    column("PEERIP", lambda peer: peer.spec.peer_ip),
    column("NODE", _nodes),
    column("ASN", lambda peer: peer.spec.as_number or 0),
)

KIND = Kind(
    name="BGPPeer",
    plural="bgppeers",
    aliases=("bgppeer", "bgpp", "bgpps", "bp", "bps"),
    spec=BGPPeerSpec,
    columns=COLUMNS,
    wide=COLUMNS,
    rules=rules,
    needs=needs,
)
