"""WorkloadEndpoint: a workload's place in the network - its host, its interface, its addresses, its labels.

The name is computed from the spec and is the endpoint's identity: see `names.EndpointName`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from tortie.errors import Problem
from tortie.model.addresses import (
    IPAddress,
    IPNetwork,
    IPv4AddressField,
    IPv6AddressField,
    Mac,
    SingleAddress,
    parse_network,
)
from tortie.model.kind import NAME, Kind, column
from tortie.model.names import NAMESPACE_LABEL, EndpointName, join_endpoint_name, label_problems
from tortie.model.resource import Resource
from tortie.model.rule import PROTOCOLS_WITH_PORTS
from tortie.model.scalars import Dscp, Protocol
from tortie.model.schema import (
    InterfaceName,
    Name,
    OptionalName,
    OptionalPortName,
    PortNumber,
    PortOrZero,
    Spec,
    json_name,
)

# Calico's writers put it on every endpoint, as they do NAMESPACE_LABEL; policies select by them.
ORCHESTRATOR_LABEL = "projectcalico.org/orchestrator"

# Limits of 0 mean none, so the least that one may be is a rule and not part of the type.
Bandwidth = Annotated[int, Meta(ge=0, le=10**15)] | None
Burst = Annotated[int, Meta(ge=0, le=34359738360)] | None
Size = Annotated[int, Meta(ge=0, le=2**32 - 1)] | None
PacketRate = Annotated[int, Meta(ge=0, le=10**4)] | None
Connections = Annotated[int, Meta(ge=0, le=2**32 - 1)] | None

ContainerId = Annotated[
    str,
    Meta(
        pattern=r"^(?!-)[-a-zA-Z0-9]*\Z(?<!-)",
        description="must be letters, digits and -, beginning and ending with a letter or digit",
    ),
]


class EndpointPort(Spec, frozen=True, kw_only=True, omit_defaults=False):
    """A port with a name for rules. Calico writes every field of it, empty or not."""

    name: OptionalPortName = ""
    """What rules call the port: at most 15 lower-case letters, digits and `-`. Required without hostPort."""

    protocol: Protocol
    """TCP, UDP or SCTP."""

    port: PortNumber
    """The workload's port, 1 to 65535."""

    host_port: PortOrZero = 0
    """The host's port that leads here. Default: 0, none."""

    host_ip: str = ""
    """The host's address that hostPort is on. Default: any."""


class IPNat(Spec, frozen=True, kw_only=True):
    """An outside address (floating IP) of one of the endpoint's addresses. Needs Felix's floatingIPs Enabled."""

    internal_ip: IPAddress
    """One of ipNetworks."""

    external_ip: IPAddress
    """The outside address, of the same family."""

    source: str = ""
    """Who asked for it: `openstack`, whose addresses count whatever floatingIPs says. Default: somebody else."""


class QosControls(Spec, frozen=True, kw_only=True):
    """Limits on the endpoint's traffic, seen from the endpoint. Absent and 0: no limit."""

    ingress_bandwidth: Bandwidth = None
    """bit/s to the endpoint, 1000 to 10^15."""

    egress_bandwidth: Bandwidth = None
    """bit/s from the endpoint, 1000 to 10^15."""

    ingress_burst: Burst = None
    """Bits that may exceed ingressBandwidth, 1000 to 34359738360. Default: 4294967296."""

    egress_burst: Burst = None
    """Bits that may exceed egressBandwidth, 1000 to 34359738360. Default: 4294967296."""

    ingress_peakrate: Bandwidth = None
    """bit/s within a burst to the endpoint, 1000 to 10^15."""

    egress_peakrate: Bandwidth = None
    """bit/s within a burst from the endpoint, 1000 to 10^15."""

    ingress_minburst: Size = None
    """Bytes that may exceed ingressPeakrate."""

    egress_minburst: Size = None
    """Bytes that may exceed egressPeakrate."""

    ingress_packet_rate: PacketRate = None
    """Packets a second to the endpoint, 1 to 10000."""

    egress_packet_rate: PacketRate = None
    """Packets a second from the endpoint, 1 to 10000."""

    ingress_packet_burst: PacketRate = None
    """Packets that may exceed ingressPacketRate. Default: 5."""

    egress_packet_burst: PacketRate = None
    """Packets that may exceed egressPacketRate. Default: 5."""

    ingress_max_connections: Connections = None
    """Connections to the endpoint at a time."""

    egress_max_connections: Connections = None
    """Connections from the endpoint at a time."""

    dscp: Dscp | None = None
    """The DSCP of packets from the endpoint: 0 to 63, or a name such as EF, AF41 or CS6. Default: as they come."""


