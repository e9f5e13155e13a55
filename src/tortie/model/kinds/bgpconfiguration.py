"""BGPConfiguration: BGP settings of the cluster (`default`) or of one node (`node.<name>`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from tortie.errors import Problem
from tortie.model.addresses import IPAddress
from tortie.model.community import COMMUNITY_WORDS, is_community
from tortie.model.kind import NAME, Kind, column
from tortie.model.resource import Resource
from tortie.model.scalars import AsNumber, Duration
from tortie.model.schema import LogSeverity, PortNumber, Prefix, RoutePriority, Spec
from tortie.model.secret import BgpPassword

NAME_OF_ALL = "default"

# Unlike the interface of a filter's rule it cannot be `*` alone: a daemon that ignores all interfaces has no use.
IgnoredInterface = Annotated[
    str,
    Meta(
        pattern=r"^(?!\*\Z)[a-zA-Z0-9_.*-]{1,15}\Z",
        description="must be an interface name or pattern, but not * alone: 1 to 15 of [a-zA-Z0-9_.*-]",
    ),
]


class ServiceBlock(Spec, frozen=True, kw_only=True):
    """Addresses of Kubernetes services that BGP announces."""

    cidr: Prefix
    """The prefix that is announced."""


class Community(Spec, frozen=True, kw_only=True):
    """A name for a BGP community."""

    name: str
    """What prefixAdvertisements call it."""

    value: str
    """aa:nn of 16 bits each (RFC 1997), or aa:nn:mm of 32 bits each (RFC 8092)."""


class PrefixAdvertisement(Spec, frozen=True, kw_only=True):
    """Communities that announced routes within a prefix get."""

    cidr: Prefix
    """The prefix."""

    communities: tuple[str, ...] = ()
    """Values (aa:nn or aa:nn:mm), or names from spec.communities."""


class BGPConfigurationSpec(Spec, frozen=True, kw_only=True):
    """BGP of the whole cluster (`default`) or of one node (`node.<name>`), field by field.

    Source: api/pkg/apis/projectcalico/v3/bgpconfig.go
    """

    log_severity_screen: LogSeverity = ""
    """How much the BGP daemon logs: Trace, Debug, Info, Warning, Error or Fatal. Default: Info."""

    as_number: AsNumber | None = None
    """The AS number of Nodes that name none. Only in `default`. Default: 64512."""

    node_to_node_mesh_enabled: bool | None = None
    """Every node has a session with every other. Only in `default`. Default: true."""

    node_mesh_password: BgpPassword | None = None
    """The password of the mesh's sessions (TCP MD5). Only in `default`, and not with the mesh disabled.
    Default: none."""

    node_mesh_max_restart_time: Duration | None = None
    """How long routes of a node that restarts stay in use (graceful restart), in the mesh. Only in `default`, and not
    with the mesh disabled. Default: 120s, BIRD's."""

    listen_port: PortNumber | None = None
    """Where BGP listens, 1 to 65535. Default: 179."""

    bind_mode: Literal["None", "NodeIP"] | None = None
    """NodeIP: listen on the node's address alone; None: on every address. Default: None."""

    communities: tuple[Community, ...] = ()
    """Names for communities that prefixAdvertisements use. Needs prefixAdvertisements."""

    prefix_advertisements: tuple[PrefixAdvertisement, ...] = ()
    """Which announced routes get which communities."""

    ignored_interfaces: tuple[IgnoredInterface, ...] = ()
    """Interfaces that the BGP daemon takes no notice of: names, or patterns with `*`, 1 to 15 characters."""

    program_cluster_routes: Literal["Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"] | None = None
    """Whether the BGP daemon writes routes to other nodes' workloads into the kernel. It must complement
    FelixConfiguration's field of this name. Default: EnabledNoEncapOnly."""

    ipv4_normal_route_priority: RoutePriority | None = None
    """Metric of IPv4 workload routes, 1 to 2147483646; must equal FelixConfiguration's. Default: 1024."""

    ipv6_normal_route_priority: RoutePriority | None = None
    """Metric of IPv6 workload routes, 1 to 2147483646; must equal FelixConfiguration's. Default: 1024."""

    local_workload_peering_ipv4: IPAddress | None = msgspec.field(default=None, name="localWorkloadPeeringIPV4")
    """The address on every node that workloads peer with in IPv4 (BGPPeer localWorkloadSelector). Default: none."""

    local_workload_peering_ipv6: IPAddress | None = msgspec.field(default=None, name="localWorkloadPeeringIPV6")
    """The address on every node that workloads peer with in IPv6. Default: none."""

    service_load_balancer_ips: tuple[ServiceBlock, ...] = ()
    """Kubernetes only: prefixes of load balancer addresses to announce. Only in `default`."""

    service_external_ips: tuple[ServiceBlock, ...] = ()
    """Kubernetes only: prefixes of external service addresses to announce. Only in `default`."""

    service_cluster_ips: tuple[ServiceBlock, ...] = ()
    """Kubernetes only: prefixes of cluster service addresses to announce. Only in `default`."""

    service_load_balancer_aggregation: Literal["Enabled", "Disabled"] | None = None
    """Kubernetes only: announce the prefixes of load balancers whole, or address by address. Default: Enabled."""


