"""Renders a parsed template with a value.

Invariant: work and memory are bounded, whatever the template says. Every step has its cost, text by its length; a
template that spends more than `MAX_COST` ends in an error.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tortie.cli.gotemplate.errors import Source, TemplateError
from tortie.cli.gotemplate.functions import Function as Call
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
    Operand,
    Pipe,
    Range,
    Text,
    Variable,
)
from tortie.cli.gotemplate.parser import Parsed
from tortie.cli.gotemplate.values import NO_VALUE, Struct, elements, is_true, show, type_name, with_texts

# A hundred thousand endpoints in twenty actions each are two million steps.
MAX_COST = 20_000_000
CHARACTERS_PER_STEP = 8
MAX_INCLUDES = 50  # templates within templates

Change = Callable[[str], str]


class _Jumped(Exception):
    """{{break}} or {{continue}} on its way to its {{range}}."""

    def __init__(self, word: str) -> None:
        self.word = word


@dataclass
class _Variable:
    name: str
    value: Any


class Renderer:
    """One rendering. With `change`, every text of the data is changed before an action prints it; what decides
    which actions run is not."""

    def __init__(self, source: Source, parsed: Parsed, calls: Mapping[str, Call], change: Change | None = None) -> None:
        self._source = source
        self._parsed = parsed
        self._calls = calls
        self._change = change
        self._changing = False
        self._out: list[str] = []
        self._cost = 0
        self._includes = 0
        self._variables: list[_Variable] = []  # the innermost last

    def render(self, root: Any) -> str:
        """Raises TemplateError."""
        try:
            self._template(self._parsed.body, root)
        except RecursionError:
            raise self._failed(0, "templates and brackets are nested too deeply") from None
        return "".join(self._out)

    def _template(self, body: Body, value: Any) -> None:
        outer, self._variables = self._variables, [_Variable("$", value)]
        self._body(body, value)
        self._variables = outer

    def _body(self, body: Body, dot: Any) -> None:
        for node in body:
            match node:
                case Text():
                    self._spend(0, len(node.text))
                    self._out.append(node.text)
                case Action():
                    self._action(node.pipe, dot)
                case If():
                    self._if(node, dot)
                case Range():
                    self._range(node, dot)
                case Include():
                    self._include(node, dot)
                case Jump():
                    raise _Jumped(node.word)

    def _action(self, pipe: Pipe, dot: Any) -> None:
        self._changing = self._change is not None and not pipe.variables
        value = self._pipe(pipe, dot)
        self._changing = False
        if not pipe.variables:
            text = show(value)
            self._spend(pipe.position, len(text))
            self._out.append(text)

    def _if(self, node: If, dot: Any) -> None:
        mark = len(self._variables)
        value = self._pipe(node.pipe, dot)
        if is_true(value):
            self._body(node.body, value if node.sets_dot else dot)
        else:
            self._body(node.otherwise, dot)
        del self._variables[mark:]

    def _range(self, node: Range, dot: Any) -> None:
        outer = len(self._variables)
        pipe = node.pipe
        try:
            pairs = elements(self._pipe(pipe._replace(variables=()), dot))
        except TypeError as error:
            raise self._failed(pipe.position, str(error)) from None
        ran = False
        for key, element in pairs:
            ran = True
            self._spend(pipe.position)
            self._assign(pipe, (element,) if len(pipe.variables) == 1 else (key, element))
            try:
                self._body(node.body, element)
            except _Jumped as jump:
                if jump.word == "break":
                    break
            finally:
                del self._variables[outer:]
        if not ran:
            self._body(node.otherwise, dot)
            del self._variables[outer:]

    def _include(self, node: Include, dot: Any) -> None:
        if node.name not in self._parsed.defined:
            raise self._failed(node.position, f'template "{node.name}" not defined')
        value = self._pipe(node.pipe, dot) if node.pipe else None
        self._includes += 1
        if self._includes > MAX_INCLUDES:
            raise self._failed(node.position, f"more than {MAX_INCLUDES} templates within each other")
        self._template(self._parsed.defined[node.name], value)
        self._includes -= 1

    def _pipe(self, pipe: Pipe, dot: Any) -> Any:
        value: Any = NO_VALUE
        for number, command in enumerate(pipe.commands):
            value = self._command(command, dot, (value,) if number else ())
        self._assign(pipe, (value,))
        return value

    def _assign(self, pipe: Pipe, values: tuple[Any, ...]) -> None:
        for name, value in zip(pipe.variables, values, strict=False):
            if pipe.declares:
                self._variables.append(_Variable(name, value))
            else:
                self._variable(name).value = value

    def _variable(self, name: str) -> _Variable:
        return next(variable for variable in reversed(self._variables) if variable.name == name)

    def _command(self, command: Command, dot: Any, last: tuple[Any, ...]) -> Any:
        self._spend(command.position)
        first, *others = command.arguments
        if not isinstance(first, Function):
            if others or last:
                raise self._failed(command.position, "this is no function: it takes no arguments")
            return self._operand(first, dot)
        if first.name in ("and", "or"):
            return self._junction(first, others, dot, last)
        was_changing, self._changing = self._changing, self._changing and first.name != "StructuralData"
        arguments = [self._operand(argument, dot) for argument in others]
        self._changing = was_changing
        return self._call(first, [*arguments, *last])

    def _call(self, function: Function, arguments: list[Any]) -> Any:
        call = self._calls[function.name]
        self._spend(function.position, sum(len(value) for value in arguments if isinstance(value, str)))
        try:
            return call(*arguments)
        except (TypeError, ValueError, LookupError) as error:
            reason = f"error calling {function.name}: {error.args[0] if error.args else error}"
            try:
                inspect.signature(call).bind(*arguments)
            except TypeError:
                reason = f"wrong number of args for {function.name}: got {len(arguments)}"
            raise self._failed(function.position, reason) from None

    def _junction(self, function: Function, operands: list[Operand], dot: Any, last: tuple[Any, ...]) -> Any:
        """`and` says the first value that is not true, `or` the first that is; else the last."""
        if not operands and not last:
            raise self._failed(function.position, f"wrong number of args for {function.name}: want at least 1 got 0")
        value: Any = None
        for operand in operands:
            value = self._operand(operand, dot)
            if is_true(value) == (function.name == "or"):
                return value
        return last[0] if last else value

    def _operand(self, operand: Operand, dot: Any) -> Any:
        match operand:
            case Literal():
                return operand.value
            case Pipe():
                return self._pipe(operand, dot)
            case Function():
                return self._command(Command((operand,), operand.position), dot, ())
            case Dot():
                value = dot
            case Field():
                value = self._fields(dot, operand.names, operand.position)
            case Variable():
                value = self._fields(self._variable(operand.name).value, operand.names, operand.position)
            case Chain():
                value = self._fields(self._pipe(operand.pipe, dot), operand.names, operand.position)
        return with_texts(value, self._changed) if self._changing else value

    def _changed(self, text: str) -> str:
        self._spend(0)
        return self._change(text) if self._change is not None else text

    def _fields(self, value: Any, names: tuple[str, ...], position: int) -> Any:
        for name in names:
            if value is NO_VALUE:
                return NO_VALUE
            if value is None:
                raise self._failed(position, f"nil pointer evaluating {name}: ask with if or with first")
            try:
                value = value.get(name, NO_VALUE) if isinstance(value, dict) else _field(value, name)
            except LookupError:
                raise self._failed(position, f"can't evaluate field {name} in type {type_name(value)}") from None
        return value

    def _spend(self, position: int, characters: int = 0) -> None:
        self._cost += 1 + characters // CHARACTERS_PER_STEP
        if self._cost > MAX_COST:
            raise self._failed(position, "the template runs or prints without end")

    def _failed(self, position: int, reason: str) -> TemplateError:
        text = self._source.text
        end = text.find("}}", position)
        return self._source.failed(position, text[position : end if end >= 0 else None].strip()[:40], reason)


def _field(value: Any, name: str) -> Any:
    if isinstance(value, Struct):
        return value.field(name)
    raise LookupError(name)
