"""`tortie diff`: what apply would change, and the exit codes of diff(1)."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tests.unit.cli.conftest import Tortie
from tortie.__main__ import command
from tortie.cli import examples
from tortie.model import KINDS
from tortie.model.resource import ResourceKey

POOL = """
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: pool-a
spec:
  cidr: 10.65.0.0/16
  natOutgoing: {nat}
"""


@pytest.fixture
def pool(tortie: Tortie) -> str:
    """A file that says what is stored."""
    assert tortie("apply", "-f", tortie.write("pool.yaml", POOL.format(nat="true"))).code == 0
    return "pool.yaml"


def test_what_is_stored_has_no_difference(tortie: Tortie, pool: str) -> None:
    assert tortie("diff", "-f", pool) == (0, "", "")


def test_colour_is_for_terminals(tortie: Tortie, pool: str) -> None:
    tortie.write(pool, POOL.format(nat="false"))
    plain = tortie("diff", "-f", pool).stdout
    runner = CliRunner(env={**tortie.environment, "TERM": "xterm", "NO_COLOR": ""})
    words = ["diff", "-f", pool]
    assert "\x1b[31m-  natOutgoing: true" in runner.invoke(command(), words, color=True).stdout
    assert runner.invoke(command(), words, color=True, env={"NO_COLOR": "1"}).stdout == plain
    assert runner.invoke(command(), words, color=True, env={"TERM": "dumb"}).stdout == plain


def test_a_change(tortie: Tortie, pool: str) -> None:
    tortie.write(pool, POOL.format(nat="false"))
    said = tortie("diff", "-f", pool)
    assert (said.code, said.stderr) == (1, "")
    assert said.stdout.splitlines()[:2] == ["--- IPPool(pool-a) (stored)", "+++ IPPool(pool-a) (after)"]
    changed = [line for line in said.stdout.splitlines()[2:] if line[0] in "+-"]
    assert changed == ["-  natOutgoing: true"]


def test_nothing_is_written(tortie: Tortie, pool: str) -> None:
    before = tortie.items("ippool")
    tortie("diff", "-f", "-", stdin=POOL.format(nat="false"))
    tortie("diff", "-f", "-", stdin=POOL.format(nat="false").replace("pool-a", "pool-b").replace("10.65", "10.66"))
    assert tortie.items("ippool") == before


@pytest.mark.usefixtures("pool")
def test_a_new_object_is_held_against_nothing_with_its_defaults(tortie: Tortie) -> None:
    new = POOL.format(nat="false").replace("pool-a", "pool-b").replace("10.65", "10.66")
    said = tortie("diff", "-f", "-", stdin=new)
    lines = said.stdout.splitlines()
    assert (said.code, lines[0], lines[1]) == (1, "--- /dev/null", "+++ IPPool(pool-b) (after)")
    assert "+  blockSize: 26" in lines
    assert not any("uid" in line or "creationTimestamp" in line or "resourceVersion" in line for line in lines)


def test_apply_afterwards_leaves_no_difference(tortie: Tortie, pool: str) -> None:
    tortie.write(pool, POOL.format(nat="false"))
    assert tortie("diff", "-f", pool).code == 1
    assert tortie("apply", "-f", pool).code == 0
    assert tortie("diff", "-f", pool) == (0, "", "")


def test_fields_that_nobody_here_knows_stay_and_are_no_difference(tortie: Tortie) -> None:
    document = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "IPPool",
        "metadata": {"name": "pool-a", "uid": "u", "creationTimestamp": "2026-08-22T13:33:20Z"},
        "spec": {"cidr": "10.65.0.0/16", "natOutgoing": True, "fromTheFuture": 7},
    }
    tortie.put(ResourceKey("IPPool", "", "pool-a"), document)
    said = tortie("diff", "-f", "-", stdin=POOL.format(nat="true"))
    assert said.code == 1  # the defaults
    assert not any("fromTheFuture" in line for line in said.stdout.splitlines() if line[0] in "+-")


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (POOL.format(nat="maybe"), "spec.natOutgoing = 'maybe'"),
        (POOL.format(nat="true\n  bogus: 1"), "not recognized or is in the wrong location: spec.bogus"),
        (POOL.format(nat="true").replace("10.65", "10.66"), "IPPool CIDR cannot be modified"),
        (POOL.format(nat="true").replace("pool-a", "pool-b"), "CIDR overlaps with"),
        (POOL.format(nat="true").replace("name: pool-a", 'name: pool-a\n  resourceVersion: "1"'), "update conflict"),
        ("", "no resources specified"),
        (": [", "failed to execute command"),
    ],
)
def test_trouble_is_exit_code_2(tortie: Tortie, text: str, said: str) -> None:
    found = tortie("diff", "-f", "-", stdin=text)
    assert (found.code, found.stdout) == (2, "")
    assert said in found.stderr


def test_trouble_with_one_object_does_not_hide_the_others(tortie: Tortie, pool: str) -> None:
    both = POOL.format(nat="false") + "---" + POOL.format(nat="true").replace("pool-a", "pool-b")
    said = tortie("diff", "-f", tortie.write(pool, both))
    assert said.code == 2
    assert "-  natOutgoing: true" in said.stdout
    assert "overlaps" in said.stderr


@pytest.mark.parametrize("words", [[], ["-f", "no.yaml"], ["--bogus"], ["-f", "-", "-c", "no.toml"]])
def test_bad_usage_is_exit_code_2(tortie: Tortie, words: list[str]) -> None:
    assert tortie("diff", *words).code == 2


def test_directories_and_namespaces_as_apply_takes_them(tortie: Tortie) -> None:
    assert tortie("apply", "-f", "-", stdin=POOL.format(nat="true")).code == 0
    text = examples.of(KINDS["WorkloadEndpoint"]).replace("  namespace: default\n", "")
    tortie.write("tree/deep/wep.yaml", text)
    assert tortie("diff", "-f", "tree").code == 2
    said = tortie("diff", "-f", "tree", "-R", "-n", "blue")
    assert (said.code, said.stderr) == (1, "")
    assert "+  namespace: blue" in said.stdout
