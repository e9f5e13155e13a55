"""What happens to packets, whatever enforces it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from tortie.model.addresses import IPv4AddressField
from tortie.model.felix.routes import RouteSettings
from tortie.model.felix.types import Switch, WholeDuration
from tortie.model.scalars import Port
from tortie.model.schema import Int64, PortOrZero, Spec, any_case, exact_case

InsertMode = Annotated[str, any_case("Append", "Insert")]
ToHost = Annotated[str, any_case("Accept", "Drop", "Return")]
Exclusions = Annotated[str, exact_case("IPPoolsAndHostIPs", "IPPoolsOnly")]
NodePortRanges = Annotated[tuple[Port, ...], Meta(max_length=7)]
LoopPrevention = Annotated[str, any_case("Disabled", "Drop", "Reject")]


class FailsafePort(Spec, frozen=True, kw_only=True):
    """A port that no policy of a host endpoint closes."""

    protocol: str = ""
    """TCP, UDP or SCTP, in capitals or not. Default: TCP."""

    port: PortOrZero
    """The port."""

    net: str = ""
    """Only from or to this prefix. Default: any address."""


class PacketSettings(RouteSettings, frozen=True, kw_only=True):
    """What happens to packets, whatever enforces it."""

    allow_ipip_packets_from_workloads: bool | None = None
    """Lets workloads send IPIP. Default: false."""

    allow_vxlan_packets_from_workloads: bool | None = None
    """Lets workloads send VXLAN. Default: false."""

    chain_insert_mode: InsertMode = ""
    """Whether Calico's rules come before those of others or after them: Insert or Append. Default: Insert."""

    dataplane_driver: str = ""
    """The program that stands in for the built-in data plane. Default: calico-iptables-plugin."""

    use_internal_dataplane_driver: bool | None = None
    """Uses the built-in data plane. Default: true."""

    default_endpoint_to_host_action: ToHost = ""
    """What becomes of a packet from a workload to its own host that policy lets pass: Accept, Drop, or Return to the
    host's own rules. Default: Drop."""

    disable_conntrack_invalid_check: bool | None = None
    """Lets packets pass that connection tracking calls invalid. Default: false."""

    failsafe_inbound_host_ports: tuple[FailsafePort, ...] | None = None
    """Ports into the host that no policy closes; an empty list means none. Default: tcp
    22,179,2379,2380,5473,6443,6666,6667 and udp 68."""

    failsafe_outbound_host_ports: tuple[FailsafePort, ...] | None = None
    """Ports out of the host that no policy closes; an empty list means none. Default: tcp
    179,2379,2380,5473,6443,6666,6667 and udp 53,67."""

    nat_outgoing_address: IPv4AddressField | None = None
    """The source address of masqueraded packets. Default: the kernel's choice."""

    nat_outgoing_exclusions: Exclusions = ""
    """Destinations to which natOutgoing does not apply: IPPoolsOnly, or IPPoolsAndHostIPs. Default: IPPoolsOnly."""

    nat_port_range: Port | None = None
    """Source ports of masqueraded packets, such as "1024:65535". Default: 0, the kernel's choice."""

    service_loop_prevention: LoopPrevention = ""
    """What becomes of packets to a service address that nobody has: Drop, Reject or Disabled. Default: Drop."""

    generic_xdp_enabled: bool | None = None
    """XDP on interfaces whose drivers lack it. Default: false."""

    xdp_enabled: bool | None = None
    """XDP for policies without connection tracking. Default: true."""

    xdp_refresh_interval: WholeDuration | None = None
    """How often XDP is compared with what it should be; 0s: never. Default: 1m30s."""

    kube_node_port_ranges: NodePortRanges | None = None
    """Kubernetes only: ports of services, seven entries at most. Default: 30000:32767."""

    max_ipset_size: Int64 | None = None
    """How many distinct addresses and prefixes of one family, or ports that a rule names, a set may have. An endpoint
    to which rules apply that name a larger one is closed. Default: 1048576, also for what is below 1."""

    ipsets_refresh_interval: WholeDuration | None = None
    """How often sets are compared with what they should be; 0s: never. Default: 1m30s."""

    sidecar_acceleration_enabled: bool | None = None
    """Shortens the way between a workload and its proxy. Default: false."""

    windows_manage_firewall_rules: Switch = ""
    """Windows only. Default: Disabled."""
