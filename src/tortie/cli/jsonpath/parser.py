"""The text of a JSONPath template into nodes."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from tortie.errors import UsageError

MAX_DEPTH = 50  # of ranges and filters

_BLANKS = " \t"
_ENDS_OF_FIELD = " \t\r\n.,[]$@{}"
_ENDS_IN_FILTER = _ENDS_OF_FIELD + "!<>=~()&|\"'"
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?")
_OPERATOR = re.compile(r"[!<>=~&|]+")
_SLICE = re.compile(r"\s*(-?[0-9]{1,18})?\s*(?:(:)\s*(-?[0-9]{1,18})?\s*(?:(:)\s*(-?[0-9]{1,18})?)?)?\s*")
_QUOTED = re.compile(r""" "(?:[^"\\\n]|\\[^\n])*" | '(?:[^'\\\n]|\\[^\n])*' """, re.VERBOSE)
_WORD = re.compile(r"[^\W\d]\w*")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

OPERATORS = ("==", "!=", "<", "<=", ">", ">=")


class JsonPathError(UsageError):
    """The template cannot be read, or cannot be used on this document."""


class Field(NamedTuple):
    """`.name`"""

    name: str


class Every(NamedTuple):
    """`[*]` of a list, `.*` of a list or an object."""


class AtAnyDepth(NamedTuple):
    """`..`: the value, and all lists and objects in it."""


class Slice(NamedTuple):
    """`[start:stop:step]`."""

    start: int | None
    stop: int | None
    step: int | None


class Index(NamedTuple):
    """`[3]`; from the end if negative."""

    position: int


class Union(NamedTuple):
    """`[a,b]`: what each of the paths finds."""

    paths: tuple[Path, ...]


class Filter(NamedTuple):
    """`[?(left operator right)]`; without an operator whether left leads somewhere."""

    left: Path
    operator: str
    right: Path


class Literal(NamedTuple):
    """Text, a number or a boolean."""

    value: Any


Step = Field | Every | AtAnyDepth | Slice | Index | Union | Filter | Literal
Path = tuple[Step, ...]


class Range(NamedTuple):
    """`{range path}` and what stands before its `{end}`."""

    path: Path
    body: tuple[Node, ...]


Node = str | Path | Range


