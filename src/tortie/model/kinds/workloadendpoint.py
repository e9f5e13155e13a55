"""WorkloadEndpoint: a workload's place in the network - its host, its interface, its addresses, its labels.

The name is computed from the spec and is the endpoint's identity: see `names.EndpointName`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from tortie.errors import Problem
from tortie.model.addresses import IPAddress, IPNetwork, IPv4AddressField, IPv6AddressField, Mac, SingleAddress
from tortie.model.kind import NAME, Kind, column
from tortie.model.names import EndpointName
from tortie.model.resource import Resource
from tortie.model.rule import PROTOCOLS_WITH_PORTS
from tortie.model.scalars import Protocol
from tortie.model.schema import InterfaceName, Name, OptionalName, Spec

# Calico's writers put both on every endpoint; policies select by them.
NAMESPACE_LABEL = "projectcalico.org/namespace"
ORCHESTRATOR_LABEL = "projectcalico.org/orchestrator"

Bandwidth = Annotated[int, Meta(ge=1000, le=10**15)] | None
Burst = Annotated[int, Meta(ge=0, le=34359738360)] | None
Size = Annotated[int, Meta(ge=0, le=2**32 - 1)] | None
PacketRate = Annotated[int, Meta(ge=1, le=10**4)] | None
PacketBurst = Annotated[int, Meta(ge=0, le=10**4)] | None
Connections = Annotated[int, Meta(ge=1, le=2**32 - 1)] | None


class EndpointPort(Spec, frozen=True, kw_only=True, omit_defaults=False):
    """A port with a name for rules. Calico writes every field of it, empty or not."""

    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_.-]{0,128}\Z", description="must be of [a-zA-Z0-9_.-]")] = ""
    protocol: Protocol  # TCP, UDP or SCTP
    port: Annotated[int, Meta(ge=1, le=65535)]
    host_port: Annotated[int, Meta(ge=0, le=65535)] = 0  # the host's port that leads here; 0: none
    host_ip: str = ""  # the host's address for host_port; empty: any


class IPNat(Spec, frozen=True, kw_only=True):
    """An outside address (floating IP) of one of the endpoint's addresses."""

    internal_ip: IPAddress  # one of ip_networks
    external_ip: IPAddress


class QosControls(Spec, frozen=True, kw_only=True):
    """Limits on the endpoint's traffic, seen from the endpoint. None: no limit; 0 for a burst: Calico's default."""

    ingress_bandwidth: Bandwidth = None  # bit/s
    egress_bandwidth: Bandwidth = None  # bit/s
    ingress_burst: Burst = None  # bits
    egress_burst: Burst = None  # bits
    ingress_peakrate: Bandwidth = None  # bit/s
    egress_peakrate: Bandwidth = None  # bit/s
    ingress_minburst: Size = None  # bytes
    egress_minburst: Size = None  # bytes
    ingress_packet_rate: PacketRate = None  # packets/s
    egress_packet_rate: PacketRate = None  # packets/s
    ingress_packet_burst: PacketBurst = None  # packets
    egress_packet_burst: PacketBurst = None  # packets
    ingress_max_connections: Connections = None
    egress_max_connections: Connections = None
    dscp: int | str | None = None  # for egress: 0 to 63, or a name such as EF


class WorkloadEndpointSpec(Spec, frozen=True, kw_only=True):
    """The fields of a WorkloadEndpoint."""

    orchestrator: Name  # who made the workload: tortie, cni, openstack, k8s, libnetwork ...
    node: Name  # the host, by the name of its Node
    workload: OptionalName = ""  # identity under most orchestrators
    pod: OptionalName = ""  # identity under k8s
    container_id: Annotated[  # identity under cni
        str,
        Meta(
            pattern=r"^([a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)?\Z",
            description="must be letters, digits and -, beginning and ending with a letter or digit",
        ),
    ] = ""
    endpoint: Name  # which of the workload's interfaces
    service_account_name: OptionalName = ""
    ip_networks: tuple[SingleAddress, ...] = ()  # none: the endpoint is not routed
    ip_nats: tuple[IPNat, ...] = ()
    ipv4_gateway: IPv4AddressField | None = None  # for the guest; the host answers for any gateway
    ipv6_gateway: IPv6AddressField | None = None
    profiles: tuple[Name, ...] = ()  # in order of evaluation and of label precedence; an unknown one denies
    interface_name: InterfaceName  # the host end
    mac: Mac | None = None  # of the guest
    ports: tuple[EndpointPort, ...] = ()
    allow_spoofed_source_prefixes: tuple[IPNetwork, ...] = ()
    qos_controls: QosControls | None = None


