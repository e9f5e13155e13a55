"""`tortie plan`, on a store; what it computes is tested where that is done."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.unit.cli.conftest import Tortie
from tests.unit.explain.scene import OBJECTS

POLICY = """\
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: default.db}
spec:
  order: 10
  selector: app == 'db'
  ingress:
  - {action: Allow, protocol: TCP, source: {selector: app == 'web'}, destination: {ports: [pg, 80]}}
"""


@pytest.fixture(autouse=True)
def objects(tortie: Tortie) -> None:
    tortie.write("objects.yaml", "---\n".join(yaml.safe_dump(each.document) for each in OBJECTS))
    assert tortie("apply", "-f", "objects.yaml").code == 0


def test_what_would_open_and_close(tortie: Tortie) -> None:
    said = tortie("plan", "-f", "-", stdin=POLICY)
    assert (said.code, said.stdout.splitlines()) == (
        0,
        [
            "opens  default/a-tortie-web-eth0 -> default/b-tortie-db-eth0 (ingress)",
            "  tcp/80",
            "  denied until now by the end of tier default",
            "  allowed then by GlobalNetworkPolicy(default.db) ingress rule 0",
            "CLOSES addresses outside, such as 203.0.113.0 -> default/b-tortie-db-eth0 (ingress)",
            "  over IPv4: tcp/5432",
            "  allowed until now by GlobalNetworkPolicy(default.db) ingress rule 0",
            "  denied then by the end of tier default",
            "verdicts change for 1 endpoint",
        ],
    )
    assert tortie.items("globalnetworkpolicy")[0]["spec"]["ingress"][0]["destination"]["ports"] == ["pg"]


def test_nothing(tortie: Tortie) -> None:
    assert tortie("plan", "-f", "objects.yaml").stdout == "no verdict changes\n"


def test_what_deleting_would_do(tortie: Tortie) -> None:
    said = json.loads(tortie("plan", "--delete", "-f", "-", "-o", "json", stdin=POLICY).stdout)
    assert (said["affectedEndpoints"], said["goneEndpoints"]) == (1, 0)
    assert {change["after"] for change in said["changes"]} == {"allowed"}
    (first, *_) = said["changes"]
    assert first["afterBy"] == "Profile(open) ingress rule 0"


@pytest.mark.parametrize(
    ("words", "document", "sentence"),
    [
        ((), POLICY.replace("Allow", "Perhaps"), "spec.ingress[0].action"),
        ((), POLICY.replace("app == 'db'", "app =="), "spec.selector"),
        (("--delete",), POLICY.replace("default.db", "default.x"), "GlobalNetworkPolicy(default.x) does not exist"),
    ],
)
def test_mistakes(tortie: Tortie, words: tuple[str, ...], document: str, sentence: str) -> None:
    said = tortie("plan", *words, "-f", "-", stdin=document)
    assert (said.code, said.stdout) == (1, "")
    assert sentence in said.stderr
