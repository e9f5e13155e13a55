"""Folded rules against the list they came from: every packet meets the same action, by the rule that stands first or by
one that says the same."""

from __future__ import annotations

import random
from ipaddress import ip_address, ip_network
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.intent.policy_text import policy
from tortie.intent.evaluate import Tables, matches
from tortie.intent.folding import MAX_KEYS_OF_RULE, MIN_RULES, Field, Lookup, Step, fold
from tortie.intent.packet import ICMP, Packet
from tortie.intent.policy import Action, AddressSet, Network, PortRange, Rule

TABLES = Tables(
    {},
    {"web": AddressSet(id="web", addresses={ip_address("10.0.0.1")})},
    {},
)


def rules(text: str) -> tuple[Rule, ...]:
    return policy("p", ingress=text).ingress


def first(steps: tuple[Step, ...], packet: Packet) -> Rule | None:
    """The rule that a packet meets first."""
    for step in steps:
        if isinstance(step, Lookup):
            found = [entry.rule for entry in step.entries if has_key(step, entry.key, packet)]
            assert len({rule.origin for rule in found}) <= 1, "two entries of a lookup match"
            if found and matches(step.common, packet, TABLES):
                return found[0]
        elif matches(step, packet, TABLES):
            return step
    return None


def has_key(lookup: Lookup, key: tuple[object, ...], packet: Packet) -> bool:
    values = {
        Field.PROTOCOL: packet.protocol,
        Field.SOURCE: packet.source,
        Field.DESTINATION: packet.destination,
        Field.SOURCE_PORT: packet.source_port,
        Field.DESTINATION_PORT: packet.destination_port,
    }
    for field, part in zip(lookup.fields, key, strict=True):
        value = values[field]
        match part:
            case PortRange(low, high):
                if not isinstance(value, int) or not low <= value <= high:
                    return False
            case int():
                if value != part:
                    return False
            case _:
                assert isinstance(part, Network)
                assert not isinstance(value, int | None)
                if value not in part:
                    return False
    return True


def shape(steps: tuple[Step, ...]) -> list[str]:
    return [
        f"{'hash' if step.exact else 'interval'} of {len(step.entries)}" if isinstance(step, Lookup) else "rule"
        for step in steps
    ]


EIGHT = range(8)
TCP_PORTS = [f"Allow tcp destination={n}" for n in EIGHT]
FROM_WEB = [f"Allow tcp source=in:web destination={n}" for n in EIGHT]
TOO_MANY = ",".join(str(10 * n) for n in range(MAX_KEYS_OF_RULE + 1))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (TCP_PORTS, ["hash of 8"]),
        ([f"Allow tcp destination={n}" for n in range(MIN_RULES - 1)], ["rule"] * (MIN_RULES - 1)),
        ([f"Allow tcp source=10.0.0.{n}/32 destination=80" for n in EIGHT], ["hash of 8"]),
        ([f"Allow tcp source=10.{n}.0.0/16 destination={n}:{n + 9}" for n in EIGHT], ["interval of 8"]),
        ([f"Allow {p} destination={n}" for n in EIGHT for p in ("tcp", "udp")], ["hash of 16"]),
        # Several values in a rule are several entries; too many are none.
        ([f"Allow tcp destination={n},{n + 100}" for n in EIGHT], ["hash of 16"]),
        ([f"Allow tcp destination={TOO_MANY}"] * 8, ["rule"] * 8),
        # Actions may differ, since no packet is in two entries.
        ([f"{'Allow' if n % 2 else 'Deny'} tcp destination={n}" for n in EIGHT], ["hash of 8"]),
        # Of equal keys the first stays.
        ([*TCP_PORTS, "Deny tcp destination=3"], ["hash of 8"]),
        # A log is met where it stands, and nothing overtakes it that it would have seen.
        ([*TCP_PORTS, "Log", "Allow tcp destination=99"], ["hash of 8", "rule", "rule"]),
        ([*TCP_PORTS, "Log udp", "Allow tcp destination=99"], ["hash of 9", "rule"]),
        # What overlaps within a rule is one part of its key.
        (
            [f"Allow tcp destination={100 * n}:{100 * n + 9},{100 * n + 5}:{100 * n + 20}" for n in EIGHT],
            ["interval of 8"],
        ),
        # Overlapping prefixes cannot stand together.
        ([f"Allow source=10.{n}.0.0/16" for n in EIGHT] + ["Deny source=10.3.4.0/24"], ["interval of 8", "rule"]),
        # What all of them demand besides is common.
        ([f"Allow tcp source=in:web destination={n}" for n in EIGHT], ["hash of 8"]),
        ([f"Allow tcp source{'!' * (n % 2)}=in:web destination={n}" for n in range(16)], ["hash of 8", "hash of 8"]),
        # Shapes that take turns.
        (
            [line for n in EIGHT for line in (TCP_PORTS[n], f"Deny udp source=10.0.0.{n}/32")],
            ["hash of 8", "hash of 8"],
        ),
        # They may share packets if they do the same with them, and else not.
        (
            [line for n in EIGHT for line in (FROM_WEB[n], f"Allow tcp source=10.0.0.{n}/32")],
            ["hash of 8", "hash of 8"],
        ),
        (
            [line for n in EIGHT for line in (FROM_WEB[n], f"Deny tcp source=10.0.0.{n}/32")],
            ["rule"] * 16,
        ),
        # Nothing to look up.
        (["Allow"] * 8, ["rule"] * 8),
        (["Allow icmp icmp=8"] * 8, ["hash of 1"]),
        (["Allow tcp destination=named:http"] * 8, ["hash of 1"]),
        ([f"Allow tcp destination={n},named:http" for n in EIGHT], ["rule"] * 8),
    ],
)
def test_what_becomes_of_a_list(lines: list[str], expected: list[str]) -> None:
    assert shape(fold(rules("\n".join(lines)))) == expected


