"""FelixConfiguration objects -> this node's settings. `node.<node>` beats `default`, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tortie.intent.settings import Settings
from tortie.model.kinds.felixconfiguration import FelixConfigurationSpec
from tortie.model.resource import Resource

_DEFAULTS = Settings()


def compute_settings(node: str, configurations: Mapping[str, Resource[FelixConfigurationSpec]]) -> Settings:
    """The settings of a node from the configurations by name; what none of them says is the default."""
    specs = [configurations[name].spec for name in (f"node.{node}", "default") if name in configurations]

    def first(field: str, default: Any) -> Any:
        found = (getattr(spec, field) for spec in specs)
        return next((value for value in found if value is not None), default)

    def seconds(field: str, default: float) -> float:
        found = first(field, None)
        return default if found is None else float(found.total_seconds())

    prefixes = first("interface_prefix", "")
    return Settings(
        interface_prefixes=_split(prefixes) or _DEFAULTS.interface_prefixes,
        endpoint_reporting=first("endpoint_reporting_enabled", _DEFAULTS.endpoint_reporting),
        reporting_interval_s=seconds("reporting_interval", _DEFAULTS.reporting_interval_s),
        reporting_ttl_s=seconds("reporting_ttl", _DEFAULTS.reporting_ttl_s),
        # 0 switches Felix's refresh off; an audit is what finds what no event told of, so ours stays.
        audit_interval_s=seconds("route_refresh_interval", 0.0) or _DEFAULTS.audit_interval_s,
        log_level=first("log_severity_screen", _DEFAULTS.log_level).lower(),
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
