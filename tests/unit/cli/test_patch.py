"""`tortie patch`: calicoctl's sentences, and patch types that do what they say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.conftest import Tortie
from tests.unit.cli.test_write import NODE, A
from tortie.model.resource import ResourceKey

DONE = "Successfully patched 1 'IPPool' resource\n"


@pytest.fixture(autouse=True)
def stored(tortie: Tortie) -> None:
    labelled = A.replace("{name: a}", "{name: a, labels: {zone: z1, row: r1}}").replace(
        "/16}", "/16, natOutgoing: true}"
    )
    assert tortie("create", "-f", tortie.write("f.yaml", labelled + NODE)).code == 0


def pool(tortie: Tortie) -> dict[str, Any]:
    [item] = tortie.items("ippool")
    return item


@pytest.mark.parametrize(
    ("form", "patch"),
    [
        ([], '{"spec": {"disabled": true, "natOutgoing": null}, "metadata": {"labels": {"row": null}}}'),
        (["-t", "strategic"], "spec: {disabled: true, natOutgoing: null}\nmetadata: {labels: {row: null}}"),
        (
            ["--type", "merge"],
            '{"spec": {"disabled": true, "natOutgoing": null}, "metadata": {"labels": {"row": null}}}',
        ),
        (
            ["-t", "json"],
            '[{"op": "add", "path": "/spec/disabled", "value": true}, {"op": "remove", "path": "/spec/natOutgoing"},'
            ' {"op": "remove", "path": "/metadata/labels/row"}]',
        ),
    ],
)
def test_each_type(tortie: Tortie, form: list[str], patch: str) -> None:
    before = pool(tortie)
    assert tortie("patch", "ippool", "a", *form, "-p", patch) == (0, DONE, "")
    after = pool(tortie)
    assert (after["spec"]["disabled"], "natOutgoing" in after["spec"]) == (True, False)
    assert after["metadata"]["labels"] == {"zone": "z1"}
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def test_an_object_given_as_json_patch_is_a_merge_patch(tortie: Tortie) -> None:
    """So Calico's documentation writes it; a JSON patch is a list, so that neither can be taken for the other."""
    assert tortie("patch", "pools", "a", "--patch", '{"spec": {"disabled": true}}', "--type", "json").stdout == DONE
    assert pool(tortie)["spec"]["disabled"] is True


def test_lists_are_replaced_as_a_whole(tortie: Tortie) -> None:
    assert tortie("patch", "pools", "a", "--patch", '{"spec": {"allowedUses": ["Tunnel"]}}').stdout == DONE
    assert pool(tortie)["spec"]["allowedUses"] == ["Tunnel"]


def test_the_same_again_writes_nothing(tortie: Tortie) -> None:
    before = pool(tortie)
    assert tortie("patch", "ippool", "a", "-p", '{"spec": {"natOutgoing": true}}').stdout == DONE
    assert pool(tortie) == before


@pytest.mark.parametrize(
    ("words", "stderr"),
    [
        (["a"], 'required flag(s) "patch" not set'),
        (["-p", "{}"], "accepts 2 arg(s), received 1"),
        (["a", "-p", "{}", "-t", "diff"], "unknown patch type: diff, expected one of: strategic, json, merge"),
        (["", "-p", "{}"], "resource name may not be empty"),
        (["b", "-p", "{}"], "hit error: resource does not exist: IPPool(b) with error: <nil>"),
        (["a", "-n", "red", "-p", "{}"], "IPPool is not namespaced"),
        (
            ["a", "-p", "{"],
            "hit error: performing strategic merge patch: document 1, line 2, column 1: "
            "did not find expected node content",
        ),
        (["a", "-p", ""], "hit error: performing strategic merge patch: the patch must be one document, and is 0"),
        (
            ["a", "-p", "[1]"],
            "hit error: performing strategic merge patch: the patch must be an object with the fields to change",
        ),
        (
            ["a", "-t", "json", "-p", '[{"op": "remove", "path": "/spec/foo"}]'],
            "hit error: performing JSON patch: operation 1 (remove /spec/foo): there is no such value",
        ),
        (
            ["a", "-t", "merge", "-p", "[1]"],
            "hit error: creating resource from patched data: the object must be an object with fields",
        ),
        (
            ["a", "-p", '{"spec": {"foo": 1}}'],
            "field in document is not recognized or is in the wrong location: spec.foo",
        ),
        (
            ["a", "-p", '{"spec": {"disabled": "yes"}}'],
            "hit error: creating resource from patched data: error with field spec.disabled = 'yes' "
            "(must be true or false)",
        ),
        (
            ["a", "-p", '{"metadata": {"name": "b"}}'],
            "hit error: creating resource from patched data: error with field metadata.name = 'IPPool(b)' "
            "(must stay IPPool(a))",
        ),
        (
            ["a", "-p", '{"metadata": {"resourceVersion": "1"}}'],
            "hit error: updating existing resource: update conflict: IPPool(a) (resourceVersion 1 was given, ",
        ),
    ],
)
def test_what_cannot_be(tortie: Tortie, words: list[str], stderr: str) -> None:
    before = pool(tortie)
    said = tortie("patch", "ippool", *words)
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr.startswith(stderr) if stderr.endswith(" ") else said.stderr == stderr + "\n"
    assert pool(tortie) == before


def test_of_another_kind(tortie: Tortie) -> None:
    assert tortie("patch", "ipool", "a", "-p", "{}").stderr == (
        "resource type 'ipool' is not supported; did you mean 'ippool'?\n"
    )
    assert tortie("patch", "clusterinfo", "default", "-p", "{}").stderr == (
        "hit error: updating existing resource: operation Update is not supported on ClusterInformation(default)\n"
    )


def test_nesting_without_end_is_no_crash(tortie: Tortie) -> None:
    deep = '{"a":' * 950 + "1" + "}" * 950
    for form in ("strategic", "merge"):
        said = tortie("patch", "ippool", "a", "-t", form, "-p", deep)
        assert (said.code, said.stderr.count("\n")) == (1, 1)


class TestFieldsOfANewerCalico:
    @pytest.fixture(autouse=True)
    def shiny(self, tortie: Tortie, stored: None) -> None:
        document = pool(tortie)
        del document["metadata"]["resourceVersion"]
        document["spec"]["shiny"] = {"new": 1}
        tortie.put(ResourceKey("IPPool", "", "a"), document)

    def test_stay(self, tortie: Tortie) -> None:
        assert tortie("patch", "ippool", "a", "-p", '{"spec": {"disabled": true}}').stdout == DONE
        assert pool(tortie)["spec"]["shiny"] == {"new": 1}

    def test_are_changed_and_removed(self, tortie: Tortie) -> None:
        assert tortie("patch", "ippool", "a", "-p", '{"spec": {"shiny": {"new": 2}}}').stdout == DONE
        assert pool(tortie)["spec"]["shiny"] == {"new": 2}
        assert tortie("patch", "ippool", "a", "-p", '{"spec": {"shiny": null}}').stdout == DONE
        assert "shiny" not in pool(tortie)["spec"]
