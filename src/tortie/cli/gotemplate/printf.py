"""Go's `printf`: verbs, flags, width and precision, and what it prints for a wrong verb instead of failing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from tortie.cli.gotemplate.values import joined, show, show_float, type_name

MAX_WIDTH = 10**6  # Go's own limit

_VERB = re.compile(r"%([-+# 0]*)(\*|[0-9]+)?(?:\.(\*|[0-9]*))?(.?)", re.DOTALL)


def printf(pattern: str, arguments: Sequence[Any]) -> str:
    """The pattern with its verbs replaced by the arguments; raises ValueError when that becomes too long."""
    return joined(_pieces(pattern, iter(arguments)))


def _pieces(pattern: str, rest: Iterator[Any]) -> Iterator[str]:
    position = 0
    for found in _VERB.finditer(pattern):
        yield pattern[position : found.start()]
        yield _verb(found, rest)
        position = found.end()
    yield pattern[position:]
    if extra := list(rest):
        yield f"%!(EXTRA {', '.join(f'{type_name(value)}={show(value)}' for value in extra)})"


def _verb(found: re.Match[str], rest: Iterator[Any]) -> str:
    flags, verb = found[1], found[4]
    width = _size(found[2], rest)
    precision = _size(found[3], rest) if found[3] != "" else 0
    if isinstance(width, str) or isinstance(precision, str):
        return "%!(BADWIDTH)" if isinstance(width, str) else "%!(BADPREC)"
    if verb == "%":
        return "%"
    if not verb:
        return "%!(NOVERB)"
    try:
        value = next(rest)
    except StopIteration:
        return f"%!{verb}(MISSING)"
    if width is not None and width < 0:
        flags, width = flags + "-", -width
    text = _formatted(verb, flags, precision, value)
    if text is None:
        return f"%!{verb}({type_name(value)}={show(value)})"
    if "-" in flags:
        return text.ljust(width or 0)
    if "0" in flags and isinstance(value, int | float):
        return text.zfill(width or 0)
    return text.rjust(width or 0)


def _size(text: str | None, rest: Iterator[Any]) -> int | str | None:
    if text is None:
        return None
    size = next(rest, "") if text == "*" else int(text[:8])
    return size if isinstance(size, int) and abs(size) <= MAX_WIDTH else "bad"


def _formatted(verb: str, flags: str, precision: int | None, value: Any) -> str | None:
    """The value by the verb; None when the verb is not for such values."""
    if isinstance(value, list) and verb not in "vTp":
        items = [_formatted(verb, flags, precision, item) for item in value]
        return None if None in items else f"[{' '.join(map(str, items))}]"
    if verb == "v":
        return _signed(value, flags) if isinstance(value, int | float) else show(value)
    if verb == "T":
        return type_name(value)
    if isinstance(value, bool):
        return show(value) if verb == "t" else None
    if isinstance(value, int):
        return _integer(verb, flags, value)
    if isinstance(value, float):
        return _float(verb, flags, precision, value)
    if isinstance(value, str):
        return _text(verb, flags, precision, value)
    return show(value) if verb == "s" and value is not None else None


def _signed(value: float, flags: str) -> str:
    text = show(value)
    return f"+{text}" if "+" in flags and not isinstance(value, bool) and value >= 0 else text


def _integer(verb: str, flags: str, value: int) -> str | None:
    sign = "+" if "+" in flags else " " if " " in flags else "-"
    match verb:
        case "d":
            return format(value, f"{sign}d")
        case "x" | "X" | "o" | "b":
            return format(value, f"{sign}{'#' if '#' in flags else ''}{verb}")
        case "c" | "q" | "U" if 0 <= value < 0x110000 and not 0xD800 <= value < 0xE000:
            return {"c": chr(value), "q": f"'{chr(value)}'", "U": f"U+{value:04X}"}[verb]
    return None


def _float(verb: str, flags: str, precision: int | None, value: float) -> str | None:
    sign = "+" if "+" in flags else " " if " " in flags else "-"
    if verb in "gG" and precision is None:
        text = show_float(value)
        return text.upper() if verb == "G" else text
    if verb in "eEfFgG":
        # More digits than 1074 no float64 has.
        return format(value, f"{sign}.{min(6 if precision is None else precision, 1100)}{verb}")
    return None


def _text(verb: str, flags: str, precision: int | None, value: str) -> str | None:
    value = value if precision is None else value[:precision]
    match verb:
        case "s":
            return value
        case "q":
            return f"`{value}`" if "#" in flags and "`" not in value else json.dumps(value, ensure_ascii=False)
        case "x" | "X":
            return value.encode().hex() if verb == "x" else value.encode().hex().upper()
    return None