# Calico reads these only from the object named `default`, and lets them stand nowhere else; beside each the name that
# its sentence uses.
_ONLY_FOR_ALL = {
    "as_number": ("asNumber", "ASNumber"),
    "node_to_node_mesh_enabled": ("nodeToNodeMeshEnabled", "nodeToNodeMeshEnabled"),
    "node_mesh_password": ("nodeMeshPassword", "NodeMeshPassword"),
    "node_mesh_max_restart_time": ("nodeMeshMaxRestartTime", "NodeMeshMaxRestartTime"),
    "service_load_balancer_ips": ("serviceLoadBalancerIPs", "ServiceLoadBalancerIPs"),
    "service_external_ips": ("serviceExternalIPs", "ServiceExternalIPs"),
    "service_cluster_ips": ("serviceClusterIPs", "ServiceClusterIPs"),
}


def write_defaults(configuration: Resource[BGPConfigurationSpec]) -> Resource[BGPConfigurationSpec]:
    spec = configuration.spec
    spec = replace(
        spec,
        log_severity_screen=spec.log_severity_screen or "Info",
        service_load_balancer_aggregation=spec.service_load_balancer_aggregation or "Enabled",
    )
    return replace(configuration, spec=spec)


def rules(configuration: Resource[BGPConfigurationSpec]) -> Iterator[Problem]:
    spec = configuration.spec
    if configuration.key.name != NAME_OF_ALL:
        for field, (name, told) in _ONLY_FOR_ALL.items():
            if getattr(spec, field) not in (None, ()):
                yield Problem(f"spec.{name}", "", f"Cannot set {told} on a non default BGP Configuration.")
    if spec.node_to_node_mesh_enabled is False:
        for field in ("node_mesh_password", "node_mesh_max_restart_time"):
            if getattr(spec, field) is not None:
                yield Problem(f"spec.{_ONLY_FOR_ALL[field][0]}", "", "must be absent while the mesh is disabled")
    yield from _community_rules(spec)


def _community_rules(spec: BGPConfigurationSpec) -> Iterator[Problem]:
    if spec.communities and not spec.prefix_advertisements:
        yield Problem("spec.communities", "", "needs prefixAdvertisements that use it")
    for index, community in enumerate(spec.communities):
        if not is_community(community.value):
            yield Problem(f"spec.communities[{index}].value", community.value, COMMUNITY_WORDS)
    names = {community.name for community in spec.communities}
    for place, advertisement in enumerate(spec.prefix_advertisements):
        for index, text in enumerate(advertisement.communities):
            if text not in names and not is_community(text):
                path = f"spec.prefixAdvertisements[{place}].communities[{index}]"
                yield Problem(path, text, "must be a community aa:nn or aa:nn:mm, or a name from spec.communities")


def _or_dash(value: object) -> object:
    return "-" if value in (None, "") else value


COLUMNS = (
    NAME,
    column("LOGSEVERITY", lambda configuration: _or_dash(configuration.spec.log_severity_screen)),
    column("MESHENABLED", lambda configuration: _or_dash(configuration.spec.node_to_node_mesh_enabled)),
    column("ASNUMBER", lambda configuration: _or_dash(configuration.spec.as_number)),
)

KIND: Kind[Any] = Kind(
    name="BGPConfiguration",
    plural="bgpconfigurations",
    aliases=("bgpconfiguration", "bgpconfig", "bgpconfigs"),
    spec=BGPConfigurationSpec,
    columns=COLUMNS,
    wide=COLUMNS,
    on_write=write_defaults,
    rules=rules,
)
