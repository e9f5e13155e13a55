"""Where settings come from, and what a mistake in them costs."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tortie import bootstrap
from tortie.bootstrap import Bootstrap, load
from tortie.errors import UsageError


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [key for key in os.environ if key.startswith("TORTIE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(bootstrap, "DEFAULT_FILE", tmp_path / "none.toml")


def test_without_anything_the_defaults_and_the_hosts_name() -> None:
    loaded = load()
    assert loaded.settings == Bootstrap(node=socket.gethostname().lower())
    assert loaded.warnings == ()


def test_a_flag_beats_the_environment_beats_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "tortie.toml"
    file.write_text('node = "of-file"\nrun_dir = "/of-file"\nstate_dir = "/of-file"\nbird_kernel_metric = 7\n')
    monkeypatch.setenv("TORTIE_NODE", "of-environment")
    monkeypatch.setenv("TORTIE_RUN_DIR", "/of-environment")
    settings = load(file, {"node": "of-flag", "bpffs": None}).settings
    assert (settings.node, settings.run_dir, settings.state_dir) == ("of-flag", "/of-environment", "/of-file")
    assert (settings.bird_kernel_metric, settings.bpffs) == (7, Bootstrap().bpffs)
    assert settings.api_socket == Path("/of-environment/agent.sock")


def test_an_unknown_key_is_a_warning_that_names_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "tortie.toml"
    file.write_text('nodename = "x"\n')
    monkeypatch.setenv("TORTIE_DATASTOR", "sqlite:///x")
    assert load(file).warnings == (
        f"{file}: nodename is not a setting of tortie: ignored",
        "environment: TORTIE_datastor is not a setting of tortie: ignored",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("node = ", "cannot be read"),
        ("node = 7", "node"),
        ('bird_kernel_metric = "many"', "bird_kernel_metric"),
        ("\udcff", "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_an_error(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "tortie.toml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=words):
        load(file)


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load(tmp_path / "nowhere.toml")


def test_numbers_of_the_environment_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORTIE_BIRD_KERNEL_METRIC", "0")
    assert load().settings.bird_kernel_metric == 0
