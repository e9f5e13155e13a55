"""FelixConfiguration -> settings: the node's own object beats that of all nodes, and defaults fill the rest."""

from __future__ import annotations

from typing import Any

from tests.unit.calc.cluster import resource
from tortie.calc.settings import compute_settings
from tortie.intent.settings import Settings


def settings(**specs: Any) -> Settings:
    """By object: `default={...}`, `own={...}`."""
    names = {"default": "default", "own": "node.host-a"}
    objects = (resource("FelixConfiguration", names[name], spec) for name, spec in specs.items())
    return compute_settings("host-a", {each.key.name: each for each in objects})


def test_without_objects_the_defaults_hold() -> None:
    assert settings() == Settings()


def test_the_nodes_own_object_wins_field_by_field() -> None:
    found = settings(
        default={"interfacePrefix": "cali,eth-w", "reportingInterval": "10s"}, own={"reportingInterval": "0s"}
    )
    assert (found.interface_prefixes, found.reporting_interval_s) == (("cali", "eth-w"), 0.0)


def test_endpoint_statuses_are_written_unless_told_not_to() -> None:
    assert settings(default={"reportingTTL": "2m"}).endpoint_reporting
    assert not settings(default={"endpointReportingEnabled": False}).endpoint_reporting
    assert settings(
        default={"endpointReportingEnabled": False}, own={"endpointReportingEnabled": True}
    ).endpoint_reporting


def test_the_audit_cannot_be_switched_off() -> None:
    assert settings(default={"routeRefreshInterval": "0s"}).audit_interval_s == Settings().audit_interval_s
    assert settings(default={"routeRefreshInterval": "30s"}).audit_interval_s == 30.0


def test_the_region_is_openstacks() -> None:
    assert settings(default={"openstackRegion": "north"}).region == "north"
