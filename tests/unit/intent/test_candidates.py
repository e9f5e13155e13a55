"""Policies found by a lookup against those of the tier asked in turn: the same becomes of every packet."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.intent.policy_text import policy
from tests.unit.intent.test_folding import TABLES, some_packet
from tortie.intent.candidates import MAX_LISTS, MAX_VALUES, MIN_POLICIES, Index, Step, candidates, reach
from tortie.intent.evaluate import matches
from tortie.intent.folding import Field
from tortie.intent.packet import Packet
from tortie.intent.policy import FAMILIES, Action, Direction, Family, ObjectKey, Policy

EIGHT = range(8)


def found(policies: Sequence[Policy], family: Family = 4) -> tuple[Step, ...]:
    return candidates((each.key, reach(each, Direction.INGRESS, family)) for each in policies)


def named(texts: Iterable[str]) -> list[Policy]:
    """Policies p0, p1, ...; a semicolon ends a rule."""
    return [policy(f"p{n}", ingress=text.replace(";", "\n")) for n, text in enumerate(texts)]


def shape(steps: tuple[Step, ...]) -> list[str]:
    return [
        f"{len(step.policies)} by {step.field}, {'hash' if step.exact else 'interval'} of {len(step.entries)}"
        if isinstance(step, Index)
        else step.name
        for step in steps
    ]


PORTS = [f"Allow tcp destination={n}" for n in EIGHT]
FROM = [f"Allow source=10.0.0.{n}/32" for n in EIGHT]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], []),
        (PORTS, ["8 by destination port, hash of 8"]),
        (PORTS[: MIN_POLICIES - 1], ["p0", "p1", "p2"]),
        ([f"Allow tcp source={n}" for n in EIGHT], ["8 by source port, hash of 8"]),
        ([f"Allow destination=10.{n}.0.0/16" for n in EIGHT], ["8 by destination, interval of 8"]),
        (
            [f"Allow tcp destination={n},{n + 100};Allow udp destination={n}" for n in EIGHT],
            ["8 by destination port, hash of 16"],
        ),
        # Sets may be anything; what else the rule names is enough.
        ([f"Allow tcp source=in:web destination={n}" for n in EIGHT], ["8 by destination port, hash of 8"]),
        (["Allow source=in:web"] * 8, [f"p{n}" for n in EIGHT]),
        (["Allow tcp destination=80,named:http"] * 8, [f"p{n}" for n in EIGHT]),
        # One rule that names nothing is enough to be asked always.
        ([f"Allow tcp destination={n};Allow udp" for n in EIGHT], [f"p{n}" for n in EIGHT]),
        # Two ways beside each other, where all do the same.
        (
            [text for n in EIGHT for text in (PORTS[n], FROM[n])],
            ["8 by destination port, hash of 8", "8 by source, hash of 8"],
        ),
        (
            [text for n in EIGHT for text in (PORTS[n], "Allow source=in:web")][:9],
            ["5 by destination port, hash of 5", "p1", "p3", "p5", "p7"],
        ),
        # The field that leaves least to be asked; of lists that are long still, by another.
        ([f"Allow tcp source=10.0.0.{n}/32 destination=80" for n in EIGHT], ["8 by source, hash of 8"]),
        # What does otherwise is not overtaken, and overtakes nothing.
        (
            [*PORTS[:4], "Deny source=in:web", *PORTS[4:]],
            ["4 by destination port, hash of 4", "p4", "4 by destination port, hash of 4"],
        ),
        ([*PORTS[:4], "Deny tcp destination=9", *PORTS[4:]], ["9 by destination port, hash of 9"]),
        (
            [*PORTS[:4], "Log", *PORTS[4:]],
            ["4 by destination port, hash of 4", "p4", "4 by destination port, hash of 4"],
        ),
        # A policy without rules, or with none that can match, is asked by nobody.
        ([*PORTS, "", "Allow source=fd00::/64"], ["8 by destination port, hash of 8"]),
        # Prefixes within others.
        (
            ["Allow source=10.0.0.0/8", *(f"Allow source=10.{n}.0.0/16" for n in EIGHT)],
            ["9 by source, interval of 9"],
        ),
        # Too many values.
        (
            ["Allow tcp destination=" + ",".join(str(2 * n + k) for n in range(MAX_VALUES + 1)) for k in EIGHT],
            [f"p{n}" for n in EIGHT],
        ),
    ],
)
def test_what_is_asked(texts: list[str], expected: list[str]) -> None:
    assert shape(found(named(texts))) == expected


def test_a_staged_policy_keeps_its_place() -> None:
    """It counts what those before it leave: nothing that decides comes to stand before it, or behind."""
    policies = named(["Allow source=in:web", *PORTS])
    staged = policy("s", ingress="Allow tcp destination=99", staged=True)
    assert shape(found([*policies[:5], staged, *policies[5:]])) == ["p0", "9 by destination port, hash of 9"]
    anything = policy("s", ingress="Allow", staged=True)
    expected = ["p0", *["4 by destination port, hash of 4", "s", "4 by destination port, hash of 4"]]
    assert shape(found([*policies[:5], anything, *policies[5:]])) == expected


def test_long_lists_are_looked_up_again() -> None:
    policies = named(f"Allow tcp source=10.0.0.{n}/32 destination={port}" for port in EIGHT for n in range(6))
    (index,) = found(policies)
    assert shape((index,)) == ["48 by destination port, hash of 8"]
    assert isinstance(index, Index)
    assert {tuple(shape(steps)) for _, steps in index.entries} == {("6 by source, hash of 6",)}


def test_nobody_stands_in_more_lists_than_allowed() -> None:
    """A wide prefix around many narrow ones is asked always."""
    narrow = [f"Allow source=10.{n}.0.0/24" for n in range(MAX_LISTS)]
    found_by_source = f"{MAX_LISTS} by source, interval of {MAX_LISTS}"
    assert shape(found(named(["Allow source=10.0.0.0/8", *narrow]))) == ["p0", found_by_source]


# --- By chance

NETS = st.sampled_from(
    ["10.0.0.1/32", "10.0.0.2/32", "10.0.0.0/30", "10.0.0.0/8", "10.1.0.0/16", "fd00::1/128", "fd00::/64"]
)
NUMBERS = st.integers(0, 6)
RULES = st.builds(
    lambda *parts: " ".join(filter(None, parts)),
    st.sampled_from(["Allow", "Allow", "Allow", "Deny", "Log"]),
    st.sampled_from(["tcp", "udp", "tcp"]),
    st.one_of(st.just(""), NETS.map("source={}".format)),
    st.one_of(st.just(""), st.just(""), NETS.map("destination={}".format)),
    st.one_of(
        st.just(""),
        NUMBERS.map("destination={}".format),
        st.tuples(NUMBERS, NUMBERS).map(lambda p: f"destination={min(p)}:{max(p)}"),
    ),
    st.sampled_from(["", "", "", "source=in:web", "source!=in:web", "v4"]),
)
POLICIES = st.tuples(st.lists(RULES, max_size=3), st.sampled_from([False, False, False, True]))


@settings(deadline=None)
@given(st.lists(POLICIES, max_size=30), st.integers(0, 2**32))
def test_the_same_becomes_of_every_packet(texts: list[tuple[list[str], bool]], seed: int) -> None:
    chance = random.Random(seed)
    policies = {
        each.key: each
        for n, (rules, staged) in enumerate(texts)
        for each in [policy(f"p{n}", ingress="\n".join(rules), staged=staged)]
    }
    steps = {family: found(list(policies.values()), family) for family in FAMILIES}
    for _ in range(40):
        packet = some_packet(chance)
        asked = [policies[key] for key in asked_of(steps[packet.source.version], packet)]
        assert len({each.key for each in asked}) == len(asked), "a policy is asked twice"
        assert seen(asked, packet) == seen(list(policies.values()), packet)


def asked_of(steps: tuple[Step, ...], packet: Packet) -> Iterator[ObjectKey]:
    values = {
        Field.SOURCE: int(packet.source),
        Field.DESTINATION: int(packet.destination),
        Field.SOURCE_PORT: packet.source_port,
        Field.DESTINATION_PORT: packet.destination_port,
    }
    for step in steps:
        if not isinstance(step, Index):
            yield step
            continue
        value = values[step.field]
        inside = [some for (first, last), some in step.entries if value is not None and first <= value <= last]
        assert len(inside) <= 1, "two entries match"
        for some in inside:
            yield from asked_of(some, packet)


def seen(policies: list[Policy], packet: Packet) -> list[str]:
    """What is logged and counted of a packet, in order, and what becomes of it: of Allow and Deny not by whom."""
    met: list[str] = []
    for each in policies:
        for rule in each.ingress:
            if not matches(rule, packet, TABLES):
                continue
            if rule.action is Action.LOG or each.staged:
                met.append(f"{rule.action} by {rule.origin}")
                if each.staged and rule.action is not Action.LOG:
                    break
            else:
                return [*met, str(rule.action)]
    return met
