"""The functions that a template may call: Go's, and those that calicoctl adds.

`and` and `or` are not among them: they do not look at all their arguments, so they are the evaluator's.

A function raises ValueError, TypeError or LookupError with what is wrong.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote_plus

from tortie.cli.gotemplate.printf import printf
from tortie.cli.gotemplate.values import NO_VALUE, Struct, is_true, joined, show, type_name

Function = Callable[..., Any]


def _print(*values: Any) -> str:
    """A blank between two values unless one of them is text."""

    def pieces() -> Iterator[str]:
        for index, value in enumerate(values):
            if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
                yield " "
            yield _nil(value)

    return joined(pieces())


def _println(*values: Any) -> str:
    return joined(map(_nil, values), " ") + "\n"


def _printf(pattern: Any, *values: Any) -> str:
    return printf(_text(pattern), values)


def _nil(value: Any) -> str:
    return "<nil>" if value is NO_VALUE else show(value)


def _not(value: Any) -> bool:
    return not is_true(value)


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, list | dict):
        return len(value)
    raise TypeError(f"len of type {type_name(value)}")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        match value:
            case dict():
                if not isinstance(key, str):
                    raise TypeError(f"value has type {type_name(key)}; should be string")
                # A map of texts, as labels are, has an empty one for a missing key; elsewhere that is nil.
                is_of_text = all(isinstance(each, str) for each in value.values())
                value = value.get(key, "" if is_of_text else None)
            case list():
                value = value[_position(key, len(value) - 1)]
            case str():
                value = value.encode()[_position(key, len(value.encode()) - 1)]
            case None:
                raise TypeError("index of untyped nil")
            case _:
                raise TypeError(f"can't index item of type {type_name(value)}")
    return value


def _slice(value: Any, *ends: Any) -> Any:
    if not isinstance(value, str | list):
        raise TypeError(f"can't slice item of type {type_name(value)}")
    if len(ends) > 2:
        raise TypeError(f"too many slice indexes: {len(ends)}")
    start = _position(ends[0], len(value)) if ends else 0
    stop = _position(ends[1], len(value)) if len(ends) > 1 else len(value)
    if start > stop:
        raise LookupError(f"invalid slice index: {start} > {stop}")
    return value[start:stop]


def _position(value: Any, last: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"cannot index slice/array with type {type_name(value)}")
    if not 0 <= value <= last:
        raise LookupError(f"index out of range: {value}")
    return value


def _eq(value: Any, *others: Any) -> bool:
    if not others:
        raise TypeError("missing argument for comparison")
    return any(_equal(value, other) for other in others)


def _equal(one: Any, other: Any) -> bool:
    for value in (one, other):
        if isinstance(value, list | dict | Struct):
            raise TypeError(f"non-comparable type {type_name(value)}")
    one, other = (None if value is NO_VALUE else value for value in (one, other))
    if one is None or other is None:
        return one is other
    if _basic(one) is not _basic(other):
        raise TypeError(f"incompatible types for comparison: {type_name(one)} and {type_name(other)}")
    return bool(one == other)


def _less(one: Any, other: Any) -> bool:
    if _basic(one) not in (int, float, str) or _basic(other) not in (int, float, str):
        raise TypeError("invalid type for comparison")
    if _basic(one) is not _basic(other):
        raise TypeError(f"incompatible types for comparison: {type_name(one)} and {type_name(other)}")
    return bool(one < other)


def _basic(value: Any) -> type:
    return next((cls for cls in (bool, int, float, str) if isinstance(value, cls)), type(None))


def _join(items: Any, separator: Any) -> str:
    return _join_and_truncate(items, separator, 0)


def _join_and_truncate(items: Any, separator: Any, length: Any) -> str:
    """Texts of the items with the separator between them, cut to `length` bytes unless that is 0."""
    if items is None or items is NO_VALUE:
        return ""
    if isinstance(items, dict):
        items = sorted(f"{name}={show(value)}" for name, value in items.items())
    if not isinstance(length, int):
        raise TypeError(f"wrong type for value; expected int; got {type_name(length)}")
    text = joined(map(show, items if isinstance(items, list) else [items]), _text(separator))
    if 0 < length < len(text.encode()):
        return text.encode()[: max(0, length - 3)].decode(errors="ignore") + "..."
    return text


def _html(*values: Any) -> str:
    escaped = html.escape(_print(*values), quote=False)
    return escaped.replace('"', "&#34;").replace("'", "&#39;").replace("\x00", "\ufffd")


def _js(*values: Any) -> str:
    escaped = json.dumps(_print(*values), ensure_ascii=False)[1:-1].replace("'", "\\'")
    return escaped.replace("<", "\\u003C").replace(">", "\\u003E").replace("&", "\\u0026").replace("=", "\\u003D")


def _urlquery(*values: Any) -> str:
    return quote_plus(_print(*values), safe="-_.~")


def _call(*_: Any) -> Any:
    raise TypeError("no field of a resource is a function")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"wrong type for value; expected string; got {type_name(value)}")
    return value


BUILT_IN: Mapping[str, Function] = {
    "print": _print,
    "println": _println,
    "printf": _printf,
    "not": _not,
    "len": _len,
    "index": _index,
    "slice": _slice,
    "eq": _eq,
    "ne": lambda one, other: not _equal(one, other),
    "lt": _less,
    "le": lambda one, other: not _less(other, one),
    "gt": lambda one, other: _less(other, one),
    "ge": lambda one, other: not _less(one, other),
    "html": _html,
    "js": _js,
    "urlquery": _urlquery,
    "call": _call,
    "join": _join,
    "joinAndTruncate": _join_and_truncate,
    "StructuralData": lambda value: value,  # of calicoctl's YAML-safe engine: this may change the structure
}
