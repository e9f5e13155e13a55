"""FelixConfiguration: settings of the agents, of all (`default`), of one node (`node.<name>`), or of selected nodes.

The fields stand in `model/felix/`, by subject. tortie acts on those in `HONOURED`; the others are known, checked, kept,
and without effect here. Annotations `config.projectcalico.org/<parameter>`, which beat the fields in Felix, are kept
like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec.structs import replace

from tortie.errors import Problem
from tortie.model.addresses import parse_network
from tortie.model.felix.routes import TableRange
from tortie.model.felix.tunnels import TunnelSettings
from tortie.model.felix.types import regex_fault
from tortie.model.kind import NAME, Kind
from tortie.model.resource import Resource
from tortie.model.scalars import Duration, Port
from tortie.model.schema import json_name
from tortie.model.selector import Selector

NAME_OF_ALL = "default"
PREFIX_OF_NODE = "node."

# What tortie acts on today: what `calc.settings` and `calc.firewall` read.
HONOURED = frozenset(
    {
        *("interface_prefix", "endpoint_reporting_enabled", "reporting_interval", "reporting_ttl"),
        *("route_refresh_interval", "openstack_region"),
        *("nftables_mode", "iptables_backend", "iptables_mark_mask"),
        *("nftables_filter_deny_action", "iptables_filter_deny_action", "default_endpoint_to_host_action"),
        *("failsafe_inbound_host_ports", "failsafe_outbound_host_ports"),
        *("workload_source_spoofing", "floating_ips", "nat_outgoing_address", "nat_outgoing_exclusions"),
        *("allow_ipip_packets_from_workloads", "allow_vxlan_packets_from_workloads", "vxlan_port"),
        *("max_ipset_size", "node_selector"),
    }
)


class FelixConfigurationSpec(TunnelSettings, frozen=True, kw_only=True):
    """Settings of the agents. The object of a node beats one that selects it, and that beats `default`, field by field.

    Source: api/pkg/apis/projectcalico/v3/felixconfig.go
    """

    node_selector: Selector | None = None
    """The Nodes, by their labels, that an object of another name than `default` and `node.<name>` is for."""


# What counts when no object sets a field, for those that tortie reads or shows.
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
        values = {name: getattr(layer, name) for name in layer.__struct_fields__}
        merged = replace(merged, **{name: value for name, value in values.items() if value != getattr(_UNSET, name)})
    return merged


def write_defaults(configuration: Resource[FelixConfigurationSpec]) -> Resource[FelixConfigurationSpec]:
    """What Calico's clients put into every object, here only into that of all nodes: in any other it would beat what
    that one says."""
    if configuration.key.name != NAME_OF_ALL:
        return configuration
    spec = configuration.spec
    spec = replace(
        spec,
        floating_ips=spec.floating_ips or "Disabled",
        nftables_mode=spec.nftables_mode or "Auto",
        nftables_flow_table_offload=spec.nftables_flow_table_offload or "Disabled",
        bpf_connect_time_load_balancing=spec.bpf_connect_time_load_balancing or "TCP",
        bpf_host_networked_nat_without_ctlb=spec.bpf_host_networked_nat_without_ctlb or "Enabled",
    )
    deprecated = spec.bpf_connect_time_load_balancing_enabled
    if deprecated is not None:  # it wins over the two that replace it
        spec = replace(
            spec,
            bpf_connect_time_load_balancing="Enabled" if deprecated else "Disabled",
            bpf_host_networked_nat_without_ctlb="Disabled",
        )
    return replace(configuration, spec=spec)


_INTERFACE_PREFIX = re.compile(r"[a-zA-Z0-9:._+-]{1,15}")
_INTERFACE = re.compile(r"[a-zA-Z0-9_.-]{1,15}")
_PATTERNS = {
    "mtu_iface_pattern": "mtuIfacePattern",
    "log_debug_filename_regex": "logDebugFilenameRegex",
    "nftables_flow_table_data_iface_pattern": "nftablesFlowTableDataIfacePattern",
    "bpf_data_iface_pattern": "bpfDataIfacePattern",
    "bpf_l3_iface_pattern": "bpfL3IfacePattern",
    "bpf_disable_gro_for_ifaces": "bpfDisableGROForIfaces",
}
_LAST_TABLE = 2**32 - 1
_MAX_TABLES = 0xFFFF


def rules(configuration: Resource[FelixConfigurationSpec]) -> Iterator[Problem]:
    name, spec = configuration.key.name, configuration.spec
    if name != NAME_OF_ALL and not name.startswith(PREFIX_OF_NODE) and spec.node_selector is None:
        yield Problem("metadata.name", name, "must be default or node.<name>, unless spec.nodeSelector is set")
    for prefix in spec.interface_prefix:
        if not _INTERFACE_PREFIX.fullmatch(prefix):
            yield Problem("spec.interfacePrefix", prefix, "must be beginnings of interface names, separated by commas")
    for field, path in _PATTERNS.items():
        if fault := regex_fault(getattr(spec, field)):
            yield Problem(f"spec.{path}", getattr(spec, field), fault)
    for interface in spec.bpf_log_filters:
        if not _INTERFACE.fullmatch(interface):
            reason = "must be an interface name: 1 to 15 of [a-zA-Z0-9_.-], or all"
            yield Problem(f"spec.bpfLogFilters.{interface}", interface, reason)
    for index, port in enumerate(spec.kube_node_port_ranges or ()):
        if port.name:
            yield Problem(f"spec.kubeNodePortRanges[{index}]", port.name, "must be a port or a range, and no name")
        elif port.first < 1:
            yield Problem(
                f"spec.kubeNodePortRanges[{index}]", str(Port.to_json(port)), "must be of ports from 1 to 65535"
            )
    yield from _table_rules(spec)


def write_rules(configuration: Resource[FelixConfigurationSpec]) -> Iterator[Problem]:
    """What Felix's own reading of its settings refuses, setting by setting, and nobody before it."""
    for name in ("failsafe_inbound_host_ports", "failsafe_outbound_host_ports"):
        for index, port in enumerate(getattr(configuration.spec, name) or ()):
            path = f"spec.{json_name(name)}[{index}]"
            if port.protocol.upper() not in ("", "TCP", "UDP", "SCTP"):
                yield Problem(f"{path}.protocol", port.protocol, "must be TCP, UDP or SCTP")
            if port.net:
                try:
                    parse_network(port.net)
                except ValueError as error:
                    yield Problem(f"{path}.net", port.net, str(error))


