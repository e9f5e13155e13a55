"""BGPPeer: BGP sessions between chosen nodes and a router, other nodes, or the workloads themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from tortie.errors import Problem
from tortie.model.addresses import IPAddress, PeerAddress
from tortie.model.kind import NAME, Kind, column
from tortie.model.resource import Resource
from tortie.model.scalars import AsNumber, Duration
from tortie.model.schema import Name, OptionalName, Spec
from tortie.model.secret import BgpPassword
from tortie.model.selector import Selector


class BGPPeerSpec(Spec, frozen=True, kw_only=True):
    """The fields of a BGPPeer: first who has the session, then with whom, then how."""

    node: OptionalName = ""  # this node; with node_selector empty too, every node (a "global" peer)
    node_selector: Selector | None = None  # nodes by label
    peer_ip: PeerAddress | None = None  # one router
    peer_selector: Selector | None = None  # other nodes by label; each pair of nodes has one session
    local_workload_selector: Selector | None = None  # workloads on the node, by label
    as_number: AsNumber | None = None  # of the peer; with peer_selector each node's own counts
    local_as_number: AsNumber | None = None  # to be known by to this peer; None: the node's own
    source_address: Literal["UseNodeIP", "None"] | None = None  # None: UseNodeIP; "None": as the kernel chooses
    next_hop_mode: Literal["Auto", "Self", "Keep"] | None = None  # None: Auto
    keep_original_next_hop: bool = False  # deprecated form of next_hop_mode Keep
    password: BgpPassword | None = None  # TCP MD5
    max_restart_time: Duration | None = None  # graceful restart; None: BIRD's 120 s
    keepalive_time: Duration | None = None  # None: BIRD's choice
    num_allowed_local_as_numbers: Annotated[int, Meta(ge=0, le=2147483647)] | None = None  # own AS in a received path
    ttl_security: Annotated[int, Meta(ge=0, le=255)] | None = None  # hops; 0 and None: off
    reachable_by: IPAddress | None = None  # the gateway to the peer, of its family
    filters: tuple[Name, ...] = ()  # BGPFilters in order; each must exist
    reverse_peering: Literal["Auto", "Manual"] | None = None  # None: Auto, nodes that peer_selector picks peer back


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
)
