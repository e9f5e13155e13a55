"""What others left is removed until it is gone, and never what is wanted again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tortie.agent import leftovers
from tortie.agent.leftovers import Leftovers
from tortie.errors import KernelError

Until = Callable[[Callable[[], bool]], Awaitable[None]]


class Thing:
    """Something in the kernel, which cannot be removed while it is in use."""

    def __init__(self, *, used: bool = False) -> None:
        self.attempts = 0
        self.used = used
        self.gone = False

    def __call__(self) -> None:
        self.attempts += 1
        if self.used:
            raise KernelError("in use")
        self.gone = True


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Leftovers, Until]]:
    """And a way to wait for a fact, looked at after each attempt."""
    woken = asyncio.Event()
    made = Leftovers(woken.set)
    task = asyncio.create_task(made.run())

    async def until(fact: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not fact():
                await woken.wait()
                woken.clear()

    try:
        yield made, until
    finally:
        task.cancel()


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "FIRST_RETRY_S", 0.01)


async def test_one_that_fails_is_named_and_tried_again_and_stops_no_other() -> None:
    async with running() as (made, until):
        stubborn, other = Thing(used=True), Thing()
        made.remove({"stubborn": stubborn, "other": other})
        await until(lambda: stubborn.attempts > 1 and other.gone)
        (problem,) = made.problems
        assert (problem.subject, "in use" in problem.reason) == ("stubborn", True)
        stubborn.used = False
        await until(lambda: not list(made.problems))
        assert (stubborn.gone, other.attempts) == (True, 1)


async def test_what_is_wanted_again_is_spared() -> None:
    async with running() as (made, until):
        thing, other = Thing(used=True), Thing(used=True)
        made.remove({"thing": thing, "other": other})
        await until(lambda: thing.attempts > 0 and made.spare("thing"))
        thing.used = False
        attempts = other.attempts
        await until(lambda: other.attempts > attempts + 1)
        assert [each.subject for each in made.problems] == ["other"]
        assert not thing.gone


async def test_what_is_being_removed_cannot_be_spared_yet() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        assert may_end.wait(10)

    async with running() as (made, until):
        made.remove({"slow": slow})
        await asyncio.to_thread(begun.wait, 10)
        assert not made.spare("slow")
        may_end.set()
        await until(lambda: made.spare("slow"))


async def test_a_later_list_takes_the_place_of_the_one_before() -> None:
    async with running() as (made, until):
        first, second = Thing(used=True), Thing()
        made.remove({"a": first})
        await until(lambda: first.attempts > 0)
        made.remove({"b": second})
        await until(lambda: second.gone)
        assert list(made.problems) == []
