"""Routes: to the host's own workloads, and to those of other hosts."""

from __future__ import annotations

from typing import Annotated

from tortie.model.addresses import IPv4AddressField, IPv4InterfaceField, IPv6AddressField
from tortie.model.felix.endpoints import EndpointSettings
from tortie.model.felix.types import Switch, WholeDuration
from tortie.model.schema import Int64, RoutePriority, Spec, any_case, exact_case

Programming = Annotated[str, exact_case("Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly")]
Reachability = Annotated[str, exact_case("Disabled", "PodsAndLoadBalancers")]
RouteSource = Annotated[str, any_case("CalicoIPAM", "WorkloadIPs")]


class TableRange(Spec, frozen=True, kw_only=True):
    """Routing tables by number."""

    min: Int64
    """The first."""

    max: Int64
    """The last."""


class RouteSettings(EndpointSettings, frozen=True, kw_only=True):
    """Routes."""

    ip_forwarding: Switch = ""
    """Sets the sysctls that let the host forward. Default: Enabled."""

    ipv6_support: bool | None = None
    """IPv6 at all. Default: true."""

    route_refresh_interval: WholeDuration | None = None
    """How often all routes are compared with what they should be. 0s switches it off in Felix, and means the default
    here. Default: 1m30s."""

    netlink_timeout: WholeDuration | None = None
    """How long the kernel's answer is waited for. Default: 10s."""

    device_route_protocol: Int64 | None = None
    """The protocol number on Felix's routes to workloads; tortie's own is 116. Default: 3."""

    device_route_source_address: IPv4AddressField | None = None
    """The source address that routes to workloads suggest. Default: none."""

    device_route_source_address_ipv6: IPv6AddressField | None = None
    """The same for IPv6. Default: none."""

    external_nodes_list: tuple[IPv4InterfaceField, ...] = ()
    """IPv4 prefixes of hosts outside of the cluster that may send IPIP. Default: none."""

    ipv4_elevated_route_priority: RoutePriority | None = None
    """Metric of IPv4 routes to a workload while it moves here, 1 to 2147483646. Default: 512."""

    ipv4_normal_route_priority: RoutePriority | None = None
    """Metric of IPv4 workload routes, 1 to 2147483646; must equal BGPConfiguration's. Default: 1024."""

    ipv6_elevated_route_priority: RoutePriority | None = None
    """Metric of IPv6 routes to a workload while it moves here, 1 to 2147483646. Default: 512."""

    ipv6_normal_route_priority: RoutePriority | None = None
    """Metric of IPv6 workload routes, 1 to 2147483646; must equal BGPConfiguration's. Default: 1024."""

    live_migration_route_convergence_time: WholeDuration | None = None
    """How long routes of a moved workload stay elevated. Default: 30s."""

    local_subnet_l2_reachability: Reachability = ""
    """Answers ARP and ND on the host's own subnet for workloads in it. Default: Disabled."""

    local_subnet_l2_reachability_refresh_interval: WholeDuration | None = None
    """How often these answers are checked. Default: 2m0s."""

    program_cluster_routes: Programming = ""
    """Whether Felix writes routes to other hosts' workloads; must complement BGPConfiguration's field of this name.
    Default: EnabledIPIPOnly."""

    remove_external_routes: bool | None = None
    """Deletes others' routes on workloads' interfaces; tortie never does. Default: true."""

    route_source: RouteSource = ""
    """Whether routes to other hosts' workloads follow from blocks or from endpoints. Default: CalicoIPAM."""

    route_sync_disabled: bool | None = None
    """Leaves routing alone. Default: false."""

    route_table_range: TableRange | None = None
    """Deprecated: routeTableRanges. Tables that Felix may use, within 1 to 250. Default: none."""

    route_table_ranges: tuple[TableRange, ...] = ()
    """Tables that Felix may use, 65535 at most; not beside routeTableRange. Default: 1 to 250."""
