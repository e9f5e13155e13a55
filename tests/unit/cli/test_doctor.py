"""The word `doctor`: its forms, its exit codes, and a configuration that cannot be used."""

from __future__ import annotations

import json

import pytest

from tests.unit.cli.conftest import Tortie
from tortie.doctor import examination
from tortie.doctor.configuration import check
from tortie.doctor.finding import error, note


@pytest.fixture(autouse=True)
def checks(monkeypatch: pytest.MonkeyPatch) -> dict[str, examination.Check]:
    """The configuration's alone: what the other checks find is this machine's affair."""
    wanted: dict[str, examination.Check] = {"configuration": check}
    monkeypatch.setattr(examination.examine, "__defaults__", (wanted, examination.TIMEOUT_S))
    return wanted


def test_nothing_is_wrong(tortie: Tortie) -> None:
    assert tortie("doctor") == (0, "nothing is wrong\n", "")


def test_a_note_is_not_wrong(tortie: Tortie, checks: dict[str, examination.Check]) -> None:
    checks["mtu"] = lambda _: [note("a", "b", "c", "d")]
    assert tortie("doctor") == (0, "note     a\n  where  b\n    why  c\n     do  d\n\nnothing is wrong, 1 note\n", "")


def test_an_error_ends_with_1_in_both_forms(tortie: Tortie, checks: dict[str, examination.Check]) -> None:
    checks["mtu"] = lambda _: [error("a", "b", "c", "d")]
    assert tortie("doctor").code == 1
    said = tortie("doctor", "-o", "json")
    assert said.code == 1
    assert json.loads(said.stdout) == {
        "healthy": False,
        "findings": [{"check": "mtu", "severity": "error", "what": "a", "where": "b", "why": "c", "do": "d"}],
        "unseen": [],
    }


def test_wrong_usage_ends_with_2(tortie: Tortie) -> None:
    assert tortie("doctor", "-o", "yaml").code == 2
    assert tortie("doctor", "web").code == 2
    missing = tortie("doctor", "-c", "missing.toml")
    assert (missing.code, missing.stderr) == (2, "Error: configuration file missing.toml does not exist\n")


def test_a_configuration_that_cannot_be_used_is_a_finding(tortie: Tortie) -> None:
    tortie.environment["TORTIE_BIRD_KERNEL_METRIC"] = "many"
    said = tortie("doctor")
    assert said.code == 1
    assert said.stdout.startswith("error    the configuration cannot be used: configuration: Expected `int`")


def test_a_key_that_nobody_reads_is_a_note(tortie: Tortie) -> None:
    tortie.environment["TORTIE_NOD"] = "node-1"
    said = tortie("doctor")
    assert said.code == 0
    assert said.stdout.startswith("note     environment: TORTIE_nod is not a setting of tortie: ignored\n")
