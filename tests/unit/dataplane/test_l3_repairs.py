"""What counts as harm, to whom it is put down, and how long it is said to have lasted."""

from __future__ import annotations

import os
from ipaddress import ip_address

import pytest

from tortie.dataplane.l3.repairs import AT_READ_BACK, Repairs
from tortie.dataplane.l3.rows import AddressKey, Kind, NeighbourKey, RouteKey, RowKey

OWN = 7
ROUTE = RowKey(Kind.ROUTE, RouteKey(ip_address("10.65.0.24").packed, 0))
NEIGHBOUR = RowKey(Kind.NEIGHBOUR, NeighbourKey(3, ip_address("10.65.0.24")))
FILTER = RowKey(Kind.FILTER, 3)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def repairs(clock: Clock) -> Repairs:
    return Repairs(OWN, lambda ifindex: f"cali{ifindex}", clock)


def test_the_time_runs_from_the_first_harm_to_the_write(repairs: Repairs, clock: Clock) -> None:
    repairs.harmed(ROUTE, os.getpid())
    clock.now += 0.5
    repairs.harmed(ROUTE, 0)
    clock.now += 0.5
    assert repairs.take() == []
    repairs.written(ROUTE)
    (told,) = repairs.take()
    assert (told.table, told.what, told.took_ms) == ("route", "route 10.65.0.24", 1000.0)
    assert told.by.startswith(f"port id {os.getpid()}, perhaps process {os.getpid()} (")
    assert repairs.take() == []


def test_our_own_doing_is_no_harm(repairs: Repairs) -> None:
    repairs.harmed(ROUTE, OWN)
    repairs.written(ROUTE)
    assert repairs.take() == []


def test_what_somebody_else_put_right_or_nobody_wants_any_more_is_not_told(repairs: Repairs) -> None:
    for settle in (repairs.right, repairs.forget):
        repairs.harmed(ROUTE, 9)
        settle(ROUTE)
        repairs.written(ROUTE)
    assert repairs.take() == []


def test_the_rest_of_old_news_is_no_new_harm(repairs: Repairs) -> None:
    """A neighbour's deletion is told in two events, between which it may be back."""
    repairs.harmed(NEIGHBOUR, 9)
    repairs.written(NEIGHBOUR)
    repairs.harmed(NEIGHBOUR, 0)
    repairs.written(NEIGHBOUR)
    assert len(repairs.take()) == 1
    repairs.right(NEIGHBOUR)  # the event of our own write
    repairs.harmed(NEIGHBOUR, 0)
    repairs.written(NEIGHBOUR)
    assert len(repairs.take()) == 1


def test_a_read_back_ends_old_news_too(repairs: Repairs) -> None:
    repairs.harmed(NEIGHBOUR, 9)
    repairs.written(NEIGHBOUR)
    repairs.read_back()
    repairs.harmed(NEIGHBOUR, 9)
    repairs.written(NEIGHBOUR)
    assert len(repairs.take()) == 2


def test_what_only_the_read_back_found_has_no_author(repairs: Repairs) -> None:
    repairs.found(FILTER)
    repairs.written(FILTER)
    (told,) = repairs.take()
    assert (told.what, told.by) == ("ARP responder of cali3", AT_READ_BACK)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (NEIGHBOUR, "neighbour 10.65.0.24 of cali3"),
        (RowKey(Kind.ADDRESS, AddressKey(3, ip_address("169.254.1.1"), 32)), "address 169.254.1.1/32 of cali3"),
        (RowKey(Kind.MAC, 3), "MAC of cali3"),
        (RowKey(Kind.SYSCTL, "ipv4/ip_forward"), "setting ipv4/ip_forward"),
    ],
)
def test_rows_in_words(repairs: Repairs, row: RowKey, words: str) -> None:
    repairs.harmed(row, 0)
    repairs.written(row)
    (told,) = repairs.take()
    assert (told.what, told.by) == (words, "the kernel does not tell who")
