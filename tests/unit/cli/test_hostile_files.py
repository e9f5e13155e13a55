"""Files made to hurt: refused with one sentence, by a process that may use 2 s of processor time and 500 MB."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.heavy

PROCESSOR_S = 2
MEMORY_BYTES = 500_000_000

HEAD = b"apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata:\n  name: a\nspec:\n"
POOL = b"apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: a}\nspec: {cidr: 10.0.0.0/16}\n"
MIB = 1 << 20
CODES = (1, 2)  # failed, or used wrongly


def _laughs() -> bytes:
    lines = [b'a0: &a0 ["lol"]']
    lines += [b"a%d: &a%d [%s]" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 12)]
    return b"\n".join(lines)


def _merges() -> bytes:
    lines = [b"a0: &a0 {%s}" % b",".join(b"k%d: v" % n for n in range(1000))]
    lines += [b"a%d: &a%d {<<: *a0}" % (n, n) for n in range(1, 5000)]
    return b"\n".join(lines)


FILES: dict[str, Callable[[], bytes]] = {
    "a billion laughs": _laughs,
    "a thousand fields merged five thousand times": _merges,
    "one list, named twenty thousand times": lambda: (
        b"a: &a [" + b"x," * 20_000 + b"x]\nb: [" + b"*a," * 20_000 + b"*a]"
    ),
    "a list within itself": lambda: b"a: &a [*a]",
    "an alias without an anchor": lambda: b"a: *b",
    "50 MB of text": lambda: HEAD + b"  nets: [" + b"x" * (50 * MIB) + b"]",
    "50 MB of blanks": lambda: HEAD + b" " * (50 * MIB) + b"x",
    "50 MB of list": lambda: HEAD + b"  nets: [" + b"1.2.3.4," * (50 * MIB // 8) + b"]",
    "50 MB of documents": lambda: b"---\n" * (50 * MIB // 4) + b"x",
    "50 MB of JSON": lambda: b"[" + b"[]," * (50 * MIB // 3) + b"[]]",
    "50 MB of comments": lambda: b"# comment\n" * (50 * MIB // 10) + b"x",
    "a hundred thousand open lists": lambda: b"[" * 100_000,
    "a hundred thousand open objects": lambda: b'{"a":' * 100_000,
    "a hundred thousand dashes": lambda: b"- " * 100_000,
    "brackets without end": lambda: b"[" * 200_000,
    "braces without end": lambda: b"{a: " * 200_000,
    "deeper and deeper lines": lambda: b"\n".join(b" " * n + b"a:" for n in range(3000)),
    "a NUL": lambda: POOL.replace(b"name: a", b"name: a\x00b"),
    "nothing but NULs": lambda: b"\x00" * 1000,
    "UTF-16": lambda: POOL.decode().encode("utf-16"),
    "UTF-32": lambda: POOL.decode().encode("utf-32"),
    "Latin-1": lambda: POOL + "# für alle\n".encode("latin-1"),
    "half of a character": lambda: POOL + "# 漢".encode()[:-1],
    "a surrogate": lambda: b'{"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "\\ud800"}}',
    "a field that stands twice": lambda: POOL + b"kind: Node\n",
    "a field that stands twice in JSON": lambda: b'{"kind": "IPPool", "kind": "Node"}',
    "a field that stands twice, deep down": lambda: POOL.replace(b"{name: a}", b"{name: a, name: b}"),
    "a tag that makes objects": lambda: b"!!python/object/apply:os.system ['true']",
    "a number without end": lambda: HEAD.replace(b"GlobalNetworkSet", b"Tier") + b"  order: " + b"9" * 1_000_000,
    "a number without end in JSON": lambda: b'{"a": ' + b"9" * 1_000_000 + b"}",
    "a name without end": lambda: POOL.replace(b"name: a", b"name: " + b"a" * MIB),
    "a selector of brackets": lambda: POOL.replace(
        b"10.0.0.0/16", b"10.0.0.0/16, nodeSelector: '" + b"(" * 100_000 + b"'"
    ),
    "binary": lambda: bytes(range(256)) * 100,
    "a gzip": lambda: b"\x1f\x8b\x08\x00" + os.urandom(100),
}


def _bounded() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_S, PROCESSOR_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _tortie(directory: Path, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"TORTIE_DATASTORE": f"sqlite://{directory}/store.db", "TORTIE_NODE": "node-1"}
    return subprocess.run(
        [sys.executable, "-m", "tortie", *words],
        env=environment,
        input=stdin,
        capture_output=True,
        preexec_fn=_bounded,
        check=False,
    )


def _check_refusal(result: subprocess.CompletedProcess[bytes], *codes: int) -> str:
    """What the process said of a file that it refused, in a sentence."""
    said = (result.stdout + result.stderr).decode()  # of a configuration it is said on stdout
    assert result.returncode in codes, (result.returncode, said[-2000:])
    assert said.count("\n") == 1, said[:3000]
    assert len(said) < 2000, said[:3000]
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("case", FILES)
def test_a_file_made_to_hurt_is_refused(case: str, tmp_path: Path) -> None:
    file = tmp_path / "hurt.yaml"
    file.write_bytes(FILES[case]())
    said = _check_refusal(_tortie(tmp_path, "apply", "-f", str(file)), 1)
    assert "hurt.yaml" in said or "failed to apply" in said
    assert not (tmp_path / "store.db").exists()


# One of each sort: what expands, what is long, what is deep, what is no text.
ELSEWHERE = ("a billion laughs", "50 MB of list", "a hundred thousand open lists", "UTF-16")


@pytest.mark.parametrize("case", ELSEWHERE)
@pytest.mark.parametrize("verb", ["apply", "create", "replace", "delete", "diff", "validate", "label"])
def test_every_command_that_reads_a_file_refuses_it(verb: str, case: str, tmp_path: Path) -> None:
    content = FILES[case]()
    file = tmp_path / "hurt.yaml"
    file.write_bytes(content)
    _check_refusal(_tortie(tmp_path, verb, "-f", str(file)), *CODES)
    _check_refusal(_tortie(tmp_path, verb, "-f", "-", stdin=content), *CODES)
    assert not (tmp_path / "store.db").exists()


@pytest.mark.parametrize("case", ELSEWHERE)
def test_a_configuration_made_to_hurt_is_refused(case: str, tmp_path: Path) -> None:
    file = tmp_path / "hurt.cfg"
    file.write_bytes(FILES[case]())
    _check_refusal(_tortie(tmp_path, "--config", str(file), "get", "node"), *CODES)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose store has the pool `a`."""
    directory = tmp_path_factory.mktemp("store")
    (directory / "pool.yaml").write_bytes(POOL)
    assert _tortie(directory, "apply", "-f", str(directory / "pool.yaml")).returncode == 0
    return directory


