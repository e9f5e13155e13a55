"""Calico's eBPF data plane."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from tortie.model.addresses import IPNetwork
from tortie.model.felix.netfilter import NetfilterSettings
from tortie.model.felix.types import InterfaceFilter, Switch, WholeDuration
from tortie.model.scalars import Port
from tortie.model.schema import Int64, PortOrZero, Spec, any_case, exact_case, written

AttachType = Annotated[str, exact_case("TC", "TCX", "Netkit")]
ConnectTime = Annotated[str, exact_case("TCP", "Enabled", "Disabled")]
OffDebug = Annotated[str, any_case("Off", "Debug")]
Conntrack = Annotated[str, exact_case("Auto", "Userspace", "BPFProgram")]
EnforceRpf = Annotated[str, any_case("Disabled", "Strict", "Loose")]
ServiceMode = Annotated[str, any_case("Tunnel", "DSR")]
Hardening = Annotated[str, exact_case("Auto", "Strict")]
LogLevel = Annotated[str, any_case("Off", "Info", "Debug")]
Scaling = Annotated[str, any_case("Disabled", "DoubleIfFull")]
# (?>...) keeps the unit that was found first: without it a long text of units takes for ever to refuse.
Timeout = Annotated[
    str,
    written(
        r"^((?>[0-9]*(\.[0-9]*)?(?>ms|us|s|h|m))+|Auto|)\Z", 'must be Auto, or a duration such as "90s" or "1m30s"'
    ),
]


class ConntrackTimeouts(Spec, frozen=True, kw_only=True):
    """How long a connection without packets is remembered; Auto: as long as the kernel's own tracking does."""

    creation_grace_period: Timeout = ""
    """From its first packet. Default: 10s."""

    tcp_syn_sent: Timeout = ""
    """TCP, before it is established. Default: 20s."""

    tcp_established: Timeout = ""
    """TCP. Default: 1h."""

    tcp_fins_seen: Timeout = ""
    """TCP, after both ends closed it. Default: Auto."""

    tcp_reset_seen: Timeout = ""
    """TCP, after a reset. Default: 40s."""

    udp_timeout: Timeout = ""
    """UDP. Default: 60s."""

    generic_timeout: Timeout = ""
    """Other protocols. Default: 10m."""

    icmp_timeout: Timeout = ""
    """ICMP. Default: 5s."""


