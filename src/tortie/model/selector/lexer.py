"""Text of a selector into tokens.

The one rule that needs context: the operator words (`in`, `not in`, `contains`, `starts with`, `ends with`) are
operators only straight after a label, so that labels named `in` or `contains` stay usable. For the same reason
`has(`, `all(` and `global(` take no blank before the bracket: with one, `has` is a label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

MAX_LABEL_LENGTH = 512
BLANKS = " \t"


class SelectorError(ValueError):
    """The text is not a selector: at `column` (counted from 1) something else was expected."""

    def __init__(self, text: str, column: int, expected: str) -> None:
        self.text = text
        self.column = column
        self.expected = expected
        rest = text[column - 1 :]
        found = f"'{rest[:20]}{'...' if len(rest) > 20 else ''}'" if rest else "the end"
        super().__init__(f"not a selector: expected {expected} at column {column}, found {found}")


class T:
    """The kinds of token; each is how the token looks. Texts: the members of an enum take three times as long."""

    LABEL: Final = "a label"
    LITERAL: Final = "a quoted value"
    HAS: Final = "has(label)"
    ALL: Final = "all()"
    GLOBAL: Final = "global()"
    EQUAL: Final = "=="
    NOT_EQUAL: Final = "!="
    IN: Final = "in"
    NOT_IN: Final = "not in"
    CONTAINS: Final = "contains"
    STARTS_WITH: Final = "starts with"
    ENDS_WITH: Final = "ends with"
    NOT: Final = "!"
    AND: Final = "&&"
    OR: Final = "||"
    OPEN: Final = "("
    CLOSE: Final = ")"
    SET_OPEN: Final = "{"
    SET_CLOSE: Final = "}"
    COMMA: Final = ","
    END: Final = "the end"
    UNKNOWN: Final = "no token"


# Its kind, its value, its column. The value is the label's name or the literal without its quotes, and empty for other
# kinds. A plain tuple: to make a named one takes as long as to find the token.
Token = tuple[str, str, int]


_TOKEN = re.compile(
    r"""
      "(?P<double>[^"]*)" | '(?P<single>[^']*)'
    | (?P<symbol> == | != | && | \|\| | [!(){},] )
    | has\( [ \t]* (?P<has>[A-Za-z0-9_./-]+) [ \t]* \)
    | (?P<all> all\( [ \t]* \) )
    | (?P<global> global\( [ \t]* \) )
    | (?P<label>[A-Za-z0-9_./-]+)
    """,
    re.VERBOSE,
)

_OPERATOR = re.compile(
    r"(?P<NOT_IN>not[ \t]*in)\b|(?P<IN>in)\b|(?P<CONTAINS>contains)\b"
    r"|(?P<STARTS_WITH>starts[ \t]*with)\b|(?P<ENDS_WITH>ends[ \t]*with)\b"
)

_OPERATORS = {
    "NOT_IN": T.NOT_IN,
    "IN": T.IN,
    "CONTAINS": T.CONTAINS,
    "STARTS_WITH": T.STARTS_WITH,
    "ENDS_WITH": T.ENDS_WITH,
}
_FIXED = {"all": T.ALL, "global": T.GLOBAL}
_VALUED = {"double": T.LITERAL, "single": T.LITERAL, "has": T.HAS, "label": T.LABEL}


def tokens(text: str) -> Iterator[Token]:
    """The tokens in order, up to END or the first UNKNOWN.

    Raises SelectorError where it knows better than the grammar what is wrong: an open quote, half an operator,
    a label that is too long.
    """
    position = 0
    previous = T.END
    while True:
        while position < len(text) and text[position] in BLANKS:
            position += 1
        column = position + 1
        if position == len(text):
            yield T.END, "", column
            return
        if previous == T.LABEL and (word := _OPERATOR.match(text, position)):
            token = _OPERATORS[word.lastgroup or ""], "", column
            position = word.end()
        else:
            match = _TOKEN.match(text, position)
            if match is None:
                yield _no_token(text, column)
                return
            token = _token(text, match, column)
            position = match.end()
        yield token
        previous = token[0]


def _token(text: str, match: re.Match[str], column: int) -> Token:
    group = match.lastgroup or ""
    value = match[group]
    if group == "symbol":
        return value, "", column
    if group in _FIXED:
        return _FIXED[group], "", column
    if group in ("has", "label") and len(value) > MAX_LABEL_LENGTH:
        raise SelectorError(text, column, f"a label of at most {MAX_LABEL_LENGTH} characters")
    return _VALUED[group], value, column


def _no_token(text: str, column: int) -> Token:
    character = text[column - 1]
    if character in "\"'":
        raise SelectorError(text, column, f"a closing {character}")
    if character in "=&|":
        raise SelectorError(text, column, character * 2)
    return T.UNKNOWN, "", column
