"""Numbers, characters and quoted text as Go writes them; each raises ValueError that says what is wrong."""

from __future__ import annotations

import re

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_SIMPLE |= {character: character for character in "\\\"'"}
_INT64 = range(-(2**63), 2**64)  # Go takes what fits in int64 or uint64


def number(text: str) -> int | float:
    try:
        if re.fullmatch(r"[-+]?0[0-9_]+", text):
            value: int | float = int(text.replace("_", ""), 8)
        else:
            value = int(text, 0)
    except ValueError:
        value = float(text)
    if isinstance(value, int) and value not in _INT64:
        raise ValueError(f"integer overflow: {text[:40]}")
    return value


def character(text: str) -> int:
    """A character in single quotes, which for Go is the number of its code point."""
    inside = unquoted(text)
    if len(inside) != 1:
        raise ValueError(f"malformed character constant: {text[:40]}")
    return ord(inside)


def unquoted(text: str) -> str:
    """What a text in quotes says."""
    return _ESCAPE.sub(_meaning, text[1:-1]) if "\\" in text else text[1:-1]


def _meaning(escape: re.Match[str]) -> str:
    word = escape[1]
    if word in _SIMPLE:
        return _SIMPLE[word]
    try:
        point = int(word, 8) if word.isdigit() else int(word[1:], 16) if word[0] in "xuU" else -1
        found = chr(point)
    except (ValueError, OverflowError):
        found = "\ud800"
    if "\ud800" <= found <= "\udfff":
        raise ValueError(f"\\{word} is no escape that text can hold")
    return found
