"""Completion: by the words that a shell asks with, and by a real bash."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.unit.cli.conftest import Tortie
from tests.unit.cli.test_program import HEAVY
from tests.unit.explain.scene import OBJECTS
from tortie.__main__ import PROGRAMS

pytestmark = pytest.mark.heavy  # a program for each word

POOLS = "".join(
    f"---\n{{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {{name: {name}}}, spec: {{cidr: {cidr}}}}}\n"
    for name, cidr in (("pool-a", "10.65.0.0/16"), ("pool-b", "10.66.0.0/16"), ("other", "10.67.0.0/16"))
)


@pytest.fixture(autouse=True)
def pools(tortie: Tortie) -> None:
    assert tortie("apply", "-f", "-", stdin=POOLS).code == 0


def completed(tortie: Tortie, *words: str) -> list[str]:
    """What the last of the words may become."""
    environment = {
        **os.environ,
        **tortie.environment,
        "_TORTIE_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["tortie", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "tortie"], env=environment, capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["comp"], ["completion"]),
        (["edit", "ippo"], ["ippools"]),
        (["edit", "poo"], ["pool"]),
        (["edit", "ippool", ""], ["other", "pool-a", "pool-b"]),
        (["edit", "ippool", "pool-"], ["pool-a", "pool-b"]),
        (["edit", "ippool", "xyzzy"], []),
        (["edit", "nonsense", ""], []),
        (["get", "ippool", "pool-a", "pool-"], ["pool-b"]),
        (["delete", "ippools", "o"], ["other"]),
        (["patch", "ippool", "pool-"], ["pool-a", "pool-b"]),
        (["label", "ippool", "pool-a", ""], []),
        (["explain-kind", "ippool.spec.nat"], ["ippool.spec.natOutgoing"]),
        (["explain-kind", "ippool.sp"], ["ippool.spec"]),
        (["explain-kind", "ippool.bogus."], []),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["edit", "--names"], ["--namespace"]),
    ],
)
def test_words(tortie: Tortie, words: list[str], expected: list[str]) -> None:
    assert completed(tortie, *words) == expected


def test_every_word_of_tortie(tortie: Tortie) -> None:
    assert completed(tortie, "") == list(PROGRAMS)


def test_words_are_completed_without_loading_their_programs(tortie: Tortie) -> None:
    script = (
        "import sys\nfrom tortie.__main__ import command\n"
        "try:\n    command().main(prog_name='tortie')\nfinally:\n    print(*sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**tortie.environment, "_TORTIE_COMPLETE": "bash_complete", "COMP_WORDS": "tortie a", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "plain,apply" in done.stdout
    assert set(done.stdout.splitlines()[-1].split()) & HEAVY == set()


@pytest.mark.parametrize("url", ["sqlite:///no/such/file.db", "nonsense"])
def test_without_a_store_there_are_no_names_and_no_errors(tortie: Tortie, url: str) -> None:
    tortie.environment["TORTIE_DATASTORE"] = url
    assert completed(tortie, "edit", "ippool", "") == []
    assert completed(tortie, "edit", "ippoo") == ["ippools"]


def test_a_store_that_is_silent_is_not_waited_for(tortie: Tortie) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        tortie.environment["TORTIE_DATASTORE"] = f"etcd://127.0.0.1:{listening.getsockname()[1]}"
        before = time.monotonic()
        assert completed(tortie, "edit", "ippool", "") == []
        assert time.monotonic() - before < 10  # half a second, and what a loaded machine takes to start Python


def test_ends_are_workloads_and_nodes(tortie: Tortie) -> None:
    tortie.write(
        "objects.yaml", "---\n".join(yaml.safe_dump(each.document) for each in OBJECTS if each.key.kind != "IPPool")
    )
    assert tortie("apply", "-f", "objects.yaml").code == 0
    assert completed(tortie, "explain", "") == ["probe", "web", "db", "a", "b"]
    assert completed(tortie, "explain", "web", "d") == ["db"]


def test_a_real_bash(tortie: Tortie, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    (tmp_path / "tortie").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tortie "$@"\n')
    (tmp_path / "tortie").chmod(0o755)
    script = (
        "source <(tortie completion bash)\ncomplete -p tortie\n"
        'ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()\n'
        '_tortie_completion tortie "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[@]}"; }\n'
        "ask tortie explain-\nask tortie edit ippool pool-\nask tortie edit ippool xyzzy\n"
    )
    done = subprocess.run(
        [bash, "--norc", "--noprofile", "-c", script],
        env={**tortie.environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    registered, *answers = done.stdout.splitlines()
    assert registered.endswith(" tortie")
    assert answers == ["explain-kind", "pool-a pool-b", ""]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_of_other_shells(tortie: Tortie, shell: str) -> None:
    said = tortie("completion", shell)
    assert (said.code, said.stderr) == (0, "")
    assert f"_TORTIE_COMPLETE={shell}_complete" in said.stdout


@pytest.mark.parametrize(("shell", "flag"), [("zsh", "-n"), ("fish", "--no-execute")])
def test_a_real_shell_can_parse_its_script(tortie: Tortie, shell: str, flag: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"needs {shell}")
    script = tortie("completion", shell).stdout
    done = subprocess.run([program, flag, "/dev/stdin"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_real_fish(tortie: Tortie, tmp_path: Path) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("needs fish")
    (tmp_path / "tortie").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tortie "$@"\n')
    (tmp_path / "tortie").chmod(0o755)
    script = "tortie completion fish | source; complete -C 'tortie expl'; complete -C 'tortie edit ippool pool-'"
    done = subprocess.run(
        [fish, "--no-config", "-c", script],
        env={**tortie.environment, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.partition("\t")[0] for line in done.stdout.split("\n") if line] == ["explain-kind", "pool-a", "pool-b"]


def test_an_unknown_shell(tortie: Tortie) -> None:
    assert tortie("completion", "tcsh").code == 2
