"""The text of a template into tokens: plain text, and what stands between {{ and }}.

Blanks matter twice. `{{- ` and ` -}}` take away the blanks of the text beside them. Between tokens a blank divides
arguments: `$x.Name` is a field of a variable, `$x .Name` a variable and a field of the dot.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Generator, Iterator
from typing import NamedTuple

from tortie.cli.gotemplate.errors import Source

BLANKS = " \t\r\n"


class T(enum.Enum):
    """The kinds of token."""

    TEXT = "text"
    OPEN = "{{"
    CLOSE = "}}"
    FIELD = "a field"
    VARIABLE = "a variable"
    NUMBER = "a number"
    STRING = "a string"
    RAW = "a raw string"
    CHARACTER = "a character"
    WORD = "a word"
    DECLARE = ":="
    ASSIGN = "="
    PIPE = "|"
    COMMA = ","
    LEFT = "("
    RIGHT = ")"
    DOT = "."
    END = "the end"


class Token(NamedTuple):
    """A piece of the template."""

    type: T
    text: str
    position: int
    after_blank: bool = False


_TOKEN = re.compile(
    r"""
      (?P<NUMBER>    [-+]?(?:0[xX][0-9a-fA-F_]+ | 0[bB][01_]+ | 0[oO][0-7_]+
                     | (?:[0-9][0-9_]*(?:\.[0-9_]*)? | \.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?) )
    | (?P<FIELD>     \.[^\W\d]\w* )
    | (?P<DOT>       \. )
    | (?P<VARIABLE>  \$\w* )
    | (?P<WORD>      [^\W\d]\w* )
    | (?P<STRING>    "(?:[^"\\\n]|\\[^\n])*" )
    | (?P<RAW>       `[^`]*` )
    | (?P<CHARACTER> '(?:[^'\\\n]|\\[^\n])+' )
    | (?P<DECLARE>   := )
    | (?P<ASSIGN>    = )
    | (?P<PIPE>      \| )
    | (?P<COMMA>     , )
    | (?P<LEFT>      \( )
    | (?P<RIGHT>     \) )
    """,
    re.VERBOSE,
)
_UNFINISHED = {
    '"': "unterminated quoted string",
    "`": "unterminated raw quoted string",
    "'": "unterminated character constant",
}
_COMMENT = re.compile(r"\{\{(- |-\t|-\r|-\n)?/\*(.*?)\*/([ \t\r\n]-)?\}\}", re.DOTALL)
_BLANKS = re.compile(f"[{BLANKS}]*")


def tokens(source: Source) -> Iterator[Token]:
    """The tokens of a template, `END` last; raises TemplateError."""
    text = source.text
    position = 0
    trim = False  # the action before ended in ` -}}`
    while True:
        start = text.find("{{", position)
        trims_before = start >= 0 and _opens_with_trim(text, start)
        plain = text[position:start] if start >= 0 else text[position:]
        plain = plain.lstrip(BLANKS) if trim else plain
        plain = plain.rstrip(BLANKS) if trims_before else plain
        if plain:
            yield Token(T.TEXT, plain, position)
        if start < 0:
            yield Token(T.END, "", len(text))
            return
        if comment := _COMMENT.match(text, start):
            position, trim = comment.end(), comment[3] is not None
            continue
        yield Token(T.OPEN, "{{", start)
        inside = start + (3 if trims_before else 2)
        if text.startswith("/*", _BLANKS.match(text, inside).end()):  # type: ignore[union-attr]  # matches nothing too
            raise source.unreadable(start, "a comment must end in */ and stand alone between {{ and }}")
        position, trim = yield from _action(source, inside)


def _opens_with_trim(text: str, start: int) -> bool:
    return text.startswith("-", start + 2) and text[start + 3 : start + 4] in tuple(BLANKS)


def _action(source: Source, position: int) -> Generator[Token, None, tuple[int, bool]]:
    """The tokens up to }}; returns where the text goes on, and whether its blanks are to go."""
    text = source.text
    start = position
    while True:
        after = _BLANKS.match(text, position)
        assert after is not None
        after_blank, position = after.end() > position, after.end()
        if after_blank and text.startswith("-}}", position):
            yield Token(T.CLOSE, "}}", position)
            return position + 3, True
        if text.startswith("}}", position):
            yield Token(T.CLOSE, "}}", position)
            return position + 2, False
        if position == len(text):
            raise source.unreadable(start, "unclosed action")
        found = _TOKEN.match(text, position)
        if found is None:
            character = text[position]
            raise source.unreadable(position, _UNFINISHED.get(character, f"unexpected {character!r} in an action"))
        assert found.lastgroup is not None
        if found.lastgroup == "NUMBER" and text[found.end() : found.end() + 1].isalnum():
            raise source.unreadable(position, f"bad number syntax: {text[position : found.end() + 1]!r}")
        yield Token(T[found.lastgroup], found[0], position, after_blank)
        position = found.end()
