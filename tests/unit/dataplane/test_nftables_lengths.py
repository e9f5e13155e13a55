"""Which prefix lengths have a kernel set of their own, and that every prefix of a set stands in one place."""

from __future__ import annotations

import random
from ipaddress import IPv4Network
from typing import Any

import pytest

from tortie.dataplane.nftables import lengths
from tortie.dataplane.nftables.lengths import Lengths
from tortie.dataplane.nftables.match import member_of
from tortie.dataplane.nftables.rows import Kind
from tortie.dataplane.nftables.sets import SelectorSets
from tortie.dataplane.wanted import WantedRows
from tortie.intent.policy import AddressSet
from tortie.reconcile import Reconciler


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "MANY", 4)
    monkeypatch.setattr(lengths, "FEW", 2)


def nets(length: int, number: int, first: int = 0) -> list[IPv4Network]:
    """So many side by side; those of one length lie within those of another."""
    return [IPv4Network((0x0A000000 + (n << 32 - length), length)) for n in range(first, first + number)]


def test_a_length_of_many_has_its_own_set_until_it_is_one_of_few() -> None:
    found = Lengths()
    assert found.change(nets(28, 3), []) == frozenset()
    assert (found.own, found.any_other) == (frozenset(), True)
    assert found.change(nets(28, 1, 3), []) == {28}
    assert (set(found.own), found.any_other) == ({28}, False)
    assert found.change(nets(20, 1), nets(28, 2)) == frozenset()
    assert (set(found.own), found.any_other) == ({28}, True)
    assert found.change([], nets(28, 1, 2)) == {28}
    assert (found.own, found.any_other) == (frozenset(), True)


def test_no_more_lengths_than_that() -> None:
    found = Lengths()
    for length in range(20, 20 + lengths.MOST):
        found.change(nets(length, 5), [])
    assert found.change(nets(30, 100), []) == frozenset()
    assert found.any_other
    # One that is free goes to the longest.
    assert found.change([], nets(20, 5)) == {20, 30}


class _Nothing:
    """A table that nobody writes to."""

    def read(self, wanted: Any) -> dict[Any, Any]:
        return {}

    def put(self, rows: Any) -> dict[Any, Any]:
        return {}

    delete = put


@pytest.mark.parametrize("seed", range(30))
def test_every_prefix_stands_in_one_place(seed: int) -> None:
    chance = random.Random(seed)
    reconcilers = {kind: Reconciler[Any, Any](kind.name, _Nothing()) for kind in Kind}
    rows = WantedRows[Any, Any](reconcilers)
    sets = SelectorSets(rows, reconcilers[Kind.MEMBER])
    sets.put(AddressSet(id="s"))
    there: set[IPv4Network] = set()
    all_ = [net for length in (12, 16, 20, 24, 28) for net in nets(length, 8)]
    for _ in range(40):
        added = set(chance.sample(all_, chance.randint(0, 8))) - there
        removed = set(chance.sample(sorted(there), chance.randint(0, len(there)))) if chance.random() < 0.5 else set()
        before = sets.prefixes("s", 4)
        told = sets.change("s", added, removed)
        there = (there | added) - removed
        where = sets.prefixes("s", 4)
        assert told == (where != before)
        outermost = {net for net in there if not any(net != other and net.subnet_of(other) for other in there)}
        assert reconcilers[Kind.MEMBER].wanted == {member_of("s", net, where.lengths) for net in outermost}
        assert where.intervals == any(net.prefixlen not in where.lengths for net in outermost)
        assert {key.set for key in reconcilers[Kind.MEMBER].wanted} <= set(reconcilers[Kind.SET].wanted)
        count = {length: sum(net.prefixlen == length for net in outermost) for length in where.lengths}
        assert all(number >= lengths.FEW for number in count.values())
