"""The program as a whole: what it loads, its help, its configuration, its exit codes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Tortie
from tortie import __version__
from tortie.__main__ import PROGRAMS
from tortie.access import Access
from tortie.bootstrap import Bootstrap

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
    "words",
    [["--help"], ["--version"], ["attach", "--help"], ["status", "--help"], ["node", "--help"], ["doctor", "--help"]],
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


class TestTheLine:
    """Where options may stand, and how they may be written, as calicoctl's own parser takes them."""

    @pytest.mark.parametrize(
        "words",
        [
            ["get", "profiles", "-o", "name"],
            ["get", "-o", "name", "profiles"],
            ["-o", "name", "get", "profiles"],
            ["--output", "name", "-l", "panic", "get", "profiles"],
            ["--output=name", "get", "profiles"],
            ["-oname", "get", "profiles"],
            ["get", "profiles", "-o=name"],
            ["get", "profiles", "-oname", "--export=true", "--skip-empty=false"],
            ["get", "profiles", "-oname", "--log-level", "panic", "--allow-version-mismatch"],
        ],
    )
    def test_options(self, stored: Tortie, words: list[str]) -> None:
        assert stored(*words) == (0, "profile/projectcalico-default-allow\n", "")

    @pytest.fixture
    def stored(self, tortie: Tortie) -> Tortie:
        document = "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n}}"
        assert tortie("apply", "-f", "-", stdin=document).code == 0
        return tortie

    def test_a_flag_with_another_value_than_true_or_false(self, tortie: Tortie) -> None:
        said = tortie("get", "profiles", "--export=perhaps")
        assert said == (1, "", 'invalid argument "perhaps" for "--export" flag: it must be true or false\n')

    def test_what_follows_two_dashes_is_no_option(self, stored: Tortie) -> None:
        said = stored("get", "profile", "--", "-o=x")
        assert said.stderr == "resource does not exist: Profile(-o=x) with error: <nil>\n"

    def test_options_of_all_commands_may_stand_before_a_word_of_a_word(self, tortie: Tortie) -> None:
        said = tortie("node", "-l", "nothing", "status")
        assert (said.code, said.stdout) == (1, "")
        assert said.stderr.startswith("unknown log level: nothing, ")

    @pytest.mark.parametrize("words", [["edit", "profile", "x"], ["diff", "-f", "/dev/null"]])
    def test_commands_beyond_calicoctl_take_them_too(self, stored: Tortie, words: list[str]) -> None:
        said = stored(*words, "--allow-version-mismatch", "-l", "panic")
        assert "option" not in said.stderr

    @pytest.mark.parametrize("words", [[], ["node"]])
    def test_without_a_word_there_is_help(self, tortie: Tortie, words: list[str]) -> None:
        said = tortie(*words)
        assert (said.code, said.stderr) == (0, "")
        assert said == tortie(*words, "--help")


class TestHelp:
    @pytest.mark.parametrize("words", [[], ["get"], ["node"], ["node", "status"], ["lab", "up"]])
    def test_of_a_word(self, tortie: Tortie, words: list[str]) -> None:
        assert tortie("help", *words) == tortie(*words, "--help")

    @pytest.mark.parametrize(("words", "unknown"), [(["gett"], "gett"), (["node", "stat"], "stat")])
    def test_of_a_word_that_is_none(self, tortie: Tortie, words: list[str], unknown: str) -> None:
        said = tortie("help", *words)
        assert (said.code, said.stdout) == (2, "")
        assert f'unknown command "{unknown}" for "tortie' in said.stderr
        assert "; did you mean '" in said.stderr

    def test_of_what_has_no_words(self, tortie: Tortie) -> None:
        said = tortie("help", "get", "nodes")
        assert (said.code, said.stderr.splitlines()[-1]) == (2, "Error: tortie get has no words of its own")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ipam", "show", "--ip=10.65.0.1"], "ipam: tortie does not manage addresses yet: "),
        (["ipam"], "ipam: tortie does not manage addresses yet: "),
        (["cluster", "diags"], "cluster: tortie has no Kubernetes to collect from: run `tortie node diags`"),
        (["convert", "-f", "x.yaml"], "convert: tortie takes resources of projectcalico.org/v3, and no older ones"),
        (["node", "run", "--node-image=x"], "node run: tortie starts no container: `tortie node init`"),
    ],
)
def test_a_word_of_calicoctl_that_is_not_there_says_what_to_do(tortie: Tortie, words: list[str], sentence: str) -> None:
    said = tortie(*words)
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr.startswith(sentence)
    assert said.stderr.count("\n") == 1
    assert tortie(*words, "--help").code == 0


