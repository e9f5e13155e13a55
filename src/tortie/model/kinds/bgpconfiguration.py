"""BGPConfiguration: BGP settings of the cluster (`default`) or of one node (`node.<name>`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from tortie.errors import Problem
from tortie.model.addresses import IPAddress, IPNetwork
from tortie.model.kind import NAME, Kind, column
from tortie.model.resource import Resource
from tortie.model.scalars import AsNumber, Duration
from tortie.model.schema import InterfaceGlob, LogSeverity, PortNumber, RoutePriority, Spec
from tortie.model.secret import BgpPassword

NAME_OF_ALL = "default"


class ServiceBlock(Spec, frozen=True, kw_only=True):
    """Addresses of Kubernetes services to announce."""

    cidr: IPNetwork


class Community(Spec, frozen=True, kw_only=True):
    """A name for a BGP community."""

    name: str
    value: str  # aa:nn of 16 bits each, or aa:nn:mm of 32 bits each


class PrefixAdvertisement(Spec, frozen=True, kw_only=True):
    """Communities for announced routes within a prefix."""

    cidr: IPNetwork
    communities: tuple[str, ...] = ()  # values, or names defined in `communities` of the object


class BGPConfigurationSpec(Spec, frozen=True, kw_only=True):
    """The fields of BGPConfiguration. Beside each stands what counts when it is unset."""

    log_severity_screen: LogSeverity = ""  # Info
    as_number: AsNumber | None = None  # 64512; of nodes that name none
    node_to_node_mesh_enabled: bool | None = None  # true: every node peers with every other
    node_mesh_password: BgpPassword | None = None  # none; TCP MD5 within the mesh
    node_mesh_max_restart_time: Duration | None = None  # BIRD's 120 s; graceful restart within the mesh
    listen_port: PortNumber | None = None  # 179
    bind_mode: Literal["None", "NodeIP"] | None = None  # "None": listen on every address
    communities: tuple[Community, ...] = ()
    prefix_advertisements: tuple[PrefixAdvertisement, ...] = ()
    ignored_interfaces: tuple[InterfaceGlob, ...] = ()  # BIRD takes no notice of them
    program_cluster_routes: (  # EnabledNoEncapOnly; must complement the field of this name in FelixConfiguration
        Literal["Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"] | None
    ) = None
    ipv4_normal_route_priority: RoutePriority | None = None  # 1024; must equal FelixConfiguration's
    ipv6_normal_route_priority: RoutePriority | None = None  # 1024; must equal FelixConfiguration's
    # The address of the node that workloads peer with.
    local_workload_peering_ipv4: IPAddress | None = msgspec.field(default=None, name="localWorkloadPeeringIPV4")
    local_workload_peering_ipv6: IPAddress | None = msgspec.field(default=None, name="localWorkloadPeeringIPV6")
    # For clusters with Kubernetes.
    service_load_balancer_ips: tuple[ServiceBlock, ...] = ()
    service_external_ips: tuple[ServiceBlock, ...] = ()
    service_cluster_ips: tuple[ServiceBlock, ...] = ()
    service_load_balancer_aggregation: Literal["Enabled", "Disabled"] | None = None  # Enabled


# Calico reads these only from the object named `default`, and lets them stand nowhere else.
_ONLY_FOR_ALL = {
    "as_number": "asNumber",
    "node_to_node_mesh_enabled": "nodeToNodeMeshEnabled",
    "node_mesh_password": "nodeMeshPassword",
    "node_mesh_max_restart_time": "nodeMeshMaxRestartTime",
    "service_load_balancer_ips": "serviceLoadBalancerIPs",
    "service_external_ips": "serviceExternalIPs",
    "service_cluster_ips": "serviceClusterIPs",
}

# RFC 1997: two numbers of 16 bits. RFC 8092: three of 32.
_COMMUNITY = re.compile(r"([0-9]+):([0-9]+)(?::([0-9]+))?", re.ASCII)


def is_community(text: str) -> bool:
    """Whether the text is the value of a standard (aa:nn) or large (aa:nn:mm) community."""
    match = _COMMUNITY.fullmatch(text)
    if match is None:
        return False
    largest = 0xFFFF if match[3] is None else 0xFFFFFFFF
    return all(len(part) <= 10 and int(part) <= largest for part in match.groups() if part)


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
        for field, name in _ONLY_FOR_ALL.items():
            if getattr(spec, field) not in (None, ()):
                yield Problem(f"spec.{name}", "", f"Cannot set {name} on a non default BGP Configuration.")
    if spec.node_to_node_mesh_enabled is False:
        for field in ("node_mesh_password", "node_mesh_max_restart_time"):
            if getattr(spec, field) is not None:
                yield Problem(f"spec.{_ONLY_FOR_ALL[field]}", "", "must be absent while the mesh is disabled")
    yield from _community_rules(spec)


def _community_rules(spec: BGPConfigurationSpec) -> Iterator[Problem]:
    if spec.communities and not spec.prefix_advertisements:
        yield Problem("spec.communities", "", "needs prefixAdvertisements that use it")
    for index, community in enumerate(spec.communities):
        if not is_community(community.value):
            reason = "must be aa:nn (16 bits each) or aa:nn:mm (32 bits each)"
            yield Problem(f"spec.communities[{index}].value", community.value, reason)
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
