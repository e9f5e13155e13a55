"""FelixConfiguration objects -> this node's settings.

Field by field the node's own object (`node.<node>`) beats the one that selects the node by its labels, and that beats
the one of all nodes (`default`). Of several that select it the oldest counts, of equally old ones the first by name, as
in Felix.
"""

from __future__ import annotations

from collections.abc import Mapping

from tortie.intent.settings import Settings
from tortie.model.kinds.felixconfiguration import NAME_OF_ALL, PREFIX_OF_NODE, FelixConfigurationSpec, effective
from tortie.model.resource import Resource

Configurations = Mapping[str, Resource[FelixConfigurationSpec]]  # by name
Labels = Mapping[str, str] | None  # of the Node; None: there is no such object, and nothing selects it


def in_force(node: str, labels: Labels, configurations: Configurations) -> FelixConfigurationSpec:
    """What the configurations say for a node, with Felix's defaults for what none of them says."""
    return effective(*_layers(node, labels, configurations))


def compute_settings(node: str, labels: Labels, configurations: Configurations) -> Settings:
    """The settings of a node; what no configuration says is Felix's default."""
    layers = _layers(node, labels, configurations)
    merged = effective(*layers)
    said = next((each for layer in layers if (each := layer.endpoint_reporting_enabled) is not None), None)
    return Settings(
        interface_prefixes=merged.interface_prefix,
        # Felix keeps statuses to itself unless told; here somebody always waits for them (docs/decisions.md).
        endpoint_reporting=said is not False,
        reporting_interval_s=merged.reporting_interval.total_seconds() if merged.reporting_interval else 0.0,
        reporting_ttl_s=merged.reporting_ttl.total_seconds() if merged.reporting_ttl else DEFAULTS.reporting_ttl_s,
        # 0 switches Felix's refresh off; an audit finds what no event told of, so ours stays.
        audit_interval_s=(
            merged.route_refresh_interval.total_seconds()
            if merged.route_refresh_interval
            else DEFAULTS.audit_interval_s
        ),
        policy_backend=_policy_backend(merged),
        mark_mask=merged.iptables_mark_mask or DEFAULTS.mark_mask,
        region=merged.openstack_region,
    )


def _policy_backend(merged: FelixConfigurationSpec) -> str:
    """nftables, unless somebody asks for iptables: by its variant, or by switching nftables off."""
    mode, variant = merged.nftables_mode.lower(), merged.iptables_backend.lower()
    if mode == "enabled":
        return "nftables"
    if variant in ("legacy", "nft"):
        return f"iptables-{variant}"
    return "iptables-nft" if mode == "disabled" else "nftables"


def _layers(node: str, labels: Labels, configurations: Configurations) -> list[FelixConfigurationSpec]:
    """Those that count for the node, the strongest first."""
    named = (
        configurations.get(f"{PREFIX_OF_NODE}{node}"),
        _selected(labels, configurations),
        configurations.get(NAME_OF_ALL),
    )
    return [each.spec for each in named if each is not None]


def _selected(labels: Labels, configurations: Configurations) -> Resource[FelixConfigurationSpec] | None:
    if labels is None:
        return None
    found = (
        each
        for name, each in configurations.items()
        if name != NAME_OF_ALL and not name.startswith(PREFIX_OF_NODE)
        if each.spec.node_selector is not None and each.spec.node_selector.matches(labels)
    )
    return min(found, key=lambda each: (each.metadata.creation_timestamp, each.key.name), default=None)


DEFAULTS = Settings()
