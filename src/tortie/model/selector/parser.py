"""Tokens into a syntax tree.

    expression = conjunction { "||" conjunction }
    conjunction = operand { "&&" operand }
    operand = { "!" } ( "(" expression ")" | comparison | "has(" label ")" | "all()" | "global()" )
    comparison = label ( "==" | "!=" | "contains" | "starts with" | "ends with" ) literal
               | label ( "in" | "not in" ) "{" [ literal { "," literal } [ "," ] ] "}"

Open brackets are kept on a list, not on the interpreter's stack: the depth of a text costs memory only.
"""

from __future__ import annotations

from tortie.model.selector.ast import (
    All,
    Comparison,
    Contains,
    EndsWith,
    Equal,
    Global,
    Has,
    In,
    Membership,
    Node,
    NotEqual,
    NotIn,
    StartsWith,
    both,
    either,
    negated,
)
from tortie.model.selector.lexer import BLANKS, SelectorError, T, Token, tokens

# The API's limit on every selector field; it also bounds the depth of the tree (see ast).
MAX_LENGTH = 1024

_COMPARISONS: dict[str, type[Comparison]] = {
    T.EQUAL: Equal,
    T.NOT_EQUAL: NotEqual,
    T.CONTAINS: Contains,
    T.STARTS_WITH: StartsWith,
    T.ENDS_WITH: EndsWith,
}
_MEMBERSHIPS: dict[str, type[Membership]] = {T.IN: In, T.NOT_IN: NotIn}

_OPERAND = "a label, has(), all(), ! or ("
_OPERATOR = "==, !=, in, not in, contains, starts with or ends with"


def parse_node(text: str) -> Node:
    """The tree of the text, `All` for an empty one; raises SelectorError."""
    if len(text) > MAX_LENGTH:
        raise SelectorError(text, MAX_LENGTH + 1, f"at most {MAX_LENGTH} characters")
    return _Parser(text).expression() if text.strip(BLANKS) else All()


class _Group:
    """An expression being read: the whole text, or what stands between a bracket and its end."""

    def __init__(self, negate: bool) -> None:
        self.negate = negate  # a "!" stands before the bracket
        self.alternatives: list[Node] = []  # complete operands of "||"
        self.conjuncts: list[Node] = []  # operands of the "&&" being read

    def end_conjunction(self) -> None:
        self.alternatives.append(both(self.conjuncts))
        self.conjuncts = []

    def add(self, node: Node, negate: bool) -> None:
        self.conjuncts.append(negated(node) if negate else node)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)

    def expression(self) -> Node:
        open_groups = [_Group(negate=False)]
        while True:
            self._operand(open_groups)
            node = self._after_operand(open_groups)
            if node is not None:
                return node

    def _operand(self, open_groups: list[_Group]) -> None:
        """Reads up to the end of one operand, opening a group for each bracket on the way."""
        negate = False
        while True:
            token = next(self._tokens)
            kind, value, _ = token
            match kind:
                case T.NOT:
                    negate = not negate
                    continue
                case T.OPEN:
                    open_groups.append(_Group(negate))
                    negate = False
                    continue
                case T.LABEL:
                    node = self._comparison(value)
                case T.HAS:
                    node = Has(value)
                case T.ALL:
                    node = All()
                case T.GLOBAL:
                    node = Global()
                case _:
                    raise self._unexpected(token, _OPERAND)
            open_groups[-1].add(node, negate)
            return

    def _after_operand(self, open_groups: list[_Group]) -> Node | None:
        """Reads closing brackets and the operator after them; at the end of the text it has the whole tree."""
        expected = "&&, || or )" if len(open_groups) > 1 else "&& or ||"
        while True:
            token = next(self._tokens)
            group = open_groups[-1]
            match token[0]:
                case T.AND:
                    return None
                case T.OR:
                    group.end_conjunction()
                    return None
                case T.CLOSE if len(open_groups) > 1:
                    group.end_conjunction()
                    open_groups.pop()
                    open_groups[-1].add(either(group.alternatives), group.negate)
                case T.END if len(open_groups) == 1:
                    group.end_conjunction()
                    return either(group.alternatives)
                case _:
                    raise self._unexpected(token, expected)

    def _comparison(self, label: str) -> Node:
        operator = next(self._tokens)
        kind = operator[0]
        if kind in _COMPARISONS:
            return _COMPARISONS[kind](label, self._expect(T.LITERAL))
        if kind in _MEMBERSHIPS:
            return _MEMBERSHIPS[kind].of(label, self._set())
        raise self._unexpected(operator, _OPERATOR)

    def _set(self) -> list[str]:
        self._expect(T.SET_OPEN)
        values: list[str] = []
        while True:
            token = next(self._tokens)
            kind, value, _ = token
            if kind == T.SET_CLOSE:
                return values
            if kind != T.LITERAL:
                raise self._unexpected(token, "a quoted value or }")
            values.append(value)
            separator = next(self._tokens)
            if separator[0] == T.SET_CLOSE:
                return values
            if separator[0] != T.COMMA:
                raise self._unexpected(separator, "a comma or }")

    def _expect(self, wanted: str) -> str:
        """The value of the next token, which must be of that kind."""
        token = next(self._tokens)
        kind, value, _ = token
        if kind != wanted:
            raise self._unexpected(token, wanted)
        return value

    def _unexpected(self, token: Token, expected: str) -> SelectorError:
        return SelectorError(self._text, token[2], expected)