def test_a_hostile_list_is_given_up_in_time_and_not_changed() -> None:
    lines = [f"Allow tcp source=10.{n % 200}.0.0/16 destination={n}:{n}" for n in range(500)]
    lines += [f"Deny tcp source=10.0.{n % 200}.0/24 destination={n}:{n + 1}" for n in range(500)]
    listed = rules("\n".join(lines))
    steps = fold(listed)
    assert sum(len(step.entries) if isinstance(step, Lookup) else 1 for step in steps) == len(listed)


PORTS = st.integers(0, 6)
NETS = st.sampled_from(
    ["10.0.0.1/32", "10.0.0.2/32", "10.0.0.0/24", "10.0.0.0/16", "10.1.0.0/16", "fd00::1/128", "fd00::/16"]
)
RULES = st.builds(
    lambda action, protocol, source, destination, port, more: " ".join(
        word for word in (action, protocol, source, destination, port, more) if word
    ),
    st.sampled_from(["Allow", "Deny", "Pass", "Allow", "Deny", "Log"]),
    st.sampled_from(["tcp", "udp", "tcp", "icmp"]),
    st.one_of(st.just(""), NETS.map("source={}".format)),
    st.one_of(st.just(""), st.just(""), NETS.map("destination={}".format)),
    st.one_of(
        st.just(""),
        PORTS.map("destination={}".format),
        st.tuples(PORTS, PORTS).map(lambda p: f"destination={min(p)}:{max(p)}"),
    ),
    st.sampled_from(["", "", "", "source=in:web", "source!=in:web", "v4"]),
)
ADDRESSES = [
    ip_address(text) for text in ("10.0.0.1", "10.0.0.2", "10.0.9.9", "10.1.0.1", "10.2.0.1", "fd00::1", "fd00::2")
]


def some_packet(chance: random.Random) -> Packet:
    source = chance.choice(ADDRESSES)
    protocol = chance.choice([6, 17, ICMP])
    return Packet(
        source=source,
        destination=chance.choice([each for each in ADDRESSES if each.version == source.version]),
        protocol=protocol,
        source_port=None if protocol == ICMP else 9,
        destination_port=None if protocol == ICMP else chance.randint(0, 6),
        icmp_type=8 if protocol == ICMP else None,
    )


@settings(deadline=None)
@given(st.lists(RULES, max_size=40), st.integers(0, 2**32))
def test_the_same_action_is_found_first(lines: list[str], seed: int) -> None:
    chance = random.Random(seed)
    listed = rules("\n".join(lines * 2))
    steps = fold(listed)
    for _ in range(40):
        packet = some_packet(chance)
        expected = [rule for rule in listed if matches(rule, packet, TABLES)]
        runs = [list(run) for _, run in groupby(expected, lambda rule: rule.action)]
        assert first(steps, packet) in (runs[0] if runs else [None])


def test_log_rules_all_stay() -> None:
    listed = rules("Log\n" * 9)
    assert [step.action for step in fold(listed) if isinstance(step, Rule)] == [Action.LOG] * 9


def test_prefixes_of_one_family_keep_to_it() -> None:
    listed = rules("\n".join(f"Allow source=10.{n}.0.0/16 v4" for n in EIGHT))
    (step,) = fold(listed)
    assert isinstance(step, Lookup)
    assert (step.common.family, step.fields) == (4, (Field.SOURCE,))
    assert step.entries[3].key == (ip_network("10.3.0.0/16"),)