@pytest.mark.parametrize(
    "patch", [_laughs().decode(), "[" * 100_000, '{"metadata": {"labels": {"a": "\\ud800"}}}', '{"spec": 1, "spec": 2}']
)
@pytest.mark.parametrize("sort", ["strategic", "merge", "json"])
def test_a_patch_made_to_hurt_is_refused(sort: str, patch: str, store: Path) -> None:
    database = store / "store.db"
    before = database.read_bytes()
    _check_refusal(_tortie(store, "patch", "ippool", "a", "-t", sort, "-p", patch), *CODES)
    assert database.read_bytes() == before


def test_a_file_without_an_end_is_refused(tmp_path: Path) -> None:
    assert "/dev/zero: is larger than" in _check_refusal(_tortie(tmp_path, "apply", "-f", "/dev/zero"), 1)


def test_the_bounds_let_an_ordinary_file_through(tmp_path: Path) -> None:
    items = [
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "IPPool",
            "metadata": {"name": f"pool-{n}"},
            "spec": {"cidr": f"10.{n}.0.0/16"},
        }
        for n in range(100)
    ]
    file = tmp_path / "pools.yaml"
    file.write_text("\n---\n".join(map(json.dumps, items)))
    result = _tortie(tmp_path, "apply", "-f", str(file))
    assert (result.returncode, result.stderr) == (0, b"")
