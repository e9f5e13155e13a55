"""Tunnels, clouds, meshes and flow logs."""

from __future__ import annotations

from typing import Annotated

from tortie.model.felix.bpf import BpfSettings
from tortie.model.felix.types import Switch, WholeDuration
from tortie.model.scalars import Dscp
from tortie.model.schema import Int64, InterfaceName, PortOrZero, exact_case

SourceCheck = Annotated[str, exact_case("DoNothing", "Enable", "Disable")]
Evaluation = Annotated[str, exact_case("None", "Continuous")]


class TunnelSettings(BpfSettings, frozen=True, kw_only=True):
    """Tunnels, clouds, meshes and flow logs; tortie has none of them."""

    aws_src_dst_check: SourceCheck = ""
    """What becomes of a cloud machine's check of addresses: DoNothing, Enable or Disable. Default: DoNothing."""

    cgroup_v2_path: str = ""
    """Where the control groups are mounted. Default: found out."""

    flow_logs_collector_debug_trace: bool | None = None
    """Logs what the flow logs see. Default: false."""

    flow_logs_flush_interval: WholeDuration | None = None
    """How often flow logs are sent. Default: 5m0s."""

    flow_logs_goldmane_server: str = ""
    """Where flow logs are sent. Default: nowhere."""

    flow_logs_local_reporter: Switch = ""
    """Whether flow logs go to a local socket. Default: Disabled."""

    flow_logs_policy_evaluation_mode: Evaluation = ""
    """Whether flow logs judge running connections again: Continuous or None. Default: Continuous."""

    ipip_enabled: bool | None = None
    """IPIP. Default: as the pools say."""

    ipip_mtu: Int64 | None = None
    """MTU of IPIP. Default: 0, found out."""

    istio_ambient_mode: Switch = ""
    """Works beside Istio's ambient mode. Default: Disabled."""

    istio_dscp_mark: Dscp | None = None
    """The DSCP of Istio's packets: 0 to 63 or a name. Default: unset."""

    vxlan_enabled: bool | None = None
    """VXLAN. Default: as the pools say."""

    vxlan_mtu: Int64 | None = None
    """MTU of VXLAN over IPv4. Default: 0, found out."""

    vxlan_mtu_v6: Int64 | None = None
    """MTU of VXLAN over IPv6. Default: 0, found out."""

    vxlan_port: PortOrZero | None = None
    """UDP port of VXLAN. Default: 4789."""

    vxlan_vni: Int64 | None = None
    """VXLAN's network id. Default: 4096."""

    wireguard_enabled: bool | None = None
    """WireGuard between hosts over IPv4. Default: false."""

    wireguard_enabled_v6: bool | None = None
    """WireGuard between hosts over IPv6. Default: false."""

    wireguard_host_encryption_enabled: bool | None = None
    """WireGuard also for the hosts' own packets. Default: false."""

    wireguard_interface_name: InterfaceName | None = None
    """The interface of WireGuard for IPv4. Default: wireguard.cali."""

    wireguard_interface_name_v6: InterfaceName | None = None
    """The interface of WireGuard for IPv6. Default: wg-v6.cali."""

    wireguard_keep_alive: WholeDuration | None = None
    """Time between two keepalive packets; 0s: none. Default: 0s."""

    wireguard_listening_port: PortOrZero | None = None
    """UDP port of WireGuard for IPv4. Default: 51820."""

    wireguard_listening_port_v6: PortOrZero | None = None
    """UDP port of WireGuard for IPv6. Default: 51821."""

    wireguard_mtu: Int64 | None = None
    """MTU of WireGuard for IPv4. Default: 0, found out."""

    wireguard_mtu_v6: Int64 | None = None
    """MTU of WireGuard for IPv6. Default: 0, found out."""

    wireguard_routing_rule_priority: Int64 | None = None
    """Priority of WireGuard's routing rule. Default: 99."""

    wireguard_threading_enabled: bool | None = None
    """WireGuard's packets are handled by a thread of the kernel. Default: false."""
