"""Policies, tiers, host endpoints and network sets at the terminal: tables, documents, sentences."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.conftest import Tortie
from tortie.cli import strict_yaml

CLUSTER = """
- apiVersion: projectcalico.org/v3
  kind: Tier
  metadata: {name: platform}
  spec: {order: 200, defaultAction: Pass}
- apiVersion: projectcalico.org/v3
  kind: NetworkPolicy
  metadata: {name: web, namespace: blue, labels: {team: web}, annotations: {note: n}}
  spec:
    tier: platform
    order: 100
    selector: app == 'web'
    egress: [{action: Allow, protocol: TCP, destination: {ports: [5432]}}]
- apiVersion: projectcalico.org/v3
  kind: GlobalNetworkPolicy
  metadata: {name: deny-all}
- apiVersion: projectcalico.org/v3
  kind: StagedGlobalNetworkPolicy
  metadata: {name: deny-all}
  spec: {stagedAction: Delete}
- apiVersion: projectcalico.org/v3
  kind: StagedKubernetesNetworkPolicy
  metadata: {name: web}
  spec: {podSelector: {matchLabels: {app: web}}}
- apiVersion: projectcalico.org/v3
  kind: HostEndpoint
  metadata: {name: node-1-eth0}
  spec: {node: node-1, interfaceName: eth0, expectedIPs: [192.0.2.10, '2001:db8::10'], profiles: [management, all]}
- apiVersion: projectcalico.org/v3
  kind: NetworkSet
  metadata: {name: partners}
  spec: {nets: [203.0.113.0/24]}
- apiVersion: projectcalico.org/v3
  kind: GlobalNetworkSet
  metadata: {name: office}
"""


@pytest.fixture
def cluster(tortie: Tortie) -> Tortie:
    said = tortie("create", "-f", tortie.write("cluster.yaml", CLUSTER))
    assert said == (0, "Successfully created 8 resource(s)\n", "")
    return tortie


# A dot marks the blank that ends a line.
@pytest.mark.parametrize(
    ("words", "table"),
    [
        (
            "tiers",
            """\
NAME            ORDER   .
platform        200     .
kube-admin      1000    .
default         1e+06   .
kube-baseline   1e+07   .

""",
        ),
        ("np", "NAME   TIER   .\n\n"),
        (
            "pol -n blue -o wide",
            """\
NAMESPACE   NAME   TIER       ORDER   SELECTOR       .
blue        web    platform   100     app == 'web'   .

""",
        ),
        (
            "gnp -o wide",
            """\
NAME       TIER      ORDER   SELECTOR   .
deny-all   default   <nil>              .

""",
        ),
        ("sgnp", "NAME       TIER      .\ndeny-all   default   .\n\n"),
        ("sknp -o wide", "NAME   PODSELECTOR   .\nweb    app=web       .\n\n"),
        (
            "hep -o wide",
            """\
NAME          NODE     INTERFACE   IPS                       PROFILES         .
node-1-eth0   node-1   eth0        192.0.2.10,2001:db8::10   management,all   .

""",
        ),
        ("heps", "NAME          NODE     .\nnode-1-eth0   node-1   .\n\n"),
        ("netsets -o wide", "NAME       NETS             .\npartners   203.0.113.0/24   .\n\n"),
        ("gnetsets -o wide", "NAME     NETS   .\noffice          .\n\n"),
    ],
)
def test_tables(cluster: Tortie, words: str, table: str) -> None:
    assert cluster("get", *words.split()) == (0, table.replace(" .\n", " \n"), "")


def got(tortie: Tortie, *words: str) -> Any:
    said = tortie("get", *words, "-o", "json")
    assert said.code == 0, said.stderr
    return json.loads(said.stdout)


def test_documents_are_as_readers_see_them(cluster: Tortie) -> None:
    policy = got(cluster, "policy", "web", "-n", "blue")
    assert policy["metadata"]["labels"] == {"team": "web", "projectcalico.org/tier": "platform"}
    assert policy["metadata"]["annotations"] == {"note": "n"}
    assert policy["spec"] == {
        "tier": "platform",
        "order": 100,
        "egress": [{"action": "Allow", "protocol": "TCP", "destination": {"ports": [5432]}}],
        "selector": "app == 'web'",
        "types": ["Egress"],
    }
    assert "annotations" not in got(cluster, "gnp", "deny-all")["metadata"]
    assert got(cluster, "sgnp", "deny-all")["spec"] == {"stagedAction": "Delete", "tier": "default"}


def test_what_is_printed_may_be_applied_and_changes_nothing(cluster: Tortie) -> None:
    for words in (("np", "-n", "blue"), ("gnp",), ("tiers",), ("sgnp",), ("sknp",), ("hep",), ("netsets",)):
        text = cluster("get", *words, "-o", "yaml").stdout
        said = cluster("apply", "-f", "-", stdin=text)
        assert said.code == 0, said.stderr
        assert cluster("get", *words, "-o", "yaml").stdout == text.replace(
            strict_yaml.read(text)[0].value["metadata"]["resourceVersion"],
            got(cluster, *words)["metadata"]["resourceVersion"],
        )


def test_nothing_is_to_be_changed_by_what_was_written(cluster: Tortie) -> None:
    assert cluster("diff", "-f", "cluster.yaml").code == 0


def test_a_tier_that_is_missing(cluster: Tortie) -> None:
    text = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: p}, spec: {tier: ops}}"
    sentence = "resource does not exist: Tier(ops) with error: <nil>"
    assert cluster("apply", "-f", "-", stdin=text) == (
        1,
        "",
        f"failed to apply 'GlobalNetworkPolicy' resource: [{sentence}]\n",
    )


@pytest.mark.parametrize(
    ("tier", "sentence"),
    [
        ("default", "operation Delete is not supported on Tier(default): Cannot delete default tier"),
        ("platform", "operation Delete is not supported on Tier(platform): Cannot delete a non-empty tier"),
    ],
)
def test_tiers_that_stay(cluster: Tortie, tier: str, sentence: str) -> None:
    said = cluster("delete", "tier", tier)
    assert (said.code, said.stdout) == (1, "")
    assert sentence in said.stderr


def test_orders_in_templates_are_floats_as_in_go(cluster: Tortie) -> None:
    template = "{{range .}}{{range .Items}}{{.Name}} {{.Spec.Order}} {{end}}{{end}}"
    said = cluster("get", "tiers", "-o", f"go-template={template}")
    assert said == (0, "platform 200 kube-admin 1000 default 1e+06 kube-baseline 1e+07 ", "")