class BpfSettings(NetfilterSettings, frozen=True, kw_only=True):
    """Calico's eBPF data plane, which tortie's has other settings than."""

    bpf_attach_type: AttachType = ""
    """How programs are attached: TC, TCX or Netkit, each as far as the kernel has it. Default: Netkit."""

    bpf_ctlb_log_filter: str = ""
    """Logs of load balancing at connect time: all. Default: with bpfLogLevel Debug."""

    bpf_connect_time_load_balancing: ConnectTime = ""
    """Load balancing of services at connect time: TCP, Enabled or Disabled. Default: TCP."""

    bpf_connect_time_load_balancing_enabled: bool | None = None
    """Deprecated: bpfConnectTimeLoadBalancing, over which it wins. Default: unset."""

    bpf_conntrack_log_level: OffDebug = ""
    """Logs of the connection tracking's clean-up: Off or Debug. Default: Off."""

    bpf_conntrack_mode: Conntrack = ""
    """Who cleans up the connection tracking: Userspace, BPFProgram, or Auto. Default: Auto."""

    bpf_conntrack_timeouts: ConntrackTimeouts | None = None
    """How long connections are remembered. Default: see there."""

    bpf_dsr_optout_cidrs: tuple[IPNetwork, ...] = ()
    """Clients that get no answer straight from the other host. Default: none."""

    bpf_data_iface_pattern: str = ""
    """The host's interfaces that get programs, as a regular expression. Default: the usual names of network cards."""

    bpf_disable_gro_for_ifaces: str = ""
    """Interfaces without generic receive offload, as a regular expression. Default: none."""

    bpf_disable_unprivileged: bool | None = None
    """Forbids eBPF to users without privileges. Default: true."""

    bpf_enabled: bool | None = None
    """Uses the eBPF data plane. Default: false."""

    bpf_enforce_rpf: EnforceRpf = ""
    """Whether a packet must come in where its source is routed to: Disabled, Strict or Loose. Default: Loose."""

    bpf_exclude_cidrs_from_nat: tuple[IPNetwork, ...] = ()
    """Services that the host translates itself. Default: none."""

    bpf_export_buffer_size_mb: Int64 | None = None
    """Buffer of events, in MiB. Default: 1."""

    bpf_ext_to_service_connmark: Int64 | None = None
    """The mark of connections from outside to services. Default: 0."""

    bpf_external_service_mode: ServiceMode = ""
    """How packets to a service reach another host: Tunnel, or DSR, where that host answers itself. Default: Tunnel."""

    bpf_force_track_packets_from_ifaces: tuple[InterfaceFilter, ...] | None = None
    """Interfaces whose packets the kernel tracks. Default: docker+."""

    bpf_host_conntrack_bypass: bool | None = None
    """Workloads' packets bypass the kernel's tracking. Default: false."""

    bpf_host_networked_nat_without_ctlb: Switch = ""
    """Translates services for the host itself without load balancing at connect time. Default: Enabled."""

    bpf_ip_frag_timeout: WholeDuration | None = None
    """How long fragments wait for their packet. Default: 0s, the kernel's."""

    bpf_ip_fragment_reassembly_enabled: bool | None = None
    """Puts fragments together. Default: true."""

    bpf_jit_hardening: Hardening = ""
    """The kernel's hardening of compiled programs: Strict leaves it as it is. Default: Auto."""

    bpf_kube_proxy_healthz_port: PortOrZero | None = None
    """Where kube-proxy's health is answered for; 0: nowhere. Default: 10256."""

    bpf_kube_proxy_iptables_cleanup_enabled: bool | None = None
    """Deletes kube-proxy's rules. Default: true."""

    bpf_kube_proxy_min_sync_period: WholeDuration | None = None
    """The least time between two updates of services. Default: 1s."""

    bpf_l3_iface_pattern: str = ""
    """Interfaces without Ethernet headers that get programs, as a regular expression. Default: none."""

    bpf_log_filters: dict[str, str] = {}
    """By interface, or `all`: a filter of what is logged, as tcpdump's. Default: none."""

    bpf_log_level: LogLevel = ""
    """Logs of the programs: Off, Info or Debug. Default: Off."""

    bpf_maglev_max_endpoints_per_service: Int64 | None = None
    """How many endpoints a service with consistent hashing may have. Default: 100."""

    bpf_maglev_max_services: Int64 | None = None
    """How many services may have consistent hashing. Default: 100."""

    bpf_map_size_conntrack: Int64 | None = None
    """How many connections are tracked. Default: 512000."""

    bpf_map_size_conntrack_cleanup_queue: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None
    """How many connections wait for their clean-up, at least 1. Default: 100000."""

    bpf_map_size_conntrack_scaling: Scaling = ""
    """DoubleIfFull: a full table of connections grows. Default: DoubleIfFull."""

    bpf_map_size_ip_sets: Int64 | None = None
    """How many members all sets have. Default: 1048576."""

    bpf_map_size_if_state: Int64 | None = None
    """How many interfaces there are. Default: 1000."""

    bpf_map_size_nat_affinity: Int64 | None = None
    """How many clients keep their endpoint. Default: 65536."""

    bpf_map_size_nat_backend: Int64 | None = None
    """How many endpoints services have. Default: 262144."""

    bpf_map_size_nat_frontend: Int64 | None = None
    """How many services there are. Default: 65536."""

    bpf_map_size_per_cpu_conntrack: Int64 | None = None
    """How many connections are tracked for each core; 0: bpfMapSizeConntrack counts. Default: 0."""

    bpf_map_size_route: Int64 | None = None
    """How many routes there are. Default: 262144."""

    bpf_overlay_host_source_ip: str = ""
    """The host's source address in tunnels. Default: TunnelAddress."""

    bpf_policy_debug_enabled: bool | None = None
    """Keeps what policies were compiled to, for looking at. Default: true."""

    bpf_profiling: Switch = ""
    """Profiles of the programs. Default: Disabled."""

    bpf_psnat_ports: Port | None = None
    """Source ports where two connections would be one, such as "20000:29999". Default: 20000:29999."""

    bpf_redirect_to_peer: Switch = ""
    """Packets enter a workload without its host end. Default: Enabled."""
