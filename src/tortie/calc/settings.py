"""FelixConfiguration objects -> this node's settings. `node.<node>` beats `default`, field by field."""

from __future__ import annotations

from collections.abc import Mapping

from tortie.intent.settings import Settings
from tortie.model.kinds.felixconfiguration import FelixConfigurationSpec, effective
from tortie.model.resource import Resource

Configurations = Mapping[str, Resource[FelixConfigurationSpec]]  # by name


def in_force(node: str, configurations: Configurations) -> FelixConfigurationSpec:
    """What the configurations say for a node, with Felix's defaults for what none of them says."""
    return effective(*_layers(node, configurations))


def compute_settings(node: str, configurations: Configurations) -> Settings:
    """The settings of a node; what no configuration says is Felix's default."""
    layers = _layers(node, configurations)
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


def _layers(node: str, configurations: Configurations) -> list[FelixConfigurationSpec]:
    return [configurations[name].spec for name in (f"node.{node}", "default") if name in configurations]


DEFAULTS = Settings()