def identity(spec: WorkloadEndpointSpec) -> EndpointName:
    """The four parts of the endpoint's name; the third comes from the field that its orchestrator uses."""
    by_orchestrator = {"k8s": spec.pod, "cni": spec.container_id, "libnetwork": "libnetwork"}
    workload = by_orchestrator.get(spec.orchestrator, spec.workload)
    return EndpointName(spec.node, spec.orchestrator, workload, spec.endpoint)


def computed_name(spec: WorkloadEndpointSpec) -> str:
    return str(identity(spec))


def add_labels(endpoint: Resource[WorkloadEndpointSpec]) -> Resource[WorkloadEndpointSpec]:
    labels = {
        **endpoint.metadata.labels,
        NAMESPACE_LABEL: endpoint.key.namespace,
        ORCHESTRATOR_LABEL: endpoint.spec.orchestrator,
    }
    return replace(endpoint, metadata=replace(endpoint.metadata, labels=labels))


def rules(endpoint: Resource[WorkloadEndpointSpec]) -> Iterator[Problem]:
    spec = endpoint.spec
    name = identity(spec)
    if name.fault:
        yield Problem("metadata.name", endpoint.key.name, f"cannot be computed from the spec: {name.fault}")
    elif endpoint.key.name != str(name):
        yield Problem("metadata.name", endpoint.key.name, f"must follow from the spec: expected name {name}")
    for index, nat in enumerate(spec.ip_nats):
        if nat.internal_ip not in spec.ip_networks:
            yield Problem(f"spec.ipNATs[{index}].internalIP", str(nat.internal_ip), "must be one of ipNetworks")
    for index, port in enumerate(spec.ports):
        if port.protocol not in PROTOCOLS_WITH_PORTS:
            protocol = str(Protocol.to_json(port.protocol))
            yield Problem(f"spec.ports[{index}].protocol", protocol, "must be TCP, UDP or SCTP")
        if not port.name and not port.host_port:
            yield Problem(f"spec.ports[{index}].name", "", "is required without hostPort")


def _workload(endpoint: Resource[WorkloadEndpointSpec]) -> str:
    return identity(endpoint.spec).workload


def _networks(endpoint: Resource[WorkloadEndpointSpec]) -> str:
    return ",".join(f"{address}/{address.max_prefixlen}" for address in endpoint.spec.ip_networks)


def _nats(endpoint: Resource[WorkloadEndpointSpec]) -> str:
    return ",".join(f"{nat.internal_ip}->{nat.external_ip}" for nat in endpoint.spec.ip_nats)


COLUMNS = (
    column("WORKLOAD", _workload),
    column("NODE", lambda endpoint: endpoint.spec.node),
    column("NETWORKS", _networks),
    column("INTERFACE", lambda endpoint: endpoint.spec.interface_name),
)

KIND = Kind(
    name="WorkloadEndpoint",
    plural="workloadendpoints",
    aliases=("workloadendpoint", "workloadendpoints", "wep", "weps"),
    spec=WorkloadEndpointSpec,
    columns=COLUMNS,
    wide=(
        NAME,
        *COLUMNS,
        column("PROFILES", lambda endpoint: ",".join(endpoint.spec.profiles)),
        column("NATS", _nats),
    ),
    hidden=(column("ORCHESTRATOR", lambda endpoint: endpoint.spec.orchestrator),),
    namespaced=True,
    on_write=add_labels,
    rules=rules,
    computed_name=computed_name,
)
