"""What a word without quotes means in YAML: only where YAML 1.1, YAML 1.2 and JSON agree is it more than text."""

from __future__ import annotations

import re
from typing import Any

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Of at most 20 digits, as 2**64 has; without a leading zero, which is octal in YAML 1.1 and decimal in YAML 1.2.
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]{0,19})")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,16}")
# With a dot, and a sign in the exponent: YAML 1.1 takes 1e5 for text.
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?")
_NUMERIC = set("0123456789+-.")  # what a number begins with


def plain_meaning(word: str) -> Any:
    """What a word without quotes means: None, a boolean, a number, or the word itself."""
    if word in _WORDS:
        return _WORDS[word]
    if word[0] not in _NUMERIC:
        return word
    if _DECIMAL.fullmatch(word):
        return int(word)
    if _HEXADECIMAL.fullmatch(word):
        return int(word, 16)
    if _FLOAT.fullmatch(word):
        return float(word)
    return word