def parse(text: str) -> tuple[Node, ...]:
    """The nodes of a template; raises JsonPathError."""
    return _Parser(text).template()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def template(self) -> tuple[Node, ...]:
        nodes, ended = self._nodes()
        if ended:
            raise self._wrong("{end} without {range}")
        return nodes

    def _nodes(self) -> tuple[tuple[Node, ...], bool]:
        """The nodes up to `{end}` or the end of the template, and whether it was `{end}`."""
        nodes: list[Node] = []
        while self._at < len(self._text):
            start = self._text.find("{", self._at)
            if start != self._at:
                end = start if start >= 0 else len(self._text)
                nodes.append(self._text[self._at : end])
                self._at = end
                continue
            self._at += 1
            word = self._word()
            if word == "end":
                self._close()
                return tuple(nodes), True
            if word not in ("", "range", "true", "false"):
                raise self._wrong(f"unrecognized identifier {word}")
            if word != "range":
                nodes.append(((Literal(word == "true"),) if word else ()) + self._path(_ENDS_OF_FIELD))
                self._close()
                continue
            path = self._path(_ENDS_OF_FIELD)
            self._close()
            self._deeper()
            body, ended = self._nodes()
            self._depth -= 1
            if not ended:
                raise self._wrong("{range} without {end}")
            nodes.append(Range(path, body))
        return tuple(nodes), False

    def _path(self, ends: str) -> Path:
        """The steps up to what no step begins with."""
        steps: list[Step] = []
        while (character := self._next()) and character not in "})!<>=~&|]":
            if character in "@$ \t":
                self._at += 1
            elif self._text.startswith("..", self._at):
                self._at += 2
                if steps and isinstance(steps[-1], AtAnyDepth):
                    raise self._wrong("invalid multiple recursive descent")
                steps.append(AtAnyDepth())
                if self._next() not in (*ends, ""):
                    steps.append(self._field(ends))
            elif character == ".":
                self._at += 1
                steps.append(self._field(ends))
            elif character == "[":
                steps.append(self._brackets())
            elif character in "\"'":
                steps.append(Literal(self._quoted()))
            elif number := _NUMBER.match(self._text, self._at):
                self._at = number.end()
                steps.append(Literal(float(number[0]) if number[1] else int(number[0][:30])))
            elif (word := self._word()) in ("true", "false"):
                steps.append(Literal(word == "true"))
            else:
                raise self._wrong(f"unrecognized identifier {word}" if word else f"unexpected {character!r}")
        return tuple(steps)

    def _field(self, ends: str) -> Step:
        start = self._at
        while (character := self._next()) and character not in ends:
            self._at += 2 if character == "\\" else 1
        self._at = min(self._at, len(self._text))
        name = self._text[start : self._at]
        return Every() if name == "*" else Field(re.sub(r"\\(.)", r"\1", name)) if name else _ITSELF

    def _brackets(self) -> Step:
        self._at += 1
        if self._text.startswith("?(", self._at):
            self._at += 2
            return self._filter()
        paths = [self._inside()]
        while self._next() == ",":
            self._at += 1
            paths.append(self._inside())
        if self._next() != "]":
            raise self._wrong("unterminated array: expected ]")
        self._at += 1
        return paths[0][0] if len(paths) == 1 and len(paths[0]) == 1 else Union(tuple(paths))

    def _inside(self) -> Path:
        """One of the things that brackets hold: *, an index, a slice, or quoted fields."""
        self._blanks()
        character = self._next()
        if character == "*":
            self._at += 1
            self._blanks()
            return (Every(),)
        if character and character in "\"'":
            start = self._at
            end = self._end_of_quote()
            self._blanks()
            names = re.split(r"(?<!\\)\.", self._text[start + 1 : end])
            return tuple(Field(re.sub(r"\\(.)", r"\1", name)) for name in names)
        found = _SLICE.match(self._text, self._at)
        if found is None or not found[0].strip():
            raise self._wrong("invalid array index")
        self._at = found.end()
        if found[2] is None:
            return (Index(int(found[1])),)
        start_at, stop, step = (int(part) if part else None for part in (found[1], found[3], found[5]))
        if step is not None and step <= 0:
            raise self._wrong("step must be > 0")
        return (Slice(start_at, stop, step),)

    def _filter(self) -> Filter:
        self._deeper()
        left = self._side()
        operator = _OPERATOR.match(self._text, self._at)
        right: Path = ()
        if operator is not None:
            if operator[0] not in OPERATORS:
                raise self._wrong(f"unrecognized filter operator {operator[0]}: there are {' '.join(OPERATORS)}")
            self._at = operator.end()
            right = self._side()
        if not self._text.startswith(")]", self._at):
            raise self._wrong("unterminated filter: expected )]")
        self._at += 2
        self._depth -= 1
        return Filter(left, operator[0] if operator else "", right)

    def _side(self) -> Path:
        """One side of a comparison."""
        start = self._at
        path = self._path(_ENDS_IN_FILTER)
        if not self._text[start : self._at].strip():
            raise self._wrong("a filter needs a path, or a comparison")
        return path

    def _quoted(self) -> str:
        start = self._at
        text = self._text[start + 1 : self._end_of_quote()]
        return _ESCAPE.sub(_meaning, text)

    def _end_of_quote(self) -> int:
        """Where the quote here ends; goes on behind it."""
        found = _QUOTED.match(self._text, self._at)
        if found is None:
            raise self._wrong("unterminated quoted string")
        self._at = found.end()
        return found.end() - 1

    def _word(self) -> str:
        self._blanks()
        found = _WORD.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]

    def _next(self) -> str:
        """The next character; empty at the end."""
        return self._text[self._at : self._at + 1]

    def _blanks(self) -> None:
        while self._next() and self._next() in _BLANKS:
            self._at += 1

    def _close(self) -> None:
        self._blanks()
        if self._next() != "}":
            raise self._wrong(f"unexpected {self._next()!r}" if self._next() else "unclosed action: expected }")
        self._at += 1

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(f"nested more than {MAX_DEPTH} levels deep")

    def _wrong(self, reason: str) -> JsonPathError:
        return JsonPathError(f"jsonpath: column {min(self._at, len(self._text)) + 1}: {reason}")


# `{.}`, and the dot that ends `{.items[*].}`.
_ITSELF = Union(((),))


def _meaning(escape: re.Match[str]) -> str:
    word = escape[1]
    if word[0] == "u" and len(word) > 1:
        found = chr(int(word[1:], 16))
        return "\ufffd" if "\ud800" <= found <= "\udfff" else found
    return _ESCAPES.get(word, word)
