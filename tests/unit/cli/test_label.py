"""`tortie label`: each row of calicoctl's table."""

from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Tortie
from tests.unit.cli.test_write import NODE, endpoint


@pytest.fixture(autouse=True)
def stored(tortie: Tortie) -> None:
    labelled = NODE.replace("{name: node-1}", "{name: node-1, labels: {rack: r1}}")
    assert tortie("create", "-f", tortie.write("f.yaml", labelled + endpoint("web"))).code == 0


def labels(tortie: Tortie) -> dict[str, str]:
    [node] = tortie.items("node")
    found: dict[str, str] = node["metadata"].get("labels", {})
    return found


@pytest.mark.parametrize(
    ("words", "sentence", "after"),
    [
        (["row=2"], "Successfully set label row on nodes node-1", {"rack": "r1", "row": "2"}),
        (["row="], "Successfully set label row on nodes node-1", {"rack": "r1", "row": ""}),
        (["rack=r1"], "Successfully updated label rack on nodes node-1", {"rack": "r1"}),
        (["rack=r2", "--overwrite"], "Successfully updated label rack on nodes node-1", {"rack": "r2"}),
        (["--overwrite", "row=2"], "Successfully set label row on nodes node-1", {"rack": "r1", "row": "2"}),
        (["rack", "--remove"], "Successfully removed label rack from nodes node-1", {}),
    ],
)
def test_what_is_done(tortie: Tortie, words: list[str], sentence: str, after: dict[str, str]) -> None:
    assert tortie("label", "nodes", "node-1", *words) == (0, sentence + "\n", "")
    assert labels(tortie) == after


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["node-1", "rack=r2"],
            "failed to update label of node node-1, key rack is already present. "
            "please use '--overwrite' to set a new value",
        ),
        (["node-1", "row", "--remove"], "cannot remove label of node node-1, key row does not exist"),
        (["node-1", "row"], "invalid label row"),
        (["node-1", "=x"], "invalid label =x"),
        (["node-2", "row=1"], "node node-2 not found"),
        (["node-1"], "accepts 3 arg(s), received 2"),
        (["", "row=1"], "failed to get node , error resource name may not be empty"),
        (["node-1", "row=1", "-n", "red"], "failed to get node node-1, error Node is not namespaced"),
        (
            ["node-1", "rack", "--remove", "--overwrite"],
            "cannot use both --overwrite and --remove flags at the same time",
        ),
        (
            ["node-1", "row=a b"],
            "failed to update node node-1, label not changed: error with field metadata.labels.row = 'a b' "
            "(the value must be at most 63 letters, digits, -, _ and ., beginning and ending with a letter or digit, "
            "or empty)",
        ),
        (
            ["node-1", "a=b=c"],
            "failed to update node node-1, label not changed: error with field metadata.labels.a = 'b=c' "
            "(the value must be at most 63 letters, digits, -, _ and ., beginning and ending with a letter or digit, "
            "or empty)",
        ),
    ],
)
def test_what_cannot_be(tortie: Tortie, words: list[str], sentence: str) -> None:
    assert tortie("label", "node", *words) == (1, "", sentence + "\n")
    assert labels(tortie) == {"rack": "r1"}


def test_kind_and_name_are_printed_as_typed(tortie: Tortie) -> None:
    name = "node--1-tortie-web-eth0"
    assert tortie("label", "WEPs", name, "app=web").stdout == f"Successfully set label app on WEPs {name}\n"
    assert tortie("label", "wep", name, "app=web", "-n", "red").stderr == f"wep {name} not found\n"
    assert tortie("label", "weps", name, "x=1", "-n", "default").code == 0


def test_of_what_cannot_be_labelled(tortie: Tortie) -> None:
    assert tortie("label", "pod", "a", "b=c").stderr.startswith(
        "failed to get pod a, error resource type 'pod' is not supported"
    )
    assert tortie("label", "clusterinfo", "default", "b=c").stderr == (
        "failed to update clusterinfo default, label not changed: "
        "operation Update is not supported on ClusterInformation(default)\n"
    )
