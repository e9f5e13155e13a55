"""The import arrows of the source tree: who may know whom. docs/architecture.md draws the same table.

A forbidden import is found wherever it stands, also inside a function or below `if TYPE_CHECKING`: an arrow is about
knowing, not about loading. The one exception is `__main__`, which must load a program only when it is asked for.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "tortie"

# Free for all but `cni`, which is one self-contained file.
FREE = {"errors", "conventions", "access"}

# Part -> the parts it may import. A part is a module or folder of tortie; folders of dataplane/ are parts of their own.
ALLOWED: dict[str, set[str]] = {
    "__init__": set(),
    "errors": set(),
    "conventions": set(),
    "access": set(),
    "bootstrap": set(),
    "model": set(),
    "intent": {"model"},
    "ipam": {"model"},
    "calc": {"model", "intent"},
    "explain": {"model", "intent", "calc"},
    "reconcile": set(),
    "datastore": {"model"},
    "kernel": set(),
    "dataplane": {"intent", "reconcile"},
    "dataplane.l3": {"intent", "reconcile", "kernel"},
    "dataplane.nftables": {"dataplane", "intent", "reconcile", "kernel"},
    "dataplane.iptables": {"dataplane", "intent", "reconcile", "kernel"},
    "dataplane.ebpf": {"dataplane", "intent", "reconcile", "kernel"},
    "dataplane.flows": {"intent", "kernel"},
    "dataplane.events": {"intent", "kernel"},
    "bgp": {"intent", "reconcile", "kernel"},
    "attach": {"model", "ipam", "datastore", "kernel"},
    "status": {"model", "intent"},
    "cni": set(),
    "doctor": {"bootstrap", "model", "kernel"},
    "host": {
        "bootstrap",
        "model",
        "datastore",
        "kernel",
        "dataplane",
        "dataplane.l3",
        "dataplane.nftables",
        "bgp",
        "doctor",
    },
    "cli": {"bootstrap", "model", "datastore", "explain"},
    "lab": {"bootstrap", "model", "datastore", "kernel"},
}
PROGRAMS = {"agent", "doctor", "host", "cni", "cli", "lab"}
# The agent wires everything that is not itself a program.
ALLOWED["agent"] = set(ALLOWED) - PROGRAMS
# Inside functions only.
ALLOWED["__main__"] = PROGRAMS

CORE = {"model", "intent", "ipam", "calc", "reconcile"}
# No socket, clock, thread, file, process or randomness: what depends on them gets a value handed in.
FORBIDDEN_IN_CORE = {
    *("aiohttp", "asyncio", "concurrent", "multiprocessing", "signal", "subprocess", "threading"),
    *("fcntl", "glob", "io", "logging", "os", "pathlib", "shutil", "sqlite3", "structlog", "tempfile"),
    *("ctypes", "http", "select", "selectors", "socket", "urllib"),
    *("random", "secrets", "time", "uuid"),
}


def part_of(module: str) -> str:
    """The part that the dotted path below `tortie` belongs to: `dataplane.l3.render` -> `dataplane.l3`."""
    two = ".".join(module.split(".")[:2])
    return two if two in ALLOWED else module.split(".")[0]


def imported(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything the module imports; `from a import b` is `a.b`, as b may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = [*base, *(node.module.split(".") if node.module else [])]
            yield from ((node.lineno, ".".join([*prefix, alias.name])) for alias in node.names)


def violations_of(path: Path, source: Path) -> Iterator[str]:
    relative = path.relative_to(source)
    folder = ".".join(relative.parent.parts[:2])
    part = folder if folder.startswith("dataplane.") else part_of(relative.parts[0].removesuffix(".py"))
    if part not in ALLOWED:
        yield f"{relative}:0: {part} is not in the table of layers"
        return
    allowed = ALLOWED[part] | {part} | (set() if part == "cni" else FREE)
    tree = ast.parse(path.read_text(), str(path))
    package = ["tortie", *relative.parent.parts]
    for line, name in imported(tree, package):
        top, _, below = name.partition(".")
        if top == "tortie" and below not in {"", "__version__"} and part_of(below) not in allowed:
            yield f"{relative}:{line}: {part} must not import {part_of(below)}"
        if part in CORE and top in FORBIDDEN_IN_CORE:
            yield f"{relative}:{line}: {part} is core and must not import {top}"
    for node in ast.walk(tree):
        if part in CORE and isinstance(node, ast.AsyncFunctionDef):
            yield f"{relative}:{node.lineno}: {part} is core and must not be async"
    for statement in tree.body if part == "__main__" else ():
        for line, name in imported(statement, package) if isinstance(statement, ast.Import | ast.ImportFrom) else ():
            if part_of(name.removeprefix("tortie.")) in PROGRAMS:
                yield f"{relative}:{line}: __main__ must import programs inside functions"


def violations(source: Path) -> list[str]:
    return [text for path in sorted(source.rglob("*.py")) for text in violations_of(path, source)]


def test_source_keeps_the_layers() -> None:
    assert violations(SOURCE) == []


def test_siblings_under_dataplane_never_know_each_other() -> None:
    siblings = {part for part in ALLOWED if part.startswith("dataplane.")}
    assert [part for part in siblings if ALLOWED[part] & siblings] == []


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("model/a.py", "from tortie.intent.l3 import LocalEndpoint", "1: model must not import intent"),
        ("model/a.py", "from tortie import calc", "1: model must not import calc"),
        ("calc/a.py", "from ..kernel import netns", "1: calc must not import kernel"),
        ("calc/__init__.py", "from ..kernel import netns", "1: calc must not import kernel"),
        ("kernel/bpf/a.py", "import tortie.intent", "1: kernel must not import intent"),
        ("dataplane/l3/a.py", "from tortie.dataplane import contract", "1: dataplane.l3 must not import dataplane"),
        ("dataplane/nftables/a.py", "import tortie.dataplane.l3", "1: dataplane.nftables must not import dataplane.l3"),
        ("dataplane/contract.py", "import tortie.dataplane.ebpf", "1: dataplane must not import dataplane.ebpf"),
        ("bgp/a.py", "def f():\n    from tortie.datastore import api", "2: bgp must not import datastore"),
        ("agent/a.py", "from tortie.cli import main", "1: agent must not import cli"),
        ("cni/a.py", "from tortie.errors import TortieError", "1: cni must not import errors"),
        ("errors.py", "from tortie.model import resource", "1: errors must not import model"),
        ("__init__.py", "from tortie.model import resource", "1: __init__ must not import model"),
        ("__main__.py", "from tortie.cli import main", "1: __main__ must import programs inside functions"),
        ("__main__.py", "def f():\n    import tortie.kernel", "2: __main__ must not import kernel"),
        ("utils/a.py", "", "0: utils is not in the table of layers"),
        ("dataplane/vpp/a.py", "", "0: dataplane.vpp is not in the table of layers"),
        ("intent/a.py", "import os.path", "1: intent is core and must not import os"),
        ("reconcile/a.py", "from time import monotonic", "1: reconcile is core and must not import time"),
        ("calc/a.py", "async def f(): ...", "1: calc is core and must not be async"),
    ],
)
def test_a_violation_is_caught(tmp_path: Path, file: str, text: str, expected: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert violations(tmp_path) == [f"{file}:{expected}"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("model/a.py", "from tortie.errors import Problem\nfrom tortie import conventions\nfrom .b import c"),
        ("calc/a.py", "from tortie.model import selector\nfrom ..intent.l3 import LocalEndpoint"),
        ("dataplane/nftables/a.py", "from tortie.dataplane.contract import Backend\nfrom . import render"),
        ("agent/a.py", "import asyncio\nimport tortie.dataplane.l3\nfrom tortie import __version__, bootstrap"),
        ("__main__.py", "import sys\nfrom tortie.errors import TortieError\ndef f():\n    from tortie.cli import main"),
    ],
)
def test_an_allowed_import_is_let_through(tmp_path: Path, file: str, text: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert violations(tmp_path) == []
