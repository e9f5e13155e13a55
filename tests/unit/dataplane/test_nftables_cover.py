"""The outermost of prefixes that come and go, against the definition."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.dataplane.nftables.cover import Change, Cover
from tortie.intent.policy import Network

# Few and near each other, so that they contain each other often.
V4 = [ip_network((10 << 24 | number << (32 - length), length)) for length in (29, 30, 31, 32) for number in range(4)]
V6 = [ip_network((0xFD << 120 | number << (128 - length), length)) for length in (125, 127, 128) for number in range(4)]
EVERYTHING = [ip_network("0.0.0.0/0"), ip_network("10.0.0.0/8")]


def outermost(networks: set[Network]) -> set[Network]:
    return {
        each
        for each in networks
        if not any(each != other and each.subnet_of(other) for other in networks)  # type: ignore[arg-type]
    }


def batches(networks: list[Network]) -> st.SearchStrategy[list[tuple[set[Network], set[Network]]]]:
    some = st.sets(st.sampled_from(networks))
    return st.lists(st.tuples(some, some), max_size=6)


@given(st.one_of(batches([*V4, *EVERYTHING]), batches(V6)))
def test_prefixes_come_and_go(changes: list[tuple[set[Network], set[Network]]]) -> None:
    cover = Cover(6 if any(each.version == 6 for added, removed in changes for each in added | removed) else 4)
    present: set[Network] = set()
    for added, removed in changes:
        before = outermost(present)
        present = present - removed | added
        after = outermost(present)
        assert cover.change(added, removed) == Change(frozenset(after - before), frozenset(before - after))
        assert cover.outermost == after
        assert bool(cover) == bool(after)


@pytest.mark.parametrize("number", [1, 50])
def test_one_among_many(number: int) -> None:
    """Few or many change at once: it comes to the same."""
    many: list[Network] = [IPv4Network((10 << 24 | n << 8, 24)) for n in range(200)]
    some = many[:number]
    inner: list[Network] = [IPv4Network((10 << 24 | n << 8, 26)) for n in range(number)]
    cover = Cover(4)
    cover.change(many)
    assert cover.change(inner) == Change(frozenset(), frozenset())
    assert cover.change((), some) == Change(frozenset(inner), frozenset(some))
    assert cover.change(some) == Change(frozenset(some), frozenset(inner))
