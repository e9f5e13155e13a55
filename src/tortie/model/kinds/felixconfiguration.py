"""FelixConfiguration: settings of the agents, of all (`default`), of one node (`node.<name>`), or of selected nodes.

The fields that tortie honours come first. The others are Calico's: they are known, checked for their type, kept,
and without effect here. Beside each field stands what counts when no object sets it, with units in Go's form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from msgspec import Meta
from msgspec.structs import fields, replace

from tortie.errors import Problem
from tortie.model.kind import NAME, Kind
from tortie.model.resource import Resource
from tortie.model.scalars import CommaList, Duration, Port
from tortie.model.schema import LogSeverity, RoutePriority, Spec, any_case
from tortie.model.selector import Selector

NAME_OF_ALL = "default"
PREFIX_OF_NODE = "node."

Switch = Annotated[str, any_case("Enabled", "Disabled")]
AcceptReturn = Annotated[str, any_case("Accept", "Return")]
DropReject = Annotated[str, any_case("Drop", "Reject")]
Programming = Annotated[str, any_case("Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly")]
PortOrZero = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=0)]
MarkMask = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
Region = Annotated[
    str,
    Meta(
        pattern=r"^([a-z0-9]([-a-z0-9]{0,44}[a-z0-9])?)?\Z",
        description="must be at most 46 lower-case letters, digits and -, beginning and ending with a letter or digit",
    ),
]


class FailsafePort(Spec, frozen=True, kw_only=True):
    """A port that no policy of a host endpoint closes."""

    protocol: str = ""
    port: PortOrZero
    net: str = ""


class TableRange(Spec, frozen=True, kw_only=True):
    """Routing tables by number, both ends included."""

    min: int
    max: int


class HealthTimeout(Spec, frozen=True, kw_only=True):
    """How long a part of Felix may be silent."""

    name: str
    timeout: Duration


class FelixConfigurationSpec(Spec, frozen=True, kw_only=True):
    """The fields of FelixConfiguration. None and empty mean unset."""

    # Which nodes an object of another name than `default` and `node.<name>` is for.
    node_selector: Selector | None = None

    # Honoured by tortie.
    interface_prefix: CommaList = ()  # cali,tap (Felix: cali)
    interface_exclude: CommaList = ()  # kube-ipvs0; names, or patterns between slashes
    interface_refresh_interval: Duration | None = None  # 1m30s
    route_refresh_interval: Duration | None = None  # 1m30s
    netlink_timeout: Duration | None = None  # 10s
    mtu_iface_pattern: str = ""  # see BUILT_IN; interfaces whose MTU limits that of workloads
    ip_forwarding: Switch = ""  # Enabled: the agent sets the forwarding sysctls
    ipv6_support: bool | None = None  # true
    log_severity_screen: LogSeverity = ""  # Info
    endpoint_reporting_enabled: bool | None = None  # false; status keys of endpoints
    endpoint_reporting_delay: Duration | None = None  # 1s; least gap between two writes
    endpoint_status_path_prefix: str = ""  # /var/run/calico; directory of status files
    reporting_interval: Duration | None = None  # 30s; status key of the agent, 0s: none
    reporting_ttl: Duration | None = None  # 1m30s; lease of that key
    openstack_region: Region = ""  # none; part of status keys

    # Health, logs, metrics.
    health_enabled: bool | None = None  # false
    health_host: str = ""  # localhost
    health_port: PortOrZero | None = None  # 9099
    health_timeout_overrides: tuple[HealthTimeout, ...] = ()
    log_action_rate_limit: str = ""
    log_action_rate_limit_burst: Annotated[int, Meta(ge=1, le=9999)] | None = None  # 5
    log_debug_filename_regex: str = ""
    log_file_path: str = ""  # /var/log/calico/felix.log
    log_prefix: str = ""  # calico-packet
    log_severity_file: LogSeverity = ""  # Info
    log_severity_sys: LogSeverity = ""  # Info
    prometheus_go_metrics_enabled: bool | None = None  # true
    prometheus_metrics_ca_file: str = ""
    prometheus_metrics_cert_file: str = ""
    prometheus_metrics_client_auth: str = ""  # NoClientCert
    prometheus_metrics_enabled: bool | None = None  # false
    prometheus_metrics_host: str = ""
    prometheus_metrics_key_file: str = ""
    prometheus_metrics_port: PortOrZero | None = None  # 9091
    prometheus_process_metrics_enabled: bool | None = None  # true
    prometheus_wire_guard_metrics_enabled: bool | None = None  # true
    usage_reporting_enabled: bool | None = None  # true
    usage_reporting_initial_delay: Duration | None = None  # 5m0s
    usage_reporting_interval: Duration | None = None  # 24h0m0s

    # Data plane in general.
    allow_ipip_packets_from_workloads: bool | None = None  # false
    allow_vxlan_packets_from_workloads: bool | None = None  # false
    chain_insert_mode: Annotated[str, any_case("Append", "Insert")] = ""  # Insert
    dataplane_driver: str = ""  # calico-iptables-plugin
    dataplane_watchdog_timeout: Duration | None = None  # 1m30s
    default_endpoint_to_host_action: Annotated[str, any_case("Accept", "Drop", "Return")] = ""  # Drop
    disable_conntrack_invalid_check: bool | None = None  # false
    failsafe_inbound_host_ports: tuple[FailsafePort, ...] | None = (
        None  # tcp 22,179,2379,2380,5473,6443,6666,6667; udp 68
    )
    failsafe_outbound_host_ports: tuple[FailsafePort, ...] | None = (
        None  # tcp 179,2379,2380,5473,6443,6666,6667; udp 53,67
    )
    feature_detect_override: str = ""
    feature_gates: str = ""
    floating_ips: Switch = ""  # Disabled
    ipsets_refresh_interval: Duration | None = None  # 1m30s
    max_ipset_size: Count | None = None  # 1048576
    metadata_addr: str = ""  # 127.0.0.1; none: off
    metadata_port: PortOrZero | None = None  # 8775
    nat_outgoing_address: str = ""
    nat_outgoing_exclusions: Annotated[str, any_case("IPPoolsAndHostIPs", "IPPoolsOnly")] = ""  # IPPoolsOnly
    nat_port_range: Port | None = None  # 0: as the kernel chooses
    policy_sync_path_prefix: str = ""
    require_mtu_file: bool | None = None  # false
    service_loop_prevention: Annotated[str, any_case("Disabled", "Drop", "Reject")] = ""  # Drop
    use_internal_dataplane_driver: bool | None = None  # true
    workload_source_spoofing: Annotated[str, any_case("Any", "Disabled")] = ""  # Disabled
    generic_xdp_enabled: bool | None = None  # false
    xdp_enabled: bool | None = None  # true
    xdp_refresh_interval: Duration | None = None  # 1m30s
    sidecar_acceleration_enabled: bool | None = None  # false
    windows_manage_firewall_rules: Switch = ""  # Disabled

    # Routes.
    device_route_protocol: Annotated[int, Meta(ge=0, le=255)] | None = None  # 3
    device_route_source_address: str = ""
    device_route_source_address_ipv6: str = ""
    external_nodes_list: tuple[str, ...] = ()
    ipv4_elevated_route_priority: RoutePriority | None = None  # 512
    ipv4_normal_route_priority: RoutePriority | None = None  # 1024
    ipv6_elevated_route_priority: RoutePriority | None = None  # 512
    ipv6_normal_route_priority: RoutePriority | None = None  # 1024
    live_migration_route_convergence_time: Duration | None = None  # 30s
    local_subnet_l2_reachability: Annotated[str, any_case("Disabled", "PodsAndLoadBalancers")] = ""  # Disabled
    local_subnet_l2_reachability_refresh_interval: Duration | None = None  # 2m0s
    program_cluster_routes: Programming = ""  # EnabledIPIPOnly
    remove_external_routes: bool | None = None  # true
    route_source: Annotated[str, any_case("CalicoIPAM", "WorkloadIPs")] = ""  # CalicoIPAM
    route_sync_disabled: bool | None = None  # false
    route_table_range: TableRange | None = None
    route_table_ranges: tuple[TableRange, ...] = ()

    # iptables and nftables.
    iptables_backend: Annotated[str, any_case("Auto", "Legacy", "NFT")] = ""  # Auto
    iptables_filter_allow_action: AcceptReturn = ""  # Accept
    iptables_filter_deny_action: DropReject = ""  # Drop
    iptables_lock_probe_interval: Duration | None = None  # 50ms
    iptables_mangle_allow_action: AcceptReturn = ""  # Accept
    iptables_mark_mask: MarkMask | None = None  # 0xffff0000
    iptables_nat_outgoing_interface_filter: str = ""
    iptables_post_write_check_interval: Duration | None = None  # 5s
    iptables_refresh_interval: Duration | None = None  # 3m0s
    kube_node_port_ranges: Annotated[tuple[Port, ...], Meta(max_length=7)] | None = None  # 30000:32767
    nftables_filter_allow_action: AcceptReturn = ""  # Accept
    nftables_filter_deny_action: DropReject = ""  # Drop
    nftables_flow_table_data_iface_pattern: str = ""
    nftables_flow_table_offload: Annotated[str, any_case("All", "Disabled")] = ""  # Disabled
    nftables_mangle_allow_action: AcceptReturn = ""  # Accept
    nftables_mark_mask: MarkMask | None = None  # 0xffff0000
    nftables_mode: Annotated[str, any_case("Auto", "Disabled", "Enabled")] = ""  # Auto
    nftables_refresh_interval: Duration | None = None  # 3m0s

    # eBPF.
    bpf_attach_type: str = ""  # Netkit
    bpf_ctlb_log_filter: str = ""
    bpf_connect_time_load_balancing: str = ""  # TCP
    bpf_connect_time_load_balancing_enabled: bool | None = None  # deprecated
    bpf_conntrack_log_level: str = ""  # off
    bpf_conntrack_mode: str = ""  # Auto
    bpf_conntrack_timeouts: dict[str, Any] = {}
    bpf_dsr_optout_cidrs: tuple[str, ...] = ()
    bpf_data_iface_pattern: str = ""
    bpf_disable_gro_for_ifaces: str = ""
    bpf_disable_unprivileged: bool | None = None  # true
    bpf_enabled: bool | None = None  # false
    bpf_enforce_rpf: str = ""  # Loose
    bpf_exclude_cidrs_from_nat: tuple[str, ...] = ()
    bpf_export_buffer_size_mb: Count | None = None  # 1
    bpf_ext_to_service_connmark: Count | None = None  # 0
    bpf_external_service_mode: str = ""  # Tunnel
    bpf_force_track_packets_from_ifaces: tuple[str, ...] | None = None  # docker+
    bpf_host_conntrack_bypass: bool | None = None  # false
    bpf_host_networked_nat_without_ctlb: Switch = ""  # Enabled
    bpf_ip_frag_timeout: Duration | None = None  # 0s
    bpf_ip_fragment_reassembly_enabled: bool | None = None  # true
    bpf_jit_hardening: str = ""  # Auto
    bpf_kube_proxy_healthz_port: PortOrZero | None = None  # 10256
    bpf_kube_proxy_iptables_cleanup_enabled: bool | None = None  # true
    bpf_kube_proxy_min_sync_period: Duration | None = None  # 1s
    bpf_l3_iface_pattern: str = ""
    bpf_log_filters: dict[str, str] = {}
    bpf_log_level: str = ""  # Off
    bpf_maglev_max_endpoints_per_service: Count | None = None  # 100
    bpf_maglev_max_services: Count | None = None  # 100
    bpf_map_size_conntrack: Count | None = None  # 512000
    bpf_map_size_conntrack_cleanup_queue: Count | None = None  # 100000
    bpf_map_size_conntrack_scaling: str = ""  # DoubleIfFull
    bpf_map_size_ip_sets: Count | None = None  # 1048576
    bpf_map_size_if_state: Count | None = None  # 1000
    bpf_map_size_nat_affinity: Count | None = None  # 65536
    bpf_map_size_nat_backend: Count | None = None  # 262144
    bpf_map_size_nat_frontend: Count | None = None  # 65536
    bpf_map_size_per_cpu_conntrack: Count | None = None  # 0
    bpf_map_size_route: Count | None = None  # 262144
    bpf_overlay_host_source_ip: str = ""  # TunnelAddress
    bpf_policy_debug_enabled: bool | None = None  # true
    bpf_profiling: str = ""  # Disabled
    bpf_psnat_ports: Port | None = None  # 20000:29999
    bpf_redirect_to_peer: str = ""  # Enabled

    # Tunnels, clouds, meshes, flow logs, Felix's own process.
    aws_src_dst_check: str = ""  # DoNothing
    cgroup_v2_path: str = ""
    flow_logs_collector_debug_trace: bool | None = None  # false
    flow_logs_flush_interval: Duration | None = None  # 5m0s
    flow_logs_goldmane_server: str = ""
    flow_logs_local_reporter: str = ""  # Disabled
    flow_logs_policy_evaluation_mode: str = ""  # Continuous
    go_gc_threshold: int | None = None  # 40
    go_max_procs: int | None = None  # -1
    go_memory_limit_mb: int | None = None  # -1
    ipip_enabled: bool | None = None
    ipip_mtu: Count | None = None  # 0: found out
    istio_ambient_mode: Switch = ""  # Disabled
    istio_dscp_mark: int | str | None = None
    vxlan_enabled: bool | None = None
    vxlan_mtu: Count | None = None  # 0: found out
    vxlan_mtu_v6: Count | None = None  # 0: found out
    vxlan_port: PortOrZero | None = None  # 4789
    vxlan_vni: Count | None = None  # 4096
    wireguard_enabled: bool | None = None  # false
    wireguard_enabled_v6: bool | None = None  # false
    wireguard_host_encryption_enabled: bool | None = None  # false
    wireguard_interface_name: str = ""  # wireguard.cali
    wireguard_interface_name_v6: str = ""  # wg-v6.cali
    wireguard_keep_alive: Duration | None = None  # 0s
    wireguard_listening_port: PortOrZero | None = None  # 51820
    wireguard_listening_port_v6: PortOrZero | None = None  # 51821
    wireguard_mtu: Count | None = None  # 0: found out
    wireguard_mtu_v6: Count | None = None  # 0: found out
    wireguard_routing_rule_priority: int | None = None  # 99
    wireguard_threading_enabled: bool | None = None  # false


# What counts for the honoured fields when no object sets them.
BUILT_IN = FelixConfigurationSpec(
    interface_prefix=("cali", "tap"),
    interface_exclude=("kube-ipvs0",),
    interface_refresh_interval=Duration(seconds=90),
    route_refresh_interval=Duration(seconds=90),
    netlink_timeout=Duration(seconds=10),
    mtu_iface_pattern="^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)",
    ip_forwarding="Enabled",
    ipv6_support=True,
    log_severity_screen="Info",
    endpoint_reporting_enabled=False,
    endpoint_reporting_delay=Duration(seconds=1),
    endpoint_status_path_prefix="/var/run/calico",
    reporting_interval=Duration(seconds=30),
    reporting_ttl=Duration(seconds=90),
)

_UNSET = FelixConfigurationSpec()


def effective(*layers: FelixConfigurationSpec) -> FelixConfigurationSpec:
    """What counts, field by field, when the first of the layers that sets a field wins, and BUILT_IN last.

    Felix's order is: the node's own object, the oldest that selects the node, `default`.
    """
    merged = BUILT_IN
    for layer in reversed(layers):
        values = {field.name: getattr(layer, field.name) for field in fields(layer)}
        merged = replace(merged, **{name: value for name, value in values.items() if value != getattr(_UNSET, name)})
    return merged


def write_defaults(configuration: Resource[FelixConfigurationSpec]) -> Resource[FelixConfigurationSpec]:
    """What Calico's clients put into an object. Into that of all nodes only: in a node's own it would beat the rest."""
    if configuration.key.name != NAME_OF_ALL:
        return configuration
    spec = configuration.spec
    spec = replace(spec, floating_ips=spec.floating_ips or "Disabled", nftables_mode=spec.nftables_mode or "Auto")
    if spec.bpf_connect_time_load_balancing_enabled is None:  # the deprecated switch decides both by itself
        spec = replace(
            spec,
            bpf_connect_time_load_balancing=spec.bpf_connect_time_load_balancing or "TCP",
            bpf_host_networked_nat_without_ctlb=spec.bpf_host_networked_nat_without_ctlb or "Enabled",
        )
    return replace(configuration, spec=spec)


_INTERFACE_PREFIX = re.compile(r"[a-zA-Z0-9:._+-]{1,15}")


def rules(configuration: Resource[FelixConfigurationSpec]) -> Iterator[Problem]:
    name, spec = configuration.key.name, configuration.spec
    if name != NAME_OF_ALL and not name.startswith(PREFIX_OF_NODE) and spec.node_selector is None:
        yield Problem("metadata.name", name, "must be default or node.<name>, unless spec.nodeSelector is set")
    for prefix in spec.interface_prefix:
        if not _INTERFACE_PREFIX.fullmatch(prefix):
            yield Problem("spec.interfacePrefix", prefix, "must be beginnings of interface names, separated by commas")
    try:
        re.compile(spec.mtu_iface_pattern)
    except re.error as error:
        yield Problem("spec.mtuIfacePattern", spec.mtu_iface_pattern, f"is not a regular expression: {error}")


KIND = Kind(
    name="FelixConfiguration",
    plural="felixconfigurations",
    aliases=("felixconfiguration", "felixconfig", "felixconfigs"),
    spec=FelixConfigurationSpec,
    columns=(NAME,),
    wide=(NAME,),
    on_write=write_defaults,
    rules=rules,
)
