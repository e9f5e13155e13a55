"""What a JSONPath template finds in a document, as text.

Invariant: work is bounded: a template that looks at more than `MAX_VALUES` values ends in an error.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from tortie.cli.jsonpath.parser import (
    AtAnyDepth,
    Every,
    Field,
    Filter,
    Index,
    JsonPathError,
    Literal,
    Node,
    Path,
    Range,
    Slice,
    Step,
    Union,
)

# Three million are a hundred thousand endpoints in ten columns of three steps each; ten take 20 s.
MAX_VALUES = 10_000_000
MAX_CHARACTERS = 1 << 28

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def render(nodes: Sequence[Node], value: Any) -> str:
    """Raises JsonPathError."""
    return "".join(_Renderer().texts(nodes, value))


class _Renderer:
    def __init__(self) -> None:
        self._values = 0
        self._characters = 0

    def texts(self, nodes: Sequence[Node], current: Any) -> Iterator[str]:
        for node in nodes:
            if isinstance(node, str):
                yield self._counted(node)
            elif isinstance(node, Range):
                for value in self._find(node.path, [current]):
                    yield from self.texts(node.body, value)
            else:
                for number, value in enumerate(self._find(node, [current])):
                    yield self._counted(_text(value) if not number else " " + _text(value))

    def _find(self, path: Path, values: list[Any]) -> list[Any]:
        for step in path:
            # One more than allowed is enough to know.
            values = list(islice(self._step(step, values), MAX_VALUES - self._values + 1))
            self._values += len(values)
            if self._values > MAX_VALUES:
                raise JsonPathError("jsonpath: the template looks at too many values")
        return values

    def _step(self, step: Step, values: list[Any]) -> Iterator[Any]:
        match step:
            case Literal():
                yield step.value
            case Union():
                for path in step.paths:
                    yield from self._find(path, values)
            case AtAnyDepth():
                for value in values:
                    yield from _containers(value)
            case _:
                for value in values:
                    yield from self._inside(step, value)

    def _inside(self, step: Step, value: Any) -> Iterator[Any]:
        match step:
            case Field():
                if isinstance(value, dict) and step.name in value:
                    yield value[step.name]
            case Every():
                yield from _members(value)
            case Index():
                if self._is_list(value):
                    if not -len(value) <= step.position < len(value):
                        raise _out_of_bounds(step.position, value)
                    yield value[step.position]
            case Slice():
                if self._is_list(value):
                    yield from _sliced(step, value)
            case Filter():
                if not isinstance(value, list):
                    raise JsonPathError(f"jsonpath: {_text(value)[:60]} is not a list and cannot be filtered")
                yield from (item for item in value if self._holds(step, item))

    @staticmethod
    def _is_list(value: Any) -> bool:
        if value is not None and not isinstance(value, list):
            raise JsonPathError(f"jsonpath: {_text(value)[:60]} is not a list and has no elements")
        return value is not None

    def _holds(self, condition: Filter, item: Any) -> bool:
        left = self._find(condition.left, [item])
        if not condition.operator:
            return bool(left)
        right = self._find(condition.right, [item])
        if len(left) > 1 or len(right) > 1:
            raise JsonPathError("jsonpath: can only compare one element at a time")
        if not left or not right:
            return False
        one, other = left[0], right[0]
        numbers = isinstance(one, int | float) and isinstance(other, int | float)
        booleans = isinstance(one, bool) + isinstance(other, bool)
        if not (numbers and booleans != 1) and not (isinstance(one, str) and isinstance(other, str)):
            raise JsonPathError(
                f"jsonpath: incompatible types for comparison: {_text(one)[:60]} is {_type(one)}, "
                f"{_text(other)[:60]} is {_type(other)}"
            )
        return _COMPARE[condition.operator](one, other)

    def _counted(self, text: str) -> str:
        self._characters += len(text)
        if self._characters > MAX_CHARACTERS:
            raise JsonPathError("jsonpath: the template prints too much")
        return text


def _members(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict):
        yield from (value[name] for name in sorted(value))


def _containers(value: Any) -> Iterator[Any]:
    """The lists and objects in a value that are not empty, itself included, outer ones first."""
    if isinstance(value, list | dict) and value:
        yield value
        for member in _members(value):
            yield from _containers(member)


def _sliced(step: Slice, value: list[Any]) -> list[Any]:
    start, stop = (end + len(value) if end is not None and end < 0 else end for end in (step.start, step.stop))
    start, stop = 0 if start is None else start, len(value) if stop is None else stop
    if start == stop:
        return []
    if not 0 <= start < len(value):
        raise _out_of_bounds(start, value)
    if not 0 <= stop <= len(value):
        raise _out_of_bounds(stop - 1, value)
    if start > stop:
        raise JsonPathError(f"jsonpath: starting index {start} is greater than ending index {stop}")
    return value[start : stop : step.step]


def _out_of_bounds(index: int, value: list[Any]) -> JsonPathError:
    return JsonPathError(f"jsonpath: array index out of bounds: index {index}, length {len(value)}")


def _type(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case float() if value.is_integer() and abs(value) < 1e21:
            return f"{value:.0f}"
        case None:
            return "<nil>"
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
