"""The parts of a parsed template. `position` is where in its text a part begins."""

from __future__ import annotations

from typing import Any, NamedTuple


class Literal(NamedTuple):
    """A number, text, boolean or nil that stands in the template."""

    value: Any
    position: int
    source: str


class Dot(NamedTuple):
    """`.`, the current value."""

    position: int


class Field(NamedTuple):
    """`.Spec.CIDR`: fields of the current value."""

    names: tuple[str, ...]
    position: int


class Variable(NamedTuple):
    """`$x.Name`: a variable, and fields of it. `$` alone has an empty name: the value that was handed in."""

    name: str
    names: tuple[str, ...]
    position: int


class Function(NamedTuple):
    """The name of a function."""

    name: str
    position: int


class Chain(NamedTuple):
    """`(index .Items 0).Spec`: fields of what a pipeline says."""

    pipe: Pipe
    names: tuple[str, ...]
    position: int


class Command(NamedTuple):
    """A value, or a function and its arguments."""

    arguments: tuple[Operand, ...]
    position: int


class Pipe(NamedTuple):
    """Commands, each of which takes what the one before said as its last argument; and the variables it goes to."""

    commands: tuple[Command, ...]
    position: int
    variables: tuple[str, ...] = ()
    declares: bool = False  # `:=`, else `=`


Operand = Literal | Dot | Field | Variable | Function | Chain | Pipe


class Text(NamedTuple):
    """What is printed as it stands."""

    text: str


class Action(NamedTuple):
    """`{{pipeline}}`, printed unless it goes to a variable."""

    pipe: Pipe


class If(NamedTuple):
    """`{{if}}`, and `{{with}}`, which makes its value the dot."""

    pipe: Pipe
    body: Body
    otherwise: Body
    sets_dot: bool


class Range(NamedTuple):
    """`{{range}}`; `otherwise` is for when there is nothing."""

    pipe: Pipe
    body: Body
    otherwise: Body


class Include(NamedTuple):
    """`{{template "name" pipeline}}`."""

    name: str
    pipe: Pipe | None
    position: int


class Jump(NamedTuple):
    """`{{break}}` or `{{continue}}`."""

    word: str


Node = Text | Action | If | Range | Include | Jump
Body = tuple[Node, ...]