def _table_rules(spec: FelixConfigurationSpec) -> Iterator[Problem]:
    one, many = spec.route_table_range, spec.route_table_ranges
    if one is not None and not 1 <= one.min <= one.max <= 250:
        yield Problem("spec.routeTableRange", _shown(one), "must be a range within 1 to 250")
    if one is not None and many:
        yield Problem("spec.routeTableRange", _shown(one), "must be absent beside routeTableRanges, which replaces it")
    for index, tables in enumerate(many):
        if not 1 <= tables.min <= tables.max <= _LAST_TABLE:
            reason = f"must be a range within 1 to {_LAST_TABLE}"
            yield Problem(f"spec.routeTableRanges[{index}]", _shown(tables), reason)
    count = sum(tables.max - tables.min + 1 for tables in many)
    if count > _MAX_TABLES:
        yield Problem("spec.routeTableRanges", f"{count} tables", f"must be at most {_MAX_TABLES} tables")


def _shown(tables: TableRange) -> str:
    return f"{tables.min} to {tables.max}"


KIND = Kind(
    name="FelixConfiguration",
    plural="felixconfigurations",
    aliases=("felixconfiguration", "felixconfig", "felixconfigs"),
    spec=FelixConfigurationSpec,
    columns=(NAME,),
    wide=(NAME,),
    on_write=write_defaults,
    rules=rules,
    write_rules=write_rules,
    honoured=HONOURED,
)
