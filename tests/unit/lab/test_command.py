"""What a user reads when a command line is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tortie.__main__ import command
from tortie.lab.command import lab
from tortie.lab.printing import columns

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="without root every command says that it needs it")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(command(), ["lab", *arguments])


@needs_root
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["up", "nosuchlab"], 2, "Error: there is no file nosuchlab, and of the topologies that come with tortie: cla"),
        (["up", "./nosuch.yaml"], 2, "Error: there is no file ./nosuch.yaml"),
        (["up", "classic", "--name", "A-1"], 1, "Error: topology classic, renamed: name: Expected"),
        (["status", "nosuchlab"], 1, "Error: lab nosuchlab is not up"),
        (["exec", "nosuchlab", "a", "--", "true"], 1, "Error: lab nosuchlab is not up"),
        (["capture", "nosuchlab", "a"], 1, "Error: lab nosuchlab is not up"),
        (["down"], 2, "Error: name the labs to remove, or give --all"),
        (["down", "x", "--all"], 2, "Error: name the labs to remove, or give --all"),
    ],
)
def test_a_mistake_is_one_sentence_and_an_exit_code(arguments: list[str], code: int, message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == code
    assert result.stderr.startswith(message)
    assert "Traceback" not in result.output


@needs_root
def test_a_bad_topology_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("name: x\nsubnets: []\nhosts: [{name: a, addresses: [192.0.2.1]}]\n")
    result = invoke("up", str(file))
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: topology {file}: hosts[0].addresses[0]: must lie in one of the subnets (got 192.0.2.1)\n"
    )


@needs_root
def test_removing_what_is_not_there_says_so() -> None:
    result = invoke("down", "nosuchlab")
    assert (result.exit_code, result.output) == (0, "lab nosuchlab: nothing was there\n")


@pytest.mark.parametrize("word", sorted(lab.commands))
def test_every_command_has_help_without_root(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = invoke(word, "--help")
    assert result.exit_code == 0
    assert result.output.startswith("Usage:")


def test_without_root_a_command_says_that_it_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = invoke("status")
    assert (result.exit_code, result.stderr) == (1, "Error: a lab makes network namespaces: run this as root\n")


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert columns([["A", "B", "C"], ["long", "x", "last"]]) == "A     B  C\nlong  x  last"
