"""The selector language: what is a selector, what it matches, and that its canonical text is the same selector."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.model.selector import MAX_LENGTH, Selector, SelectorError, both, either, negated, parse
from tortie.model.selector.ast import (
    All,
    And,
    Contains,
    EndsWith,
    Equal,
    Global,
    Has,
    In,
    Node,
    Not,
    NotEqual,
    NotIn,
    Or,
    StartsWith,
    quoted,
)

GOOD = {
    # text: canonical text
    "": "all()",
    " \t ": "all()",
    "all()": "all()",
    "all( \t)": "all()",
    "global()": "global()",
    "global( )": "global()",
    "has(role)": "has(role)",
    "has( role )": "has(role)",
    "role == 'db'": 'role == "db"',
    'role=="db"': 'role == "db"',
    "role == ''": 'role == ""',
    "role == 'say \"hi\"'": "role == 'say \"hi\"'",
    'role == "it\'s"': 'role == "it\'s"',
    "role == 'a && b || !c'": 'role == "a && b || !c"',
    "role != 'db'": 'role != "db"',
    "role in {'b', 'a', 'b'}": 'role in {"a", "b"}',
    "role in{'a'}": 'role in {"a"}',
    "role in {}": "role in {}",
    "role in {'a',}": 'role in {"a"}',
    "role not in {'a'}": 'role not in {"a"}',
    "role notin {'a'}": 'role not in {"a"}',
    "role not \t in {'a'}": 'role not in {"a"}',
    "role contains 'd'": 'role contains "d"',
    "role starts with 'd'": 'role starts with "d"',
    "role startswith 'd'": 'role starts with "d"',
    "role ends with 'd'": 'role ends with "d"',
    "role endswith'd'": 'role ends with "d"',
    "!has(a)": "!has(a)",
    "! has(a)": "!has(a)",
    "!all()": "!all()",
    "!a == 'b'": '!(a == "b")',
    "!(a == 'b')": '!(a == "b")',
    "!!has(a)": "has(a)",
    "!!!has(a)": "!has(a)",
    "!(!has(a))": "has(a)",
    "((has(a)))": "has(a)",
    "has(a) && has(b) || has(c)": "has(a) && has(b) || has(c)",
    "has(a) || has(b) && has(c)": "has(a) || has(b) && has(c)",
    "(has(a) || has(b)) && has(c)": "(has(a) || has(b)) && has(c)",
    "(has(a) && has(b)) && has(c)": "has(a) && has(b) && has(c)",
    "has(a) && (has(b) && has(c))": "has(a) && has(b) && has(c)",
    "has(a) || (has(b) || has(c))": "has(a) || has(b) || has(c)",
    "!(has(a) && has(b))": "!(has(a) && has(b))",
    "!has(a) && has(b)": "!has(a) && has(b)",
    # Words of the language are labels where no operator can stand.
    "in == 'a'": 'in == "a"',
    "in in {'in'}": 'in in {"in"}',
    "not not in {'a'}": 'not not in {"a"}',
    "contains contains 'a'": 'contains contains "a"',
    "has == 'a'": 'has == "a"',
    "all == 'a'": 'all == "a"',
    "global != 'a'": 'global != "a"',
    "has(has)": "has(has)",
    "starts starts with 'a'": 'starts starts with "a"',
    "projectcalico.org/namespace == 'x'": 'projectcalico.org/namespace == "x"',
    "a-b_c.d/e == 'x'": 'a-b_c.d/e == "x"',
    f"{'x' * 512} == 'a'": f'{"x" * 512} == "a"',
}

BAD = {
    # text: (column, expected)
    "a": (2, "=="),
    "a b": (3, "=="),
    "a = 'b'": (3, "=="),
    "a == b": (6, "a quoted value"),
    "a == ": (6, "a quoted value"),
    "a == 'b": (6, "a closing '"),
    "a == \"b'": (6, 'a closing "'),
    "a == 'b' c": (10, "&& or ||"),
    "a == 'it's'": (10, "&& or ||"),
    "a == 'b' &": (10, "&&"),
    "a == 'b' | c == 'd'": (10, "||"),
    "a == 'b' &&": (12, "a label"),
    "&& a == 'b'": (1, "a label"),
    "(a == 'b'": (10, ")"),
    "a == 'b')": (9, "&& or ||"),
    "()": (2, "a label"),
    "!": (2, "a label"),
    "a ! in {'b'}": (3, "=="),
    "a in 'b'": (6, "{"),
    "a in {b}": (7, "a quoted value or }"),
    "a in {'b' 'c'}": (11, "a comma or }"),
    "a in {,}": (7, "a quoted value or }"),
    "a in {'b',,}": (11, "a quoted value or }"),
    "a in {'b'": (10, "a comma or }"),
    "a not {'b'}": (3, "=="),
    "a inn {'b'}": (3, "=="),
    "a containsx 'b'": (3, "=="),
    "a starts 'b'": (3, "=="),
    "has (a)": (5, "=="),
    "has()": (4, "=="),
    "has('a')": (4, "=="),
    "all ()": (5, "=="),
    "all(x)": (4, "=="),
    "all() all()": (7, "&& or ||"),
    "a == 'b'\n&& has(c)": (9, "&& or ||"),
    "a ==\u00a0'b'": (5, "a quoted value"),
    "ä == 'b'": (1, "a label"),
    "a@b == 'c'": (2, "=="),
    "'a' == 'b'": (1, "a label"),
    f"{'x' * 513} == 'a'": (1, "512"),
    " " * MAX_LENGTH + "x": (MAX_LENGTH + 1, "1024"),
}


@pytest.mark.parametrize("text", GOOD)
def test_text_has_its_canonical_form(text: str) -> None:
    assert parse(text).text == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_text_is_refused_at_its_column(text: str) -> None:
    column, expected = BAD[text]
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert caught.value.column == column
    assert expected in caught.value.expected
    assert f"column {column}" in str(caught.value)


MATCHES = [
    # selector, labels, whether it matches
    ("all()", {}, True),
    ("!all()", {"a": "b"}, False),
    ("a == 'b'", {"a": "b"}, True),
    ("a == 'b'", {"a": "B"}, False),
    ("a == ''", {"a": ""}, True),
    ("a == ''", {}, False),
    ("a != 'b'", {}, True),
    ("a != 'b'", {"a": "c"}, True),
    ("a != 'b'", {"a": "b"}, False),
    ("a in {'b', 'c'}", {"a": "c"}, True),
    ("a in {'b', 'c'}", {"a": "d"}, False),
    ("a in {'b', 'c'}", {}, False),
    ("a in {}", {"a": ""}, False),
    ("a not in {'b'}", {}, True),
    ("a not in {'b'}", {"a": "c"}, True),
    ("a not in {'b'}", {"a": "b"}, False),
    ("a not in {}", {"a": "b"}, True),
    ("a contains 'b'", {"a": "abc"}, True),
    ("a contains ''", {"a": "abc"}, True),
    ("a contains ''", {}, False),
    ("a starts with 'ab'", {"a": "abc"}, True),
    ("a starts with 'bc'", {"a": "abc"}, False),
    ("a starts with 'ab'", {}, False),
    ("a ends with 'bc'", {"a": "abc"}, True),
    ("a ends with 'ab'", {"a": "abc"}, False),
    ("a ends with 'ab'", {}, False),
    ("has(a)", {"a": ""}, True),
    ("has(a)", {"b": ""}, False),
    ("!has(a)", {}, True),
    # ! binds tighter than &&, && tighter than ||.
    ("!has(a) && has(b)", {"b": ""}, True),
    ("!(has(a) && has(b))", {"a": ""}, True),
    ("has(a) || has(b) && has(c)", {"a": ""}, True),
    ("(has(a) || has(b)) && has(c)", {"a": ""}, False),
]


@pytest.mark.parametrize(("text", "labels", "expected"), MATCHES)
def test_selector_matches_labels(text: str, labels: Mapping[str, str], expected: bool) -> None:
    assert parse(text).matches(labels) is expected


class TestIdentity:
    def test_equal_by_canonical_text(self) -> None:
        one, other = parse("a=='b'&&has(c)"), parse('(a == "b") && (has(c))')
        assert one == other
        assert hash(one) == hash(other)
        assert one.id == other.id
        assert one != parse("a == 'b'")

    def test_source_is_kept_as_written(self) -> None:
        assert parse(" a=='b'").source == " a=='b'"
        assert str(parse(" a=='b'")) == " a=='b'"
        assert Selector(parse("a=='b'").node).source == 'a == "b"'

    def test_id_never_changes(self) -> None:
        # Names of sets in running kernels derive from it.
        assert parse("role == 'db'").id == "lrcxxfgzdn4jjd7r66vstw7b"

    def test_id_fits_a_set_name(self) -> None:
        assert len(f"tortie4{parse('has(a)').id}") <= 31  # IPSET_MAXNAMELEN is 32 with its final NUL

    def test_value_with_both_quotes_has_no_literal(self) -> None:
        with pytest.raises(ValueError, match="both kinds of quote"):
            quoted("'\"")


class TestDepth:
    """The deepest texts that 1024 characters hold."""

    @pytest.mark.parametrize(
        "text",
        [
            "(" * 509 + "all()" + ")" * 509,
            "!" * 1019 + "all()",
            "!(" * 339 + "all()" + ")" * 339,
            "all()&&!(" * 101 + "all()" + ")" * 101,
            "all()||all()&&!(" * 59 + "all()" + ")" * 59,
            "all()||(all()&&(" * 56 + "all()" + "))" * 56,
        ],
    )
    def test_every_use_works_far_down_the_stack(self, text: str) -> None:
        assert len(text) <= MAX_LENGTH

        def use(frames: int) -> None:
            if frames:
                use(frames - 1)
                return
            selector = parse(text)
            assert selector.matches({}) in (True, False)
            assert selector == Selector(selector.node)
            assert selector.node == parse(text).node

        use(sys.getrecursionlimit() // 4)

    def test_only_open_brackets(self) -> None:
        with pytest.raises(SelectorError):
            parse("(" * MAX_LENGTH)


labels = st.sampled_from(["a", "b", "in", "not", "has", "x.y/z-1_2"])
values = st.text(st.sampled_from("ab'}&|! \t"), max_size=4)
leaves = st.one_of(
    st.just(All()),
    st.builds(Has, labels),
    *(st.builds(cls, labels, values) for cls in (Equal, NotEqual, Contains, StartsWith, EndsWith)),
    *(st.builds(cls.of, labels, st.lists(values, max_size=3)) for cls in (In, NotIn)),
)
nodes = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(negated, inner),
        st.builds(both, st.lists(inner, min_size=1, max_size=4)),
        st.builds(either, st.lists(inner, min_size=1, max_size=4)),
    ),
    max_leaves=8,
)


def naive(node: Node, labels: Mapping[str, str]) -> bool:
    """The table of the language, written down a second time."""
    match node:
        case All() | Global():
            return True
        case Has(label):
            return label in labels
        case Equal(label, value):
            return label in labels and labels[label] == value
        case NotEqual(label, value):
            return label not in labels or labels[label] != value
        case Contains(label, value):
            return label in labels and labels[label].find(value) >= 0
        case StartsWith(label, value):
            return label in labels and labels[label][: len(value)] == value
        case EndsWith(label, value):
            return label in labels and (not value or labels[label][-len(value) :] == value)
        case In(label, values):
            return label in labels and any(labels[label] == value for value in values)
        case NotIn(label, values):
            return label not in labels or all(labels[label] != value for value in values)
        case Not(operand):
            return not naive(operand, labels)
        case And(operands):
            return all(naive(operand, labels) for operand in operands)
        case Or(operands):
            return any(naive(operand, labels) for operand in operands)
    raise AssertionError(node)


@given(nodes)
def test_parsing_the_canonical_text_gives_the_same_tree(node: Node) -> None:
    assert parse(str(node)).node == node


@given(nodes, st.dictionaries(labels, values))
def test_matching_agrees_with_the_naive_evaluator(node: Node, labels: Mapping[str, str]) -> None:
    assert node.matches(labels) == naive(node, labels)


@given(st.text(st.sampled_from("ab=!&|(){}'\", \tinhasl"), max_size=40))
def test_any_text_is_a_selector_or_an_error_within_it(text: str) -> None:
    try:
        selector = parse(text)
    except SelectorError as error:
        column = error.column
    else:
        column = 1
        assert parse(selector.text) == selector
    assert 1 <= column <= len(text) + 1