class WorkloadEndpointSpec(Spec, frozen=True, kw_only=True):
    """A workload's place in the network: its host, its interface, its addresses. Policies select it by its labels.

    Source: libcalico-go/lib/apis/v3/workloadendpoint.go
    """

    orchestrator: Name
    """Who made the workload: tortie, cni, openstack, k8s, libnetwork or another name. Part of the object's name."""

    node: Name
    """The host, by the name of its Node. Part of the object's name."""

    workload: OptionalName = ""
    """The workload; part of the object's name under most orchestrators."""

    pod: OptionalName = ""
    """The pod; part of the object's name under k8s."""

    container_id: ContainerId = ""
    """The container; part of the object's name under cni."""

    endpoint: Name
    """Which of the workload's interfaces: eth0. Part of the object's name."""

    service_account_name: OptionalName = ""
    """Kubernetes only: the pod's service account, which rules may match."""

    ip_networks: tuple[SingleAddress, ...] = ()
    """The endpoint's addresses, each alone: bare, or with /32 (IPv4) or /128 (IPv6). Default: none, and the endpoint is
    not routed."""

    ip_nats: tuple[IPNat, ...] = ()
    """Outside addresses (floating IPs) of the endpoint."""

    ipv4_gateway: IPv4AddressField | None = None
    """The guest's IPv4 gateway. The host answers for any."""

    ipv6_gateway: IPv6AddressField | None = None
    """The guest's IPv6 gateway. The host answers for any."""

    profiles: tuple[Name, ...] = ()
    """Profiles, in order of evaluation and of whose labels win. A profile that does not exist denies everything."""

    interface_name: InterfaceName
    """The host's end: 1 to 15 of [a-zA-Z0-9_.-], beginning with one of Felix's interfacePrefix."""

    mac: Mac | None = None
    """The guest's Ethernet address."""

    ports: tuple[EndpointPort, ...] = ()
    """Ports by name, for rules."""

    allow_spoofed_source_prefixes: tuple[IPNetwork, ...] = ()
    """Prefixes besides its own addresses that the endpoint may send from. Needs Felix's workloadSourceSpoofing Any."""

    qos_controls: QosControls | None = None
    """Limits on the endpoint's traffic. Default: none."""


def workload_of(spec: WorkloadEndpointSpec) -> str:
    """The third part of the endpoint's name, from the field that its orchestrator uses."""
    match spec.orchestrator:
        case "k8s":
            return spec.pod
        case "cni":
            return spec.container_id
        case "libnetwork":
            return "libnetwork"
    return spec.workload


def identity(spec: WorkloadEndpointSpec) -> EndpointName:
    """The four parts of the endpoint's name."""
    return EndpointName(spec.node, spec.orchestrator, workload_of(spec), spec.endpoint)


def computed_name(spec: WorkloadEndpointSpec) -> str:
    return join_endpoint_name(spec.node, spec.orchestrator, workload_of(spec), spec.endpoint)


def add_labels(endpoint: Resource[WorkloadEndpointSpec]) -> Resource[WorkloadEndpointSpec]:
    labels = {
        **endpoint.metadata.labels,
        NAMESPACE_LABEL: endpoint.key.namespace,
        ORCHESTRATOR_LABEL: endpoint.spec.orchestrator,
    }
    return replace(endpoint, metadata=replace(endpoint.metadata, labels=labels))


def rules(endpoint: Resource[WorkloadEndpointSpec]) -> list[Problem]:
    # A list, since to run through a generator takes longer than to judge an endpoint in order.
    spec, problems = endpoint.spec, []
    if not workload_of(spec):  # the types see to the rest
        reason = f"cannot be computed from the spec: {identity(spec).fault}"
        problems.append(Problem("metadata.name", endpoint.key.name, reason))
    elif endpoint.key.name != (name := computed_name(spec)):
        problems.append(Problem("metadata.name", endpoint.key.name, f"must follow from the spec: expected name {name}"))
    for index, nat in enumerate(spec.ip_nats):
        if nat.internal_ip not in spec.ip_networks:
            problems.append(
                Problem(f"spec.ipNATs[{index}].internalIP", str(nat.internal_ip), "must be one of ipNetworks")
            )
        if nat.internal_ip.version != nat.external_ip.version:
            reason = f"must be an IPv{nat.internal_ip.version} address, as internalIP is"
            problems.append(Problem(f"spec.ipNATs[{index}].externalIP", str(nat.external_ip), reason))
    for index, port in enumerate(spec.ports):
        if port.protocol not in PROTOCOLS_WITH_PORTS:
            protocol = str(Protocol.to_json(port.protocol))
            problems.append(Problem(f"spec.ports[{index}].protocol", protocol, "must be TCP, UDP or SCTP"))
        if not port.name and not port.host_port:
            problems.append(Problem(f"spec.ports[{index}].name", "", "is required without hostPort"))
        if port.host_ip:
            try:
                parse_network(port.host_ip)
            except ValueError as error:
                problems.append(Problem(f"spec.ports[{index}].hostIP", port.host_ip, str(error)))
    if spec.qos_controls is not None:
        problems += _qos_rules(spec.qos_controls)
    return problems


def write_rules(endpoint: Resource[WorkloadEndpointSpec]) -> Iterator[Problem]:
    """What could not be the value of the labels that writers add."""
    for path, value in (
        ("metadata.namespace", endpoint.key.namespace),
        ("spec.orchestrator", endpoint.spec.orchestrator),
    ):
        for problem in label_problems({NAMESPACE_LABEL: value}):
            yield problem._replace(path=path)


_LEAST_BITS = 1000
_IN_BITS = (
    "ingress_bandwidth",
    "egress_bandwidth",
    "ingress_burst",
    "egress_burst",
    "ingress_peakrate",
    "egress_peakrate",
)


def _qos_rules(controls: QosControls) -> Iterator[Problem]:
    for field in _IN_BITS:
        limit = getattr(controls, field) or 0
        if 0 < limit < _LEAST_BITS:
            reason = f"must be 0 for no limit, or at least {_LEAST_BITS}"
            yield Problem(f"spec.qosControls.{json_name(field)}", str(limit), reason)


def _workload(endpoint: Resource[WorkloadEndpointSpec]) -> str:
    return workload_of(endpoint.spec)


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
    write_rules=write_rules,
    computed_name=computed_name,
)
