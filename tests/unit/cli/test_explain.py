"""`tortie explain`, on a store."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.unit.cli.conftest import Tortie
from tests.unit.explain.scene import OBJECTS


@pytest.fixture(autouse=True)
def objects(tortie: Tortie) -> None:
    tortie.write("objects.yaml", "---\n".join(yaml.safe_dump(each.document) for each in OBJECTS))
    said = tortie("apply", "-f", "objects.yaml")
    assert said.code == 0, said.stderr


def test_the_answer_comes_first(tortie: Tortie) -> None:
    said = tortie("explain", "web", "db", "tcp/pg")
    assert (said.code, said.stdout.splitlines()[0]) == (
        0,
        "web -> db tcp/pg: allowed: everybody who has a say allows it",
    )
    assert said.stderr == ""
    assert tortie("explain", "probe", "db", "tcp/pg").stdout.startswith("probe -> db tcp/pg: DENIED: the end of tier")


def test_a_ping_is_meant_by_nothing(tortie: Tortie) -> None:
    assert tortie("explain", "web", "probe").stdout.startswith("web -> probe icmp/8/0: allowed")
    assert tortie("explain", "web", "a", "-6").stdout.startswith("web -> a icmpv6/128/0: DENIED")


def test_for_programs(tortie: Tortie) -> None:
    said = json.loads(tortie("explain", "web", "db", "tcp/80", "-o", "json").stdout)
    assert (said["allowed"], said["reason"], len(said["nodes"])) == (False, "tier-default", 2)


def test_a_broken_object_is_told_of(tortie: Tortie) -> None:
    (policy,) = (each for each in OBJECTS if each.key.kind == "GlobalNetworkPolicy")
    document = {**policy.document, "spec": {**policy.document["spec"], "ingress": [{"action": "Perhaps"}]}}
    tortie.put(policy.key, document)
    said = tortie("explain", "web", "db", "tcp/pg")
    assert "Warning: GlobalNetworkPolicy(default.db) breaks the rules of its kind: " in said.stderr
    assert "DENIED: GlobalNetworkPolicy(default.db) as a whole" in said.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["wbe", "db"], "there is no endpoint, workload or node called 'wbe'"),
        (["web", "db", "tcp"], "'tcp': TCP needs one port, such as tcp/443"),
        (["probe", "fd00:65::1"], "there is no family of addresses for both: probe has 10.65.0.3, "),
        (["192.0.2.1", "192.0.2.2"], "neither 192.0.2.1 nor 192.0.2.2 is of this cluster"),
    ],
)
def test_mistakes(tortie: Tortie, words: list[str], sentence: str) -> None:
    said = tortie("explain", *words)
    assert (said.code, said.stdout) == (2, "")
    assert sentence in said.stderr


def test_the_policies_of_an_endpoint(tortie: Tortie) -> None:
    assert [line.split() for line in tortie("endpoint", "policies", "db").stdout.splitlines()] == [
        ["CHAIN", "PLACE", "TIER", "POLICY", "THEN"],
        ["ingress", "1", "default", "GlobalNetworkPolicy(default.db)", "Deny"],
        ["ingress", "2", "-", "Profile(open)"],
        ["egress", "1", "-", "Profile(open)"],
    ]
    (first, *_) = json.loads(tortie("endpoint", "policies", "db", "-o", "json").stdout)
    assert (first["policy"], first["tierDefault"]) == ("default.db", "Deny")


def test_the_endpoints_of_a_policy(tortie: Tortie) -> None:
    assert [line.split() for line in tortie("policy", "endpoints", "default.db").stdout.splitlines()] == [
        ["ENDPOINT", "NODE", "CHAIN", "TIER", "PLACE"],
        ["default/b-tortie-db-eth0", "b", "ingress", "default", "1"],
    ]
    said = tortie("policy", "endpoints", "projectcalico-default-allow")
    assert said.stdout == "Profile(projectcalico-default-allow) applies to nobody\n"
