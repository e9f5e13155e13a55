"""JSON patch, RFC 6902: a list of operations on places that JSON pointers (RFC 6901) name.

Each operation sees what those before it left; one that cannot be done makes the whole patch fail.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from tortie.cli.patches import Unpatchable

_INDEX = re.compile("0|[1-9][0-9]{0,8}")  # RFC 6901 section 4: no leading zeros
_TILDE = re.compile("~(?![01])")


def apply(document: Any, patch: Any) -> Any:
    """The document after all operations."""
    if not isinstance(patch, list):
        raise Unpatchable("the patch must be a list of operations (RFC 6902)")
    document = copy.deepcopy(document)
    for number, operation in enumerate(patch, 1):
        try:
            document = _operate(document, operation)
        except Unpatchable as error:
            name = f" ({operation.get('op')} {operation.get('path')})" if isinstance(operation, dict) else ""
            raise Unpatchable(f"operation {number}{name}: {error}") from None
    return document


def _operate(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict):
        raise Unpatchable("must be an object with op and path")
    path = _pointer(operation, "path")
    match operation.get("op"):
        case "add":
            return _add(document, path, copy.deepcopy(_value(operation)))
        case "remove":
            return _remove(document, path)
        case "replace":
            value = copy.deepcopy(_value(operation))
            _get(document, path)
            return _add(_remove(document, path), path, value) if path else value
        case "move":
            source = _pointer(operation, "from")
            if source != path and path[: len(source)] == source:
                raise Unpatchable("a value cannot be moved into itself")
            value = _get(document, source)
            return _add(_remove(document, source), path, value)
        case "copy":
            return _add(document, path, copy.deepcopy(_get(document, _pointer(operation, "from"))))
        case "test":
            if not _same(_get(document, path), _value(operation)):
                raise Unpatchable("the value there is another")
            return document
    raise Unpatchable("op must be add, remove, replace, move, copy or test")


def _pointer(operation: dict[str, Any], field: str) -> list[str]:
    text = operation.get(field)
    if not isinstance(text, str) or (text and not text.startswith("/")) or _TILDE.search(text):
        raise Unpatchable(f"{field} must be a JSON pointer, such as /spec/cidr")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise Unpatchable("value is missing")
    return operation["value"]


def _get(document: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list):
            document = document[_index(part, len(document) - 1)]
        else:
            raise Unpatchable("there is no such value")
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    """In place, unless the path is that of the document itself."""
    if not path:
        return value
    parent = _get(document, path[:-1])
    if isinstance(parent, dict):
        parent[path[-1]] = value
    elif isinstance(parent, list):
        place = len(parent) if path[-1] == "-" else _index(path[-1], len(parent))
        parent.insert(place, value)
    else:
        raise Unpatchable("there is no such value")
    return document


def _remove(document: Any, path: list[str]) -> Any:
    """In place; without the document itself there would be nothing left."""
    if not path:
        raise Unpatchable("the whole document cannot be removed")
    _get(document, path)
    parent = _get(document, path[:-1])
    del parent[int(path[-1]) if isinstance(parent, list) else path[-1]]
    return document


def _index(part: str, last: int) -> int:
    if not _INDEX.fullmatch(part) or int(part) > last:
        raise Unpatchable("there is no such value")
    return int(part)


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 is 1.0, and true is not 1 (section 4.6)."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(part, other[name]) for name, part in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
