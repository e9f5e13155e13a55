"""Tokens into nodes: the grammar of Go's text/template."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from tortie.cli.gotemplate import literals
from tortie.cli.gotemplate.errors import Source, TemplateError
from tortie.cli.gotemplate.lexer import BLANKS, T, Token, tokens
from tortie.cli.gotemplate.nodes import (
    Action,
    Body,
    Chain,
    Command,
    Dot,
    Field,
    Function,
    If,
    Include,
    Jump,
    Literal,
    Node,
    Operand,
    Pipe,
    Range,
    Text,
    Variable,
)

MAX_DEPTH = 100  # of blocks and brackets

_CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "nil": None}
_KEYWORDS = {"block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"}
_DECLARATION = re.compile(r"(\$\w*)(?:\s*,\s*(\$\w*))?\s*(:=|=)")
_LITERALS = (T.NUMBER, T.STRING, T.RAW, T.CHARACTER)


class Parsed(NamedTuple):
    """The template, and the templates that it defines by name."""

    body: Body
    defined: Mapping[str, Body]


def parse(source: Source, functions: set[str]) -> Parsed:
    """Raises TemplateError; `functions` are those that the template may name."""
    parser = _Parser(source, functions)
    body = parser.template()
    return Parsed(body, parser.defined)


class _Parser:
    def __init__(self, source: Source, functions: set[str]) -> None:
        self._source = source
        self._functions = functions
        self._tokens = tokens(source)
        self._token = next(self._tokens)
        self._variables = ["$"]
        self._depth = 0
        self._ranges = 0
        self.defined: dict[str, Body] = {}

    # Blocks

    def template(self) -> Body:
        body, end = self._body()
        if end.type is not T.END:
            raise self._wrong(end, f"unexpected {{{{{end.text}}}}}")
        return body

    def _body(self) -> tuple[Body, Token]:
        """The nodes up to {{end}}, {{else}} or the end of the template; that word is returned, and read."""
        nodes: list[Node] = []
        self._deeper()
        while self._token.type is not T.END:
            if self._token.type is T.TEXT:
                nodes.append(Text(self._take().text))
                continue
            opening = self._take()
            word = self._token if self._token.type is T.WORD and self._token.text in _KEYWORDS else None
            if word is None:
                pipe = self._pipe("command")
                self._close()
                nodes.append(Action(pipe))
                continue
            self._take()
            if word.text in ("end", "else"):
                self._depth -= 1
                return tuple(nodes), word._replace(position=opening.position)
            if (node := self._keyword(word)) is not None:
                nodes.append(node)
        self._depth -= 1
        return tuple(nodes), self._token

    def _keyword(self, word: Token) -> Node | None:
        match word.text:
            case "if" | "with" | "range":
                return self._branch(word)
            case "break" | "continue":
                if not self._ranges:
                    raise self._wrong(word, f"{{{{{word.text}}}}} outside {{{{range}}}}")
                self._close()
                return Jump(word.text)
            case "define":
                self._define(self._name(word))
                return None
            case "block":
                name = self._name(word)
                pipe = self._pipe("block clause")
                self._define(name)
                return Include(name, pipe, word.position)
        name = self._name(word)
        pipe_or_none = None if self._token.type is T.CLOSE else self._pipe("template clause")
        self._close()
        return Include(name, pipe_or_none, word.position)

    def _branch(self, word: Token) -> Node:
        """The rest of {{if}}, {{with}} or {{range}}, to its {{end}}."""
        outer = len(self._variables)
        pipe = self._pipe(word.text)
        self._close()
        self._ranges += word.text == "range"
        body, end = self._body()
        self._ranges -= word.text == "range"
        otherwise: Body = ()
        if end.text == "else":
            again = self._token
            if again.type is T.WORD and again.text == word.text and word.text in ("if", "with"):
                # {{else if}}: one {{end}} closes both.
                self._take()
                self._deeper()
                otherwise = (self._branch(again),)
                self._depth -= 1
                del self._variables[outer:]
                return If(pipe, body, otherwise, word.text == "with")
            self._close()
            otherwise, end = self._body()
            if end.text == "else":
                raise self._wrong(end, "expected end; found {{else}}")
        if end.type is T.END:
            raise self._wrong(end, f"unexpected EOF: {{{{{word.text}}}}} has no {{{{end}}}}")
        self._close()
        del self._variables[outer:]
        if word.text == "range":
            return Range(pipe, body, otherwise)
        return If(pipe, body, otherwise, word.text == "with")

    def _define(self, name: str) -> None:
        self._close()
        variables, self._variables = self._variables, ["$"]
        ranges, self._ranges = self._ranges, 0
        body, end = self._body()
        self._variables, self._ranges = variables, ranges
        if end.text != "end":
            raise self._wrong(end, f"the definition of {name!r} has no {{{{end}}}}")
        self._close()
        is_empty = all(isinstance(node, Text) and not node.text.strip(BLANKS) for node in body)
        if not (is_empty and name in self.defined):
            self.defined[name] = body

    def _name(self, word: Token) -> str:
        token = self._take()
        if token.type not in (T.STRING, T.RAW):
            raise self._wrong(token, f"unexpected {_shown(token)} in {word.text} clause: the name must be in quotes")
        return self._text(token)

    # Pipelines

    def _pipe(self, context: str) -> Pipe:
        """A pipeline, up to the token that ends it, which is left."""
        start = self._token.position
        variables, declares = self._declared(context)
        commands = [self._command(context)]
        while self._token.type is T.PIPE:
            self._take()
            commands.append(self._command(context))
        for command in commands[1:]:
            if not isinstance(command.arguments[0], Function | Field | Variable | Chain):
                place = Token(T.TEXT, "", command.position)
                raise self._wrong(place, "what stands behind | must be a function")
        if declares:
            self._variables += variables
        return Pipe(tuple(commands), start, variables, declares)

    def _declared(self, context: str) -> tuple[tuple[str, ...], bool]:
        """`$x :=`, `$i, $e :=` or `$x =` at the beginning of a pipeline, if it is there."""
        rest = _DECLARATION.match(self._source.text, self._token.position)
        if self._token.type is not T.VARIABLE or rest is None:
            return (), False
        names = tuple(name for name in rest.groups()[:2] if name is not None)
        if len(names) == 2 and context != "range":
            raise self._wrong(self._token, f"too many declarations in {context}")
        for name in names if rest[3] == "=" else ():
            self._known(name, self._token)
        while self._take().type not in (T.DECLARE, T.ASSIGN):
            pass
        return names, rest[3] == ":="

    def _command(self, context: str) -> Command:
        start = self._token
        arguments: list[Operand] = []
        while self._token.type not in (T.PIPE, T.CLOSE, T.RIGHT):
            if arguments and not self._token.after_blank:
                raise self._wrong(self._token, f"unexpected {_shown(self._token)} in operand")
            arguments.append(self._operand())
        if not arguments:
            raise self._wrong(
                start, f"missing value for {context}" if start.type is T.CLOSE else "missing value for command"
            )
        if len(arguments) > 1 and not isinstance(arguments[0], Function | Field | Variable | Chain):
            raise self._wrong(start, f"can't give argument to non-function {start.text}")
        return Command(tuple(arguments), start.position)

    def _operand(self) -> Operand:
        token = self._take()
        match token.type:
            case T.LEFT:
                self._deeper()
                pipe = self._pipe("parenthesized pipeline")
                self._depth -= 1
                if self._token.type is not T.RIGHT:
                    raise self._wrong(self._token, f"unclosed left paren, found {_shown(self._token)}")
                self._take()
                names = self._fields()
                return Chain(pipe, names, token.position) if names else pipe
            case T.DOT:
                return Dot(token.position)
            case T.FIELD:
                return Field((token.text[1:], *self._fields()), token.position)
            case T.VARIABLE:
                self._known(token.text, token)
                return Variable(token.text, self._fields(), token.position)
            case T.WORD if token.text in _CONSTANTS:
                return Literal(_CONSTANTS[token.text], token.position, token.text)
            case T.WORD if token.text in self._functions:
                return Function(token.text, token.position)
            case T.WORD:
                raise self._wrong(token, f'function "{token.text}" not defined')
            case _ if token.type in _LITERALS:
                return Literal(self._literal(token), token.position, token.text)
        raise self._wrong(token, f"unexpected {_shown(token)} in operand")

    def _fields(self) -> tuple[str, ...]:
        """The fields that follow without a blank."""
        names: list[str] = []
        while self._token.type is T.FIELD and not self._token.after_blank:
            names.append(self._take().text[1:])
        return tuple(names)

    def _literal(self, token: Token) -> Any:
        try:
            if token.type is T.NUMBER:
                return literals.number(token.text)
            if token.type is T.CHARACTER:
                return literals.character(token.text)
            return self._text(token)
        except ValueError as error:
            raise self._wrong(token, str(error)) from None

    def _text(self, token: Token) -> str:
        if token.type is T.RAW:
            return token.text[1:-1]
        try:
            return literals.unquoted(token.text)
        except ValueError as error:
            raise self._wrong(token, str(error)) from None

    # Tokens

    def _take(self) -> Token:
        token = self._token
        if token.type is not T.END:
            self._token = next(self._tokens)
        return token

    def _close(self) -> None:
        if self._token.type is not T.CLOSE:
            raise self._wrong(self._token, f"unexpected {_shown(self._token)}")
        self._take()

    def _known(self, name: str, token: Token) -> None:
        if name not in self._variables:
            raise self._wrong(token, f'undefined variable "{name}"')

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(self._token, f"nested more than {MAX_DEPTH} levels deep")

    def _wrong(self, token: Token, reason: str) -> TemplateError:
        return self._source.unreadable(token.position, reason)


def _shown(token: Token) -> str:
    match token.type:
        case T.END:
            return "EOF"
        case T.CLOSE:
            return "}}"
    return f'"{token.text[:20]}"'
