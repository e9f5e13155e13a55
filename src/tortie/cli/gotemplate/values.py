"""What templates work on, and how Go prints it.

| Go | here |
|---|---|
| struct | `Struct`: knows its fields, also those that are unset; printed as a map is |
| map, slice, text, number, bool | dict, list, str, int or float, bool |
| nil | None |
| no value at all, as a missing key of a map | `NO_VALUE` |
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from tortie.model.scalars import float_text


class NoValue(enum.Enum):
    """The one value of its kind."""

    NO_VALUE = "<no value>"


NO_VALUE = NoValue.NO_VALUE

MAX_TEXT = 1 << 26  # characters of one value
MAX_DEPTH = 200  # of values within values, when they are printed


@runtime_checkable
class Struct(Protocol):
    """A value with fields that Go knows by name."""

    @property
    def type(self) -> str:
        """Go's name of the type, for errors."""

    def field(self, name: str) -> Any:
        """Raises LookupError when there is no such field."""

    def fields(self) -> Mapping[str, Any]:
        """The fields that are set."""


def is_true(value: Any) -> bool:
    """Whether {{if}} takes the value for true: not false, 0, nil or empty. A struct is always true."""
    return isinstance(value, Struct) or (value is not NO_VALUE and bool(value))


def type_name(value: Any) -> str:
    match value:
        case NoValue():
            return "nil"
        case None:
            return "<nil>"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float64"
        case str():
            return "string"
        case list():
            return "[]interface {}"
        case dict():
            return "map[string]interface {}"
        case Struct():
            return value.type
    return type(value).__name__


def show(value: Any, depth: int = 0) -> str:
    """The value as Go's `%v` prints it."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return show_float(value)
        case None:
            return "<nil>"
        case NoValue():
            return value.value
    if depth > MAX_DEPTH:
        return "..."
    if isinstance(value, list):
        return f"[{' '.join(show(item, depth + 1) for item in value)}]"
    fields = value if isinstance(value, dict) else value.fields()
    return f"map[{' '.join(f'{name}:{show(fields[name], depth + 1)}' for name in sorted(fields))}]"


def show_float(value: float) -> str:
    """Go's `%v` of a float."""
    if value != value or value in (float("inf"), float("-inf")):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[str(value)]
    return float_text(value)


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The value with every text in it changed; the keys of maps stay."""
    match value:
        case str():
            return change(value)
        case list():
            return [with_texts(item, change) for item in value]
        case dict():
            return {key: with_texts(item, change) for key, item in value.items()}
        case Struct():
            return with_texts(dict(value.fields()), change)
    return value


def elements(value: Any) -> Iterable[tuple[Any, Any]]:
    """What {{range}} runs over: index and element, key and element in the order of keys; raises TypeError."""
    match value:
        case list():
            return enumerate(value)
        case dict():
            return sorted(value.items())
        case bool():
            pass
        case int():
            return ((number, number) for number in range(value))
        case None | NoValue():
            return ()
    raise TypeError(f"range can't iterate over {show(value)[:60]}")


def joined(pieces: Iterable[str], separator: str = "") -> str:
    """Raises ValueError when the text becomes too long for a value."""
    found: list[str] = []
    length = 0
    for piece in pieces:
        length += len(piece) + len(separator)
        if length > MAX_TEXT:
            raise ValueError(f"the text is longer than {MAX_TEXT} characters")
        found.append(piece)
    return separator.join(found)
