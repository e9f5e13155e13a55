"""FelixConfiguration -> settings: the node's own object, one that selects it, that of all nodes, and the defaults."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.calc.cluster import node, resource
from tortie.calc.graph import Graph
from tortie.calc.settings import compute_settings
from tortie.intent.settings import Settings
from tortie.model.resource import Resource


def settings(**specs: Any) -> Settings:
    """By object: `default={...}`, `own={...}`."""
    names = {"default": "default", "own": "node.host-a"}
    objects = (resource("FelixConfiguration", names[name], spec) for name, spec in specs.items())
    return compute_settings("host-a", {}, {each.key.name: each for each in objects})


def test_without_objects_the_defaults_hold() -> None:
    assert settings() == Settings()


def test_the_nodes_own_object_wins_field_by_field() -> None:
    found = settings(
        default={"interfacePrefix": "cali,eth-w", "reportingInterval": "10s"}, own={"reportingInterval": "0s"}
    )
    assert (found.interface_prefixes, found.reporting_interval_s) == (("cali", "eth-w"), 0.0)


def selecting(name: str, selector: str, region: str, created: str = "") -> Resource[Any]:
    made = resource("FelixConfiguration", name, {"nodeSelector": selector, "openstackRegion": region})
    return msgspec.structs.replace(made, metadata=msgspec.structs.replace(made.metadata, creation_timestamp=created))


EVERYONE = resource("FelixConfiguration", "default", {"openstackRegion": "all", "reportingTTL": "2m"})
OWN = resource("FelixConfiguration", "node.host-a", {"openstackRegion": "own"})
GATEWAYS = selecting("gateways", "role == 'gateway'", "gateways", "2026-02-01T00:00:00Z")
OLDER = selecting("older", "has(role)", "older", "2026-01-01T00:00:00Z")
GATEWAY = {"role": "gateway"}


@pytest.mark.parametrize(
    ("objects", "labels", "region"),
    [
        ([EVERYONE, GATEWAYS], GATEWAY, "gateways"),
        ([EVERYONE, GATEWAYS], {"role": "other"}, "all"),
        ([EVERYONE, GATEWAYS], {}, "all"),
        ([EVERYONE, GATEWAYS, OWN], GATEWAY, "own"),
        ([EVERYONE, GATEWAYS, OLDER], GATEWAY, "older"),
        ([EVERYONE, selecting("b", "all()", "second"), selecting("a", "all()", "first")], {}, "first"),
        ([EVERYONE, selecting("a", "all()", "selected")], None, "all"),  # the Node does not exist
        ([EVERYONE, selecting("node.host-b", "all()", "other")], {}, "all"),
    ],
)
def test_a_configuration_may_select_nodes(objects: list[Resource[Any]], labels: Any, region: str) -> None:
    found = compute_settings("host-a", labels, {each.key.name: each for each in objects})
    assert (found.region, found.reporting_ttl_s) == (region, 120.0)


def test_settings_follow_the_labels_of_the_node() -> None:
    graph = Graph("host-a")

    def region(*objects: Resource[Any]) -> str | None:
        for each in objects:
            graph.update(each.key, each)
        changed = graph.flush().settings
        return None if changed is None else changed.region

    assert region(EVERYONE, GATEWAYS) == "all"
    assert region(node("host-a", labels=GATEWAY)) == "gateways"
    assert region(node("host-b", labels=GATEWAY)) is None
    assert region(node("host-a")) == "all"
    graph.update(node("host-a").key, None)
    assert graph.flush().settings is None


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
