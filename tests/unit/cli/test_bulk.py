"""Work on many objects: what goes at once, what waits, and what is told of failures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tortie.cli import bulk
from tortie.cli.progress import Progress
from tortie.errors import Conflict, NotFound, Unavailable
from tortie.model.resource import ResourceKey


class Thing(NamedTuple):
    key: ResourceKey


def things(kind: str, count: int) -> list[Thing]:
    return [Thing(ResourceKey(kind, "", f"n{number}")) for number in range(count)]


class Watched:
    """Work that notes how much of it goes on at once, and what had ended when each began."""

    def __init__(self, fail: Callable[[Thing], Exception | None] = lambda _: None) -> None:
        self.fail = fail
        self.running: list[Thing] = []
        self.most = 0
        self.ended: list[Thing] = []
        self.before: dict[Thing, list[Thing]] = {}

    async def __call__(self, thing: Thing) -> None:
        self.before.setdefault(thing, list(self.ended))
        self.running.append(thing)
        self.most = max(self.most, len(self.running))
        await asyncio.sleep(0)
        self.running.remove(thing)
        self.ended.append(thing)
        if error := self.fail(thing):
            raise error


async def test_objects_of_one_kind_go_together() -> None:
    work = Watched()
    assert await bulk.each(things("Node", 200), work, "") == (200, [])
    assert work.most == bulk.AT_ONCE


async def test_the_next_kind_begins_when_all_are_done() -> None:
    tiers, policies = things("Tier", 3), things("GlobalNetworkPolicy", 3)
    work = Watched()
    assert (await bulk.each([*tiers, *policies], work, "")).done == 6
    assert all(set(tiers) <= set(work.before[policy]) for policy in policies)


async def test_pools_go_one_by_one() -> None:
    work = Watched()
    await bulk.each(things("IPPool", 5), work, "")
    assert (work.most, work.ended) == (1, things("IPPool", 5))


async def test_one_object_twice_is_never_worked_on_at_once() -> None:
    (node,) = things("Node", 1)
    work = Watched()
    assert (await bulk.each([node, node, node], work, "")).done == 3
    assert work.most == 1


async def test_errors_come_in_the_order_of_the_objects() -> None:
    errors = {"n1": NotFound("one"), "n150": Conflict("other")}
    done, told = await bulk.each(things("Node", 200), Watched(lambda thing: errors.get(thing.key.name)), "")
    assert (done, [str(error) for error in told]) == (198, ["one", "other"])


async def test_those_who_waited_for_one_answer_tell_it_once() -> None:
    error = Unavailable("gone")
    done, told = await bulk.each(things("Node", 200), Watched(lambda thing: error), "")
    assert (done, told) == (0, [error])


async def test_after_a_store_that_does_not_answer_nothing_is_begun() -> None:
    work = Watched(lambda thing: Unavailable("gone"))
    done, told = await bulk.each([*things("Node", 200), *things("Profile", 5)], work, "")
    assert (done, [str(error) for error in told]) == (0, ["gone"])
    assert len(work.ended) <= bulk.AT_ONCE


class Terminal:
    def __init__(self, is_terminal: bool) -> None:
        self.is_terminal = is_terminal
        self.text = ""

    def isatty(self) -> bool:
        return self.is_terminal

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


@pytest.mark.parametrize(
    ("is_terminal", "elapsed_s", "shows"),
    [(True, 1.5, True), (True, 0.5, False), (False, 1.5, False)],
)
def test_the_bar(monkeypatch: pytest.MonkeyPatch, is_terminal: bool, elapsed_s: float, shows: bool) -> None:
    terminal = Terminal(is_terminal)
    now = 100.0
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("time.monotonic", lambda: now)
    with Progress(4, "Writing") as bar:
        now += elapsed_s
        bar.advance(2)
    drawn = f"\r\x1b[KWriting [{'#' * 20}{'-' * 20}] 2/4\r\x1b[K"
    assert terminal.text == (drawn if shows else "")
