"""Text in YAML or JSON as plain values, so strictly that nothing a user wrote changes its meaning unseen.

Invariants:
* A bare word is null, a boolean or a number only where YAML 1.1, YAML 1.2 and JSON agree. Every other is text, as
  written: `no`, `0755`, `12:30:45`, `2026-01-31`, `1_000`. What needs a boolean or a number then refuses the text.
* A field name is text, as written, and stands once in an object.
* Work and memory are bounded by the size of the text: nesting has a limit, and so has repetition by aliases.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import yaml

from tortie.cli.yaml_words import plain_meaning
from tortie.errors import UsageError

MAX_DEPTH = 100
# Every alias repeats the values below its anchor; nine levels of nine are enough to fill a host's memory.
MAX_REPEATED_VALUES = 100_000

# A hundred thousand endpoints are 2.5 million lines, and more than this fills a host's memory with small values.
MAX_LINES_AND_ITEMS = 5_000_000

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_TEXT_TAGS = ("tag:yaml.org,2002:str", "!")


class Malformed(UsageError):
    """The text is not YAML; says where."""


class Document(NamedTuple):
    """One document of a text."""

    number: int  # counts from 1, empty documents too
    value: Any  # None when empty
    line: int = 1  # where the value begins


def read(text: str) -> list[Document]:
    """The documents of a text; raises `Malformed` with document number, line and column."""
    if text.count("\n") + text.count(",") > MAX_LINES_AND_ITEMS:
        raise Malformed(f"holds more than {MAX_LINES_AND_ITEMS} lines and items: divide it")
    if text.lstrip()[:1] in ("{", "["):
        # JSON may be indented with tabs, write 1e5, and escape beyond what libyaml knows. Its faults are left to the
        # YAML reader, which knows where they are.
        with suppress(ValueError, RecursionError):
            return [Document(1, json.loads(text, object_pairs_hook=_distinct))]
    if control := _CONTROL.search(text):
        line, column = text.count("\n", 0, control.start()) + 1, control.start() - text.rfind("\n", 0, control.start())
        raise Malformed(f"line {line}, column {column}: control character {ord(control[0]):#04x}: this is no text")
    return list(_Reader(text).documents())


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field stands twice")
    return fields


class _Mark(Protocol):
    """A place in the text, counted from 0."""

    @property
    def line(self) -> int: ...

    @property
    def column(self) -> int: ...


class _Anchored(NamedTuple):
    value: Any
    size: int  # values in it, itself included


@dataclass(slots=True)
class _Open:
    """A list or an object that is being read."""

    value: list[Any] | dict[str, Any]
    anchor: str | None
    size: int = 1
    name: str | None = None  # of the field whose value comes next
    merging: bool = False  # that field is `<<`
    bases: list[Any] = field(default_factory=list)  # the objects that `<<` names: their fields are filled in last


class _Reader:
    """Builds values from libyaml's events: without recursion, so that no nesting can exhaust the stack."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._number = 0
        self._anchors: dict[str, _Anchored | None] = {}  # None: still open
        self._repeated = 0
        self._open: list[_Open] = []
        self._root: Any = None
        self._line = 1

    def documents(self) -> Iterator[Document]:
        parser = yaml.CSafeLoader(self._text)
        try:
            # `yaml.parse` asks for each event twice, and a class pattern costs more than a comparison of types.
            while (event := parser.get_event()) is not None:
                if type(event) is yaml.ScalarEvent:
                    self._scalar(event)
                elif isinstance(event, yaml.NodeEvent):
                    self._node(event)
                elif isinstance(event, yaml.CollectionEndEvent):
                    self._close(event)
                elif isinstance(event, yaml.DocumentStartEvent):
                    self._number += 1
                    self._anchors.clear()
                    self._root = None
                elif isinstance(event, yaml.DocumentEndEvent):
                    yield Document(self._number, self._root, self._line)
        except yaml.MarkedYAMLError as error:
            # The document that the fault is in may not have begun yet.
            raise self._malformed(error.problem_mark, error.problem or str(error)) from None
        except yaml.YAMLError as error:
            raise Malformed(str(error)) from None
        finally:
            parser.dispose()

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if self._open:
            within = self._open[-1]
            if within.name is None and type(within.value) is dict:
                self._field_name(within, event)
                return
        else:
            self._begin_root(event)
        value = self._meaning(event)
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(value, 1)
        self._add(value, 1, event)

    def _node(self, event: yaml.NodeEvent) -> None:
        if not self._open:
            self._begin_root(event)
        elif self._open[-1].name is None and isinstance(self._open[-1].value, dict):
            raise self._malformed(event.start_mark, "the name of a field must be text")
        if isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        else:
            assert isinstance(event, yaml.AliasEvent)
            self._add(*self._anchored(event), event)

    def _begin_root(self, event: yaml.NodeEvent) -> None:
        mark: _Mark = event.start_mark  # type: ignore[assignment]  # a parser of text gives one to each event
        self._line = mark.line + 1

    def _field_name(self, within: _Open, event: yaml.ScalarEvent) -> None:
        name = event.value
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(name, 1)
        if name in within.value:
            raise self._malformed(event.start_mark, f'field "{name}" stands twice in one object')
        within.name = name
        within.merging = name == "<<" and event.implicit[0]

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        if event.tag is not None:
            raise self._malformed(event.start_mark, f"tag {event.tag} is not supported")
        if len(self._open) == MAX_DEPTH:
            raise self._malformed(event.start_mark, f"nested more than {MAX_DEPTH} levels deep")
        self._open.append(_Open([] if isinstance(event, yaml.SequenceStartEvent) else {}, event.anchor))
        if event.anchor:
            self._anchors[event.anchor] = None

    def _close(self, event: yaml.Event) -> None:
        done = self._open.pop()
        for base in done.bases:
            done.value = base | done.value
        if done.anchor:
            self._anchors[done.anchor] = _Anchored(done.value, done.size)
        self._add(done.value, done.size, event)

    def _add(self, value: Any, size: int, event: yaml.Event) -> None:
        if not self._open:
            self._root = value
            return
        within = self._open[-1]
        within.size += size
        if isinstance(within.value, list):
            within.value.append(value)
        elif within.merging:
            bases = value if isinstance(value, list) else [value]
            if not all(isinstance(base, dict) for base in bases):
                raise self._malformed(event.start_mark, "<< must name an object, or a list of objects")
            within.bases += bases
        else:
            assert within.name is not None
            within.value[within.name] = value
        within.name = None
        within.merging = False

    def _anchored(self, event: yaml.AliasEvent) -> _Anchored:
        if event.anchor not in self._anchors:
            raise self._malformed(event.start_mark, f"there is no anchor &{event.anchor} before this alias")
        found = self._anchors[event.anchor]
        if found is None:
            raise self._malformed(event.start_mark, f"alias *{event.anchor} repeats the value that it is in")
        self._repeated += found.size
        if self._repeated > MAX_REPEATED_VALUES:
            raise self._malformed(event.start_mark, f"aliases repeat more than {MAX_REPEATED_VALUES} values")
        return found

    def _meaning(self, event: yaml.ScalarEvent) -> Any:
        if event.tag in _TEXT_TAGS:
            return event.value
        if event.tag is not None:
            raise self._malformed(event.start_mark, f"tag {event.tag} is not supported")
        is_plain, _ = event.implicit
        return plain_meaning(event.value) if is_plain else event.value

    def _malformed(self, mark: _Mark | None, fault: str) -> Malformed:
        place = f"document {max(self._number, 1)}"
        if mark is not None:
            place += f", line {mark.line + 1}, column {mark.column + 1}"
        return Malformed(f"{place}: {fault}")
