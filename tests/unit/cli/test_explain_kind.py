"""`tortie explain-kind` and `tortie api-resources`: the model at the terminal."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.unit.cli.conftest import Tortie
from tortie.cli import examples
from tortie.model import KINDS, from_user
from tortie.model.kinds import kind_named


def test_a_field(tortie: Tortie) -> None:
    said = tortie("explain-kind", "pool.spec.ipipMode")
    assert said == (
        0,
        "KIND     IPPool (projectcalico.org/v3)\n"
        "FIELD    spec.ipipMode\n"
        "TYPE     text\n"
        "ALLOWED  one of Always, CrossSubnet, Never\n"
        "DEFAULT  Never\n"
        "\n"
        "IPIP between hosts; Never in IPv6. tortie routes plainly whatever it says.\n",
        "",
    )


def test_a_kind(tortie: Tortie) -> None:
    lines = tortie("explain-kind", "wep").stdout.splitlines()
    assert lines[0] == "KIND        WorkloadEndpoint (projectcalico.org/v3)"
    assert lines[2] == "NAMESPACED  yes"
    assert [line.split()[0] for line in lines[lines.index("FIELDS") + 1 :]] == [
        "apiVersion",
        "kind",
        "metadata",
        "spec",
    ]


def test_fields_within(tortie: Tortie) -> None:
    below = tortie("explain-kind", "wep.spec.ports").stdout.partition("FIELDS\n")[2].splitlines()
    assert below[1].split(maxsplit=3) == ["protocol", "protocol,", "required", "TCP, UDP or SCTP."]
    assert len(below) == 5


def test_all_fields_below(tortie: Tortie) -> None:
    names = [line.split()[0] for line in tortie("explain-kind", "bgppeer.spec", "-r").stdout.splitlines() if line]
    assert names.index("password") < names.index("secretKeyRef") < names.index("key")
    assert "secretKeyRef" not in tortie("explain-kind", "bgppeer.spec").stdout


def test_without_a_kind_it_lists_all(tortie: Tortie) -> None:
    said = tortie("explain-kind")
    assert [line.split()[0] for line in said.stdout.splitlines()] == list(KINDS)


def test_what_tortie_does_not_act_on_says_so(tortie: Tortie) -> None:
    assert "EFFECT" in tortie("explain-kind", "felixconfig.spec.awsSrcDstCheck").stdout
    assert "EFFECT" not in tortie("explain-kind", "felixconfig.spec.interfacePrefix").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ipool",), "Error: resource type 'ipool' is not supported; did you mean 'ippool'?\n"),
        (("ippool.spec.cdir",), "Error: IPPool.spec has no field 'cdir'; did you mean 'cidr'?\n"),
        (("--example",), "Error: --example needs a KIND\n"),
    ],
)
def test_what_is_misspelt(tortie: Tortie, words: tuple[str, ...], said: str) -> None:
    found = tortie("explain-kind", *words)
    assert (found.code, found.stdout) == (2, "")
    assert found.stderr.endswith(said)


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_a_kind_is_valid(kind: str) -> None:
    resource = from_user(yaml.safe_load(examples.of(KINDS[kind])))
    assert resource.key.kind == kind


def test_an_example_can_be_applied(tortie: Tortie) -> None:
    text = tortie("explain-kind", "ippool", "--example").stdout
    assert tortie("apply", "-f", "-", stdin=text).code == 0
    assert tortie.names("ippool") == ["pool-a"]


class TestApiResources:
    def test_table(self, tortie: Tortie) -> None:
        lines = tortie("api-resources").stdout.splitlines()
        assert lines[0].split() == ["NAME", "ALIASES", "APIVERSION", "NAMESPACED", "KIND"]
        row = next(line.split() for line in lines if line.startswith("workloadendpoints"))
        assert row == ["workloadendpoints", "wep,weps", "projectcalico.org/v3", "true", "WorkloadEndpoint"]
        assert [line.split()[0] for line in lines[1:] if line] == sorted(kind.plural for kind in KINDS.values())

    def test_verbs(self, tortie: Tortie) -> None:
        rows = {
            line.split()[0]: line.split()[-1]
            for line in tortie("api-resources", "-o", "wide").stdout.split("\n")
            if line
        }
        assert rows["NAME"] == "VERBS"
        assert rows["ippools"] == "create,delete,get,list,patch,update,watch"
        assert rows["clusterinformations"] == "get,list,watch"

    def test_names(self, tortie: Tortie) -> None:
        assert tortie("api-resources", "-o", "name").stdout.splitlines() == sorted(
            kind.plural for kind in KINDS.values()
        )

    def test_json_names_every_alias_that_the_command_line_takes(self, tortie: Tortie) -> None:
        for described in json.loads(tortie("api-resources", "-o", "json").stdout):
            for name in (described["name"], described["kind"], *described["aliases"]):
                assert kind_named(name).name == described["kind"]
