"""The syntax tree of a selector: what it says, whether labels match it, and its canonical text.

Invariants, kept by `both`, `either` and `negated`, through which every composite node is made:
* no `And` directly below an `And`, no `Or` below an `Or`, no `Not` below a `Not`, so equal meaning by
  association has one form;
* the values of a set are sorted and distinct.

Methods recurse once per level. A text of 1024 characters cannot nest deeper than about 200 levels once brackets
are gone, which is what keeps them clear of the interpreter's recursion limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

Labels = Mapping[str, str]


class Node(msgspec.Struct, frozen=True):
    """One expression; `str()` is its canonical text."""

    def matches(self, labels: Labels) -> bool:
        raise NotImplementedError


class All(Node, frozen=True):
    """Always true: `all()` and the empty selector."""

    def matches(self, labels: Labels) -> bool:
        return True

    def __str__(self) -> str:
        return "all()"


class Global(Node, frozen=True):
    """Always true, and legal only alone in the namespaceSelector of a rule, where it means "without namespace"."""

    def matches(self, labels: Labels) -> bool:
        return True

    def __str__(self) -> str:
        return "global()"


class Has(Node, frozen=True):
    """The label is present, whatever its value."""

    label: str

    def matches(self, labels: Labels) -> bool:
        return self.label in labels

    def __str__(self) -> str:
        return f"has({self.label})"


class Comparison(Node, frozen=True):
    """A label against one literal; `operator` is the word between them."""

    operator = ""

    label: str
    value: str

    def __str__(self) -> str:
        return f"{self.label} {self.operator} {quoted(self.value)}"


class Equal(Comparison, frozen=True):
    """The label is present and has this value."""

    operator = "=="

    def matches(self, labels: Labels) -> bool:
        return labels.get(self.label) == self.value


class NotEqual(Comparison, frozen=True):
    """The label is absent, or has another value."""

    operator = "!="

    def matches(self, labels: Labels) -> bool:
        return labels.get(self.label) != self.value


class Contains(Comparison, frozen=True):
    """The label is present and the literal is part of its value."""

    operator = "contains"

    def matches(self, labels: Labels) -> bool:
        return self.label in labels and self.value in labels[self.label]


class StartsWith(Comparison, frozen=True):
    """The label is present and its value begins with the literal."""

    operator = "starts with"

    def matches(self, labels: Labels) -> bool:
        return self.label in labels and labels[self.label].startswith(self.value)


class EndsWith(Comparison, frozen=True):
    """The label is present and its value ends with the literal."""

    operator = "ends with"

    def matches(self, labels: Labels) -> bool:
        return self.label in labels and labels[self.label].endswith(self.value)


class Membership(Node, frozen=True):
    """A label against a set of literals, which may be empty; `of` makes it from values in any order."""

    operator = ""

    label: str
    values: tuple[str, ...]

    @classmethod
    def of(cls, label: str, values: Iterable[str]) -> Node:
        return cls(label, tuple(sorted(set(values))))

    def __str__(self) -> str:
        return f"{self.label} {self.operator} {{{', '.join(map(quoted, self.values))}}}"


class In(Membership, frozen=True):
    """The label is present and its value is in the set."""

    operator = "in"

    def matches(self, labels: Labels) -> bool:
        return labels.get(self.label) in self.values


class NotIn(Membership, frozen=True):
    """The label is absent, or its value is not in the set."""

    operator = "not in"

    def matches(self, labels: Labels) -> bool:
        return labels.get(self.label) not in self.values


class Not(Node, frozen=True):
    """The operand is false."""

    operand: Node

    def matches(self, labels: Labels) -> bool:
        return not self.operand.matches(labels)

    def __str__(self) -> str:
        bare = isinstance(self.operand, Has | All | Global)
        return f"!{self.operand}" if bare else f"!({self.operand})"


class And(Node, frozen=True):
    """Every operand is true; at least two."""

    operands: tuple[Node, ...]

    def matches(self, labels: Labels) -> bool:
        for operand in self.operands:  # noqa: SIM110 - a generator would cost a second frame per level
            if not operand.matches(labels):
                return False
        return True

    def __str__(self) -> str:
        return " && ".join([f"({node})" if isinstance(node, Or) else str(node) for node in self.operands])


class Or(Node, frozen=True):
    """Some operand is true; at least two."""

    operands: tuple[Node, ...]

    def matches(self, labels: Labels) -> bool:
        for operand in self.operands:  # noqa: SIM110 - a generator would cost a second frame per level
            if operand.matches(labels):
                return True
        return False

    def __str__(self) -> str:
        return " || ".join([str(node) for node in self.operands])


def both(nodes: Iterable[Node]) -> Node:
    """All of the nodes (at least one) hold."""
    flat: list[Node] = []
    for node in nodes:
        flat.extend(node.operands if isinstance(node, And) else [node])
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def either(nodes: Iterable[Node]) -> Node:
    """Some of the nodes (at least one) holds."""
    flat: list[Node] = []
    for node in nodes:
        flat.extend(node.operands if isinstance(node, Or) else [node])
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def negated(node: Node) -> Node:
    """The node does not hold."""
    return node.operand if isinstance(node, Not) else Not(node)


def uses_global(node: Node) -> bool:
    """Whether `global()` occurs anywhere in the expression."""
    if isinstance(node, And | Or):
        return any(map(uses_global, node.operands))
    if isinstance(node, Not):
        return uses_global(node.operand)
    return isinstance(node, Global)


def quoted(value: str) -> str:
    """The value as a literal. The language has no escapes, so a value with both quotes has no literal: ValueError."""
    quote = "'" if '"' in value else '"'
    if quote in value:
        raise ValueError(f"{value!r} holds both kinds of quote and cannot be written in a selector")
    return f"{quote}{value}{quote}"