class TestAMisspeltName:
    @pytest.fixture(autouse=True)
    def stored(self, tortie: Tortie) -> None:
        document = "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: reflector-1}}"
        assert tortie("apply", "-f", "-", stdin=document).code == 0

    @pytest.mark.parametrize(
        "words",
        [
            ["get", "node", "{}"],
            ["delete", "node", "{}"],
            ["patch", "node", "{}", "-p", "{{}}"],
            ["label", "node", "{}", "a=b"],
            ["edit", "node", "{}"],
        ],
    )
    def test_what_may_be_meant(self, tortie: Tortie, words: list[str]) -> None:
        def said(name: str) -> str:
            return tortie(*(word.format(name) for word in words)).stderr

        assert said("reflectr-1").endswith("; did you mean 'reflector-1'?\n")
        assert "mean" not in said("xyzzy")
        assert "mean" not in said("reflector-2")  # another one, and no misspelling

    @pytest.mark.parametrize("word", ["get", "delete"])
    def test_one_of_several_is_told_as_calicoctl_tells_it(self, tortie: Tortie, word: str) -> None:
        assert "mean" not in tortie(word, "node", "reflectr-1", "xyzzy").stderr


class TestTheDefaultStore:
    """Nobody named it, so that every error says which it is."""

    @pytest.fixture(autouse=True)
    def store(self, tortie: Tortie, monkeypatch: pytest.MonkeyPatch) -> None:
        document = "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n}}"
        assert tortie("apply", "-f", "-", stdin=document).code == 0
        monkeypatch.setattr(Bootstrap, "access", Access(url=tortie.environment["TORTIE_DATASTORE"]))

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["get", "node", "x"], "resource does not exist: Node(x) with error: <nil>"),
            (["delete", "node", "x"], "Failed to delete 'Node' resource: resource does not exist: "),
            (["patch", "node", "x", "-p", "{}"], "hit error: resource does not exist: "),
            (["label", "node", "x", "a=b"], "node x not found"),
            (["edit", "node", "x"], "Error: resource does not exist: "),
        ],
    )
    def test_stands_below_an_error(self, tortie: Tortie, words: list[str], sentence: str) -> None:
        said = tortie(*words)
        first, second = said.stderr.splitlines()
        assert first.startswith(sentence)
        assert second == f"datastore sqlite://{tortie.store} (the default: nothing names another datastore)"

    def test_stands_once_where_the_error_is_the_stores(self, tortie: Tortie) -> None:
        for file in tortie.directory.glob("store.db*"):
            file.unlink()
        said = tortie("get", "node", "x")
        assert said.stderr.count("(the default: nothing names another datastore)") == 1
        assert said.stderr.count("\n") == 1

    def test_is_no_matter_when_all_went_well(self, tortie: Tortie) -> None:
        assert tortie("get", "node", "n", "-o", "name") == (0, "node/n\n", "")


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
        assert tortie("get", "nodes", "-c", "no.toml") == (1, "Error reading config file: no.toml\n", "")
        assert tortie("status", "-c", "no.toml") == (2, "", "Error: configuration file no.toml does not exist\n")

    @pytest.mark.parametrize(
        "words",
        [
            ["get", "nodes"],
            ["get", "node", "n"],
            ["get", "nodes", "-w"],
            ["apply", "-f", "n.yaml"],
            ["delete", "-f", "n.yaml"],
            ["patch", "node", "n", "-p", "{}"],
            ["label", "node", "n", "a=b"],
        ],
    )
    @pytest.mark.parametrize(
        ("variable", "value", "reason"),
        [
            ("DATASTORE_TYPE", "mysql", "unknown datastore type: mysql (in DATASTORE_TYPE): it must be etcdv3"),
            ("TORTIE_DATASTORE", "x", "datastore 'x' is not supported: "),
        ],
    )
    def test_that_gives_no_client_is_said_on_stdout(
        self, tortie: Tortie, words: list[str], variable: str, value: str, reason: str
    ) -> None:
        tortie.write("n.yaml", "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n}}")
        tortie.environment[variable] = value
        said = tortie(*words)
        assert (said.code, said.stderr) == (1, "")
        assert said.stdout.startswith(f"Failed to create Calico API client: {reason}")

    def test_that_is_missing_is_no_matter_to_validate(self, tortie: Tortie) -> None:
        tortie.write("n.yaml", "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n}}")
        assert tortie("validate", "-f", "n.yaml", "-c", "no.cfg").code == 0

    def test_oddities_are_warnings(self, tortie: Tortie) -> None:
        tortie.write("odd.toml", f'datastore = "sqlite://{tortie.directory}/odd.db"\ncolour = "red"\n')
        document = "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n}}"
        said = tortie("apply", "-c", "odd.toml", "-f", "-", stdin=document)
        assert said == (
            0,
            "Successfully applied 1 'Node' resource(s)\n",
            "Warning: odd.toml: colour is not a setting of tortie: ignored\n",
        )


