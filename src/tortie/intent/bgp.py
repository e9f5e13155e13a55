"""What this node must do to exchange routes with its peers, in the words of no BGP daemon.

Produced by `calc`, consumed by `bgp`. Routes of workloads are not here: the daemon finds them in the kernel, so
this value changes with nodes, peers and pools, never with endpoints.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal, NamedTuple

import msgspec

from tortie.model.kinds.bgpfilter import BGPFilterSpec, FilterRuleV4, FilterRuleV6
from tortie.model.resource import ResourceKey

FilterRule = FilterRuleV4 | FilterRuleV6
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Direction = Literal["export", "import"]


# BIRD restarts a session whose timers change, so these are the same for ever.
RESTART_TIME_S = 120
KEEPALIVE_TIME_S = 30


class Origin(StrEnum):
    """Which rule made a peer. The value begins the session's name, as calicoctl and operators know it."""

    NODE = "Node"  # a BGPPeer for some nodes
    GLOBAL = "Global"  # a BGPPeer for all nodes
    MESH = "Mesh"  # the node-to-node mesh


class NextHop(StrEnum):
    """Which next hop the peer is told for a route that we learned from another peer."""

    AUTO = "Auto"  # BGP's own rule: kept within the AS, ourselves towards another AS
    SELF = "Self"
    KEEP = "Keep"


class SecretRef(NamedTuple):
    """Where a secret is kept. The secret itself never enters an intent: intents are logged and compared."""

    name: str
    key: str


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One BGP session. A node has at most one to an address."""

    origin: Origin
    address: Address
    port: int
    as_number: int
    local_address: Address | None  # None: the kernel chooses by route
    local_as: int
    on_link: bool  # it lies in the subnet of our own address; else it is behind a router
    passive: bool = False  # wait for the peer to connect
    reflector_client: bool = False
    next_hop: NextHop = NextHop.AUTO
    password: SecretRef | None = None
    filters: tuple[str, ...] = ()  # names of `BgpIntent.filters`, asked in this order
    hops: int = 0  # packets from farther away are ignored (RFC 5082); 0: from anywhere
    own_as_allowed: int = 0  # so often our own AS number may stand in the path of a received route
    restart_time_s: int = RESTART_TIME_S
    keepalive_time_s: int = KEEPALIVE_TIME_S
    reachable_by: Address | None = None  # the gateway to it, whatever other routes say
    node: str = ""  # the peer's Node; empty for a router outside the cluster
    source: ResourceKey  # the object that asks for the session

    @property
    def name(self) -> str:
        """Unique on this node, since addresses are; a colon or dot becomes an underscore, as in Calico."""
        return f"{self.origin}_{str(self.address).translate(_NAME_CHARACTERS)}"

    @property
    def internal(self) -> bool:
        """The peer is in our own AS (iBGP)."""
        return self.as_number == self.local_as


_NAME_CHARACTERS = str.maketrans(".:", "__")


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses of workloads. Only such addresses are announced, and none that is not `exported`."""

    network: Network
    exported: bool


class Advertisement(NamedTuple):
    """Announced routes within `network` get these communities: two numbers (RFC 1997) or three (RFC 8092) each."""

    network: Network
    communities: tuple[tuple[int, ...], ...]


class RouteFilter(NamedTuple):
    """The rules of a BGPFilter: the first that matches decides, and what none matches goes on as without it."""

    name: str
    spec: BGPFilterSpec

    def rules(self, direction: Direction, version: int) -> tuple[FilterRule, ...]:
        return getattr(self.spec, f"{direction}_v{version}")  # type: ignore[no-any-return]  # one of four fields


class BgpProblem(NamedTuple):
    """An object, or a part of it, that is not configured."""

    key: ResourceKey
    reason: str


class BgpIntent(msgspec.Struct, frozen=True, kw_only=True):
    """All of one node's BGP. Tuples are sorted, so equal clusters give equal values."""

    node: str
    as_number: int
    router_id: IPv4Address
    addresses: tuple[Address, ...]  # ours, at most one per family
    listen_port: int
    cluster_id: IPv4Address | None = None  # set: this node is a route reflector
    hidden_interfaces: tuple[str, ...] = ()  # shell patterns: no next hop is ever behind these
    peers: tuple[Peer, ...] = ()
    pools: tuple[Pool, ...] = ()
    filters: tuple[RouteFilter, ...] = ()  # those that a peer names
    advertisements: tuple[Advertisement, ...] = ()
    node_address_only: bool = False  # listen there and nowhere else
    announcing: bool = True  # False: this node is drained, and tells its peers of no route
    problems: tuple[BgpProblem, ...] = ()
