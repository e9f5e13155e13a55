"""`tortie status -o json` is stable: docs/api.md lists every field with its type, and the board has just these.

A field that disappears or changes its type fails here, and so does one that nobody wrote down. The table is the
promise: a row of it is never taken out, and never changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from tests.unit.cli.conftest import FakeAgent, Tortie
from tests.unit.cli.test_status import WELL, session
from tortie.intent.report import Noted
from tortie.status import Bird, Board, Dropped, Duration, Logged, Repaired, Vitals, Waiting

DOCUMENT = Path(__file__).parents[3] / "docs" / "api.md"

# What the command adds to the agent's board.
ADDED = {"healthy": "boolean", "faults[]": "string"}
_SCALARS: dict[type[inspect.Type], str] = {
    inspect.StrType: "string",
    inspect.EnumType: "string",
    inspect.BoolType: "boolean",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
}


def fields(kind: inspect.Type, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value that is no container, by where it stands."""
    match kind:
        case inspect.StructType():
            for field in kind.fields:
                yield from fields(field.type, f"{path}.{field.encode_name}".lstrip("."))
        case inspect.DictType():
            yield from fields(kind.value_type, f"{path}.*")
        case inspect.VarTupleType():
            yield from fields(kind.item_type, f"{path}[]")
        case _:
            yield path, _SCALARS[type(kind)]


def documented() -> dict[str, str]:
    _, _, section = DOCUMENT.read_text().partition("\n## The board\n")
    rows = re.findall(
        r"^\| `([^`]+)` \| (string|boolean|integer|number) \|", section.partition("\n## ")[0], re.MULTILINE
    )
    assert rows
    return dict(rows)


def test_the_board_is_as_it_is_written_down() -> None:
    assert dict(fields(inspect.type_info(Board))) | ADDED == documented()


def test_every_field_is_in_the_output(tortie: Tortie, agent: FakeAgent) -> None:
    """Also by the way of the command, with an example of everything."""
    board = msgspec.structs.replace(
        WELL,
        pending=(Noted(subject="a", reason="b"),),
        problems=(Noted(subject="a", reason="b"),),
        errors=(Logged(time="t", text="x"),),
        confirmations=(Waiting(name="a", by="b", deadline="2026-12-01T10:04:05Z", objects=("c",), gone_back=True),),
        repairs=(Repaired(time="t", table="route", what="w", by="b", back_ms=1.5, longest_ms=2.5, times=2),),
        repaired={"route": 2},
        bird=Bird(running=True, sessions=(session("192.0.2.1"),)),
        vitals=Vitals(
            applied={"policy": Duration(within=(1,))}, resyncs={"start": 1}, dropped={"policy": Dropped(packets=1)}
        ),
    )
    agent.answer("/v1/status", board)
    found = dict(_paths(json.loads(tortie("status", "-o", "json").stdout)))
    for path, kind in documented().items():
        assert {each for where, each in found.items() if _same(where, path)} <= _allowed(kind), path
        assert any(_same(where, path) for where in found), f"{path} is not there"


def _paths(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    match value:
        case dict():
            for key, inner in value.items():
                yield from _paths(inner, f"{path}\0{key}")
        case list():
            for inner in value:
                yield from _paths(inner, f"{path}[]")
        case _:
            yield path.lstrip("\0"), type(value).__name__


def _same(where: str, path: str) -> bool:
    parts, wanted = where.split("\0"), path.split(".")
    return len(parts) == len(wanted) and all(each in ("*", part) for part, each in zip(parts, wanted, strict=True))


def _allowed(kind: str) -> set[str]:
    return {"string": {"str"}, "boolean": {"bool"}, "integer": {"int"}, "number": {"int", "float"}}[kind]


@pytest.mark.parametrize("path", ["/v1/health/live", "/v1/health/ready", "/v1/counters", "/v1/facts", "/metrics"])
def test_what_is_asked_is_written_down(path: str) -> None:
    assert f"`GET {path}" in DOCUMENT.read_text()
