"""`tortie node checksystem` and `tortie node diags` as a user has them."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Tortie
from tests.unit.cli.conftest import tortie as tortie
from tortie.host import checksystem, diagnostics
from tortie.host.checksystem import Check


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)


@pytest.mark.parametrize("word", ["checksystem", "diags"])
def test_they_need_root(tortie: Tortie, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert tortie("node", word) == (1, "Need super user privileges: Operation not permitted\n", "")


@pytest.mark.parametrize("word", ["checksystem", "diags"])
def test_they_have_help(tortie: Tortie, word: str) -> None:
    said = tortie("node", word, "--help")
    assert (said.code, said.stderr) == (0, "")
    assert f"\n  tortie node {word}\n" in said.stdout
    assert f"\n  {word} " in tortie("node", "--help").stdout


def test_checksystem_ends_in_1_when_something_is_missing(tortie: Tortie, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksystem, "checks", lambda _: iter([("kernel version", [Check("4.9", "FAIL", "too old")])]))
    said = tortie("node", "checksystem")
    assert said.code == 1
    assert said.stdout.splitlines()[1].split() == ["4.9", "(too", "old)", "FAIL"]


def test_checksystem_of_another_kernel(tortie: Tortie) -> None:
    assert tortie("node", "checksystem", "-f", "no-such-file").code == 1
    said = tortie("node", "checksystem", "-f", tortie.write("config", "CONFIG_VETH=y\n"))
    assert "Checking kernel modules...\n" in said.stdout


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(diagnostics, "COMMANDS", {"words": "echo some words"})
    return tmp_path


def test_diags_says_where_they_are(tortie: Tortie, archives: Path) -> None:
    tortie.write("logs/a.log", "said something")
    said = tortie("node", "diags", "--log-dir", "logs")
    (archive,) = archives.glob("tortie-diags-*/diags-*.tar.gz")
    assert said == (0, f"Collecting diagnostics\nDiags saved to {archive}\n", "")
    with tarfile.open(archive) as opened:
        logs = opened.extractfile(f"{archive.name.partition('.')[0]}/logs.txt")
        assert logs is not None
        assert b"said something" in logs.read()


def test_diags_of_a_host_whose_configuration_is_broken(tortie: Tortie, archives: Path) -> None:
    said = tortie("node", "diags", "-c", tortie.write("odd.toml", "bird_kernel_metric = 'many'\n"))
    assert (said.code, len(list(archives.glob("tortie-diags-*/diags-*.tar.gz")))) == (0, 1)
    assert "bird_kernel_metric" in said.stderr