@pytest.mark.heavy  # a program for each
class TestStreams:
    """What a shell does to a command, in a process of its own."""

    def run(self, tortie: Tortie, line: str) -> subprocess.CompletedProcess[str]:
        environment = {**tortie.environment, "TORTIE": f"{sys.executable} -m tortie"}
        return subprocess.run(
            ["sh", "-c", line], env=environment, cwd=tortie.directory, capture_output=True, text=True, check=False
        )

    @pytest.fixture(autouse=True)
    def stored(self, tortie: Tortie) -> None:
        document = "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n}}"
        assert tortie("apply", "-f", "-", stdin=document).code == 0

    @pytest.mark.parametrize("words", ["get nodes", "apply -f -"])
    def test_a_full_disk_is_a_sentence(self, tortie: Tortie, words: str) -> None:
        node = "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n}}"
        done = self.run(tortie, f"echo '{node}' | $TORTIE {words} > /dev/full")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "Error: the output cannot be written: No space left on device\n"

    @pytest.mark.parametrize(
        ("line", "code", "stderr"),
        [
            ("$TORTIE get nodes >&-", 0, ""),
            ("$TORTIE get node x 2>&-", 1, ""),
            ("$TORTIE apply -f - <&-", 1, "no resources specified in file -\n"),
        ],
    )
    def test_a_closed_stream_is_an_empty_one(self, tortie: Tortie, line: str, code: int, stderr: str) -> None:
        done = self.run(tortie, line)
        assert (done.returncode, done.stdout, done.stderr) == (code, "", stderr)

    @pytest.mark.parametrize("word", ["apply", "diff", "validate"])
    def test_an_interrupt_is_one_line(self, tortie: Tortie, word: str) -> None:
        with subprocess.Popen(
            [sys.executable, "-X", "importtime", "-m", "tortie", word, "-f", "-"],
            env=tortie.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            # It reads standard input once it has loaded what reads YAML.
            while "tortie.cli.strict_yaml" not in process.stderr.readline():
                pass
            while process.poll() is None and not _waits_for_input(process.pid):
                pass
            process.send_signal(signal.SIGINT)
            said = [line for line in process.stderr.read().splitlines() if not line.startswith("import time:")]
            assert (process.wait(), said) == (130, ["Interrupted"])

    @pytest.mark.parametrize("name", ["tortie", "calicoctl", "kubectl-calico", "other"])
    def test_the_name_it_was_called_by_is_the_name_it_speaks_of(self, tortie: Tortie, name: str) -> None:
        script = tortie.directory / name
        script.write_text(f"#!{sys.executable}\nfrom tortie.__main__ import main\nmain()\n")
        script.chmod(0o755)
        known = "tortie" if name == "other" else name
        assert self.run(tortie, f"./{name} get -h").stdout.startswith(f"Usage: {known} get ")
        assert f'unknown command "x" for "{known}"\n' in self.run(tortie, f"./{name} x").stderr
        variable = f"_{known.upper().replace('-', '_')}_COMPLETE=bash_complete"
        assert variable in self.run(tortie, f"./{name} completion bash").stdout


def _waits_for_input(pid: int) -> bool:
    """Whether the process sleeps in read(2) of its standard input."""
    return Path(f"/proc/{pid}/syscall").read_text().startswith("0 0x0 ")


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
