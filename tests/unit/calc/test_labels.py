"""The label index against asking every selector of every item."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tortie.calc.labels import LabelIndex
from tortie.model.selector import Selector, parse

SELECTORS = [
    "all()",
    "has(a)",
    "!has(a)",
    "a == 'x'",
    "a != 'x'",
    "a in {'x', 'y'}",
    "a not in {'x', 'y'}",
    "a in {}",
    "a contains 'x'",
    "a starts with 'x'",
    "a ends with 'y'",
    "a == 'x' && b == 'x'",
    "a == 'x' || b != 'y'",
    "!(a == 'x' || has(b))",
    "has(a) && !has(b)",
    "!all()",
    "a == 'x' && a == 'y'",
    "!(a starts with 'x')",
    "c == 'x' || (b in {'y'} && a != 'xy')",
]
LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["x", "y", "xy", ""]))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 5), LABELS),
        st.tuples(st.just("drop"), st.integers(0, 5), st.just({})),
        st.tuples(st.just("watch"), st.integers(0, len(SELECTORS) - 1), st.just({})),
        st.tuples(st.just("unwatch"), st.integers(0, len(SELECTORS) - 1), st.just({})),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(STEPS)
def test_members_are_what_the_selectors_say_after_any_steps(
    steps: list[tuple[str, int, dict[str, str]]],
) -> None:
    index = LabelIndex[int]()
    items: dict[int, dict[str, str]] = {}
    known: dict[Selector, set[int]] = {}  # the members as the moves tell of them
    for verb, number, labels in steps:
        selector = parse(SELECTORS[number % len(SELECTORS)])
        if verb == "watch":
            index.watch(selector)
            known.setdefault(selector, set(index.members(selector)))
        elif verb == "unwatch" and selector in known:
            index.unwatch(selector)
            del known[selector]
        elif verb == "put":
            items[number] = labels
            moves = index.put(number, labels)
            for each in moves.gained:
                known[each].add(number)
            for each in moves.lost:
                known[each].remove(number)
        elif verb == "drop" and number in items:
            del items[number]
            moves = index.drop(number)
            assert moves.gained == ()
            for each in moves.lost:
                known[each].remove(number)
        for each, members in known.items():
            assert set(index.members(each)) == members == {n for n, own in items.items() if each.matches(own)}, each
    assert len(index) == len(items)
    for number, labels in items.items():
        assert index.labels(number) == labels
        assert set(index.matching(number)) == {each for each in known if each.matches(labels)}


@pytest.mark.parametrize("text", SELECTORS)
def test_a_selector_that_comes_late_sees_everybody(text: str) -> None:
    chance = random.Random(text)
    index = LabelIndex[int]()
    items = {n: {k: chance.choice(["x", "y", "xy"]) for k in "abc" if chance.random() < 0.5} for n in range(200)}
    for number, labels in items.items():
        index.put(number, labels)
    selector = parse(text)
    index.watch(selector)
    index.watch(selector)
    assert set(index.members(selector)) == {n for n, labels in items.items() if selector.matches(labels)}


def test_a_changed_member_list_does_not_change_the_index() -> None:
    """`all()` and `==` are evaluated by bitmaps that the index keeps."""
    index = LabelIndex[str]()
    index.put("one", {"a": "x"})
    for text in ("all()", "a == 'x'"):
        index.watch(parse(text))
    index.drop("one")
    index.put("two", {"a": "x"})
    index.watch(parse("has(a)"))
    assert list(index.members(parse("has(a)"))) == ["two"]
    assert list(index.members(parse("a == 'x'"))) == ["two"]
