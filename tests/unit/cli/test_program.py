"""The program as a whole: what it loads, its help, its configuration, its exit codes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.unit.cli.conftest import Tortie
from tortie import __version__
from tortie.__main__ import PROGRAMS

# What a word must not load: an HTTP server, the resource model, and what both bring along.
HEAVY = {"aiohttp", "asyncio", "msgspec", "sqlite3", "structlog", "yaml", "tortie.model", "tortie.datastore"}
SCRIPT = """
import sys
from tortie.__main__ import command
try:
    command().main(sys.argv[1:], prog_name="tortie")
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""


def loaded_by(tortie: Tortie, *words: str) -> set[str]:
    """The modules that a process has loaded at the end of a command, whatever became of it."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], env=tortie.environment, capture_output=True, text=True, check=False
    )
    return next(set(line.split()) for line in done.stderr.splitlines() if "tortie.__main__" in line)


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["attach", "--help"], ["status", "--help"], ["node", "--help"]]
)
def test_help_loads_next_to_nothing(tortie: Tortie, words: list[str]) -> None:
    assert loaded_by(tortie, *words) & HEAVY == set()


@pytest.mark.parametrize("words", [["status"], ["node", "status"], ["detach", "web"]])
def test_what_talks_to_the_agent_loads_no_http_server_and_no_model(tortie: Tortie, words: list[str]) -> None:
    loaded = loaded_by(tortie, *words)
    assert "http.client" in loaded
    assert loaded & (HEAVY - {"msgspec"}) == set()


@pytest.mark.parametrize("words", [["apply"], ["get", "nodes"], ["delete", "node", "a"]])
def test_what_talks_to_the_datastore_loads_no_agent(tortie: Tortie, words: list[str]) -> None:
    loaded = loaded_by(tortie, *words)
    assert "tortie.datastore.resources" in loaded
    assert loaded & {"aiohttp", "structlog", "rich", "tortie.agent", "tortie.kernel"} == set()


def test_help_lists_every_word(tortie: Tortie) -> None:
    said = tortie("--help")
    assert said.code == 0
    assert all(f"\n  {word} " in said.stdout for word in PROGRAMS)


@pytest.mark.parametrize("word", sorted(PROGRAMS))
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_word_has_help_with_an_example(tortie: Tortie, word: str, flag: str) -> None:
    said = tortie(word, flag)
    assert (said.code, said.stderr) == (0, "")
    assert said.stdout.startswith(f"Usage: tortie {word} ")
    if word not in ("agent", "node"):
        assert f"\n  tortie {word} " in said.stdout


def test_version(tortie: Tortie) -> None:
    assert tortie("--version") == (0, f"tortie {__version__}\n", "")


def test_a_misspelt_word(tortie: Tortie) -> None:
    said = tortie("aply")
    assert (said.code, said.stdout) == (2, "")
    assert said.stderr.splitlines()[-1] == 'Error: unknown command "aply" for "tortie"; did you mean \'apply\'?'
    assert tortie("xyzzy").stderr.splitlines()[-1] == 'Error: unknown command "xyzzy" for "tortie"'


@pytest.mark.parametrize("words", [["status", "--bogus"], ["node", "bogus"], ["--bogus"], ["attach"]])
def test_bad_usage_of_own_commands_is_exit_code_2(tortie: Tortie, words: list[str]) -> None:
    said = tortie(*words)
    assert (said.code, said.stdout) == (2, "")


class TestConfiguration:
    @pytest.fixture(autouse=True)
    def files(self, tortie: Tortie) -> None:
        del tortie.environment["TORTIE_DATASTORE"]
        for name in ("one", "two"):
            tortie.write(f"{name}.toml", f'datastore = "sqlite://{tortie.directory}/{name}.db"\n')

    @pytest.mark.parametrize(
        ("words", "store"),
        [
            (["-c", "one.toml", "apply"], "one"),
            (["apply", "-c", "one.toml"], "one"),
            (["apply", "--config", "two.toml"], "two"),
            (["-c", "one.toml", "apply", "-c", "two.toml"], "two"),
        ],
    )
    def test_stands_before_or_after_the_word(self, tortie: Tortie, words: list[str], store: str) -> None:
        document = "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n}}"
        assert tortie(*words, "-f", "-", stdin=document).code == 0
        assert [path.name for path in tortie.directory.glob("*.db")] == [f"{store}.db"]

    def test_that_is_missing(self, tortie: Tortie) -> None:
        assert tortie("get", "nodes", "-c", "no.toml") == (1, "", "configuration file no.toml does not exist\n")
        assert tortie("status", "-c", "no.toml") == (2, "", "Error: configuration file no.toml does not exist\n")

    def test_oddities_are_warnings(self, tortie: Tortie) -> None:
        tortie.write("odd.toml", f'datastore = "sqlite://{tortie.directory}/odd.db"\ncolour = "red"\n')
        document = "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n}}"
        said = tortie("apply", "-c", "odd.toml", "-f", "-", stdin=document)
        assert said == (
            0,
            "Successfully applied 1 'Node' resource(s)\n",
            "Warning: odd.toml: colour is not a setting of tortie: ignored\n",
        )


def test_a_reader_that_stops_reading_gets_no_traceback(tortie: Tortie) -> None:
    many = "".join(
        f"---\n{{apiVersion: projectcalico.org/v3, kind: Node, metadata: {{name: node-{i:05}}}}}\n" for i in range(3000)
    )
    assert tortie("apply", "-f", tortie.write("f.yaml", many)).code == 0
    with subprocess.Popen(
        [sys.executable, "-m", "tortie", "get", "nodes", "-o", "yaml"],
        env=tortie.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "apiVersion: projectcalico.org/v3\n"
        process.stdout.close()
        assert process.stderr.read() == ""
