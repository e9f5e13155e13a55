"""The selector language: which labelled objects a policy, a rule, a pool or a peer means.

`parse` turns a text into a `Selector`, which is immutable, equal to every selector with the same canonical text,
and hashable. The language is Calico's: comparisons of a label with literals, `has()`, `all()`, `!`, `&&`, `||`
and brackets. Code that combines selectors builds a tree with `both`, `either` and `negated` and never joins
texts: a substitution in a text would also hit the literals in it.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from tortie.model.codec import stand_in
from tortie.model.selector.ast import Global, Labels, Node, both, either, negated, uses_global
from tortie.model.selector.lexer import SelectorError
from tortie.model.selector.parser import MAX_LENGTH, parse_node

__all__ = [
    "MAX_LENGTH",
    "NamespaceSelector",
    "Selector",
    "SelectorError",
    "both",
    "either",
    "negated",
    "parse",
    "uses_global",
]


class Selector:
    """A parsed selector."""

    __slots__ = ("_text", "node", "source")
    rewrites = False
    is_text = True

    def __init__(self, node: Node, source: str | None = None) -> None:
        self.node: Final = node
        self._text = ""
        self.source: Final = self.text if source is None else source  # as the user wrote it

    @property
    def text(self) -> str:
        """Its canonical form, which may be longer than what `parse` takes. Made when it is first asked for."""
        if not self._text:
            self._text = str(self.node)
        return self._text

    @property
    def id(self) -> str:
        """24 lower-case letters and digits: the same for every selector with this canonical text, for ever.

        120 bits of SHA-256: names of sets derive from it, and nobody may find two selectors that share one.
        """
        import hashlib  # not what each command should wait for

        digest = hashlib.sha256(self.text.encode()).digest()
        return base64.b32encode(digest[:15]).decode().lower()

    def matches(self, labels: Labels) -> bool:
        return self.node.matches(labels)

    @classmethod
    def from_json(cls, value: object) -> Selector:
        """A selector field: any selector but `global()`."""
        selector = _parse_field(value)
        if uses_global(selector.node):
            raise ValueError("global() is allowed only alone, as the namespaceSelector of a rule")
        return selector

    @staticmethod
    def to_json(value: Selector) -> str:
        return value.source

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Selector) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.source

    def __repr__(self) -> str:
        return f"Selector({self.source!r})"


def parse(text: str) -> Selector:
    """The selector that the text says; raises SelectorError with the column and what was expected there."""
    return Selector(parse_node(text), text)


def _parse_field(value: object) -> Selector:
    if not isinstance(value, str):
        raise ValueError("must be a selector, a text such as \"role == 'db'\"")
    return parse(value)


def _parse_namespace_selector(value: object) -> Selector:
    selector = _parse_field(value)
    return selector if isinstance(selector.node, Global) else Selector.from_json(value)


if TYPE_CHECKING:
    NamespaceSelector = Selector
else:
    # The namespaceSelector of a rule, which may be exactly `global()`.
    NamespaceSelector = stand_in("NamespaceSelector", Selector, read=_parse_namespace_selector)
