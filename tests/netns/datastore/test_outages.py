"""A store that goes, or falls silent: noticed in time, waited for at no cost, and nothing lost or repeated after it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.netns import processor
from tests.netns.datastore.distant import FOLLOW, DistantEtcd, Follower

NOTICED_WITHIN_S = 10.0
MOST_OF_A_PROCESSOR = 0.02


@pytest.fixture
def follower(distant: DistantEtcd) -> Follower:
    return distant.follow("/p/", "/q/", "/r/")


def test_a_wire_that_is_cut_is_noticed_and_nothing_is_lost(distant: DistantEtcd, follower: Follower) -> None:
    distant.ctl("put", "/p/a", "1")
    said, _ = follower.wait("Changed")
    assert said.what == [["/p/a", "1"]]

    distant.cut()
    moment = time.monotonic()
    assert follower.wait("Disconnected")[0].moment - moment < NOTICED_WITHIN_S
    for number in range(2, 7):
        distant.ctl("put", "/p/a", str(number))
    distant.ctl("put", "/q/b", "new")
    distant.ctl("del", "/p/a")
    assert processor.share(follower.process, 10) < MOST_OF_A_PROCESSOR

    distant.mend()
    _, before = follower.wait("InSync")
    events = [event for said in before if said.change == "Changed" for event in said.what]
    assert [event for event in events if event[0] == "/p/a"] == [
        *(["/p/a", str(n)] for n in range(2, 7)),
        ["/p/a", None],
    ]
    assert [event for event in events if event[0] == "/q/b"] == [["/q/b", "new"]]


def test_a_store_that_is_stopped_costs_nothing(distant: DistantEtcd, follower: Follower) -> None:
    distant.stop()
    follower.wait("Disconnected")
    assert processor.share(follower.process, 10) < MOST_OF_A_PROCESSOR
    distant.start()
    distant.ctl("put", "/r/c", "1")
    assert follower.wait("Changed")[0].what == [["/r/c", "1"]]


def test_a_history_that_is_gone_when_the_wire_is_mended(distant: DistantEtcd, follower: Follower) -> None:
    for key in ("gone", "kept", "new"):
        distant.ctl("put", f"/p/{key}", "1")
        follower.wait("Changed")
    distant.cut()
    follower.wait("Disconnected")
    distant.ctl("del", "/p/gone")
    distant.ctl("put", "/p/new", "2")
    revision = distant.ctl("get", "/p/new", "-w", "fields").partition('"ModRevision" : ')[2].split()[0]
    distant.ctl("put", "/s/other", "1")
    distant.ctl("compact", str(int(revision) + 1))
    distant.mend()
    _, before = follower.wait("InSync")
    assert [event for said in before if said.change == "Changed" for event in said.what] == [
        ["/p/gone", None],
        ["/p/new", "2"],
    ]


@pytest.fixture
def follow_file() -> Iterator[Callable[[Path], Follower]]:
    followers: list[Follower] = []

    def follow(path: Path) -> Follower:
        followers.append(Follower(sys.executable, "-c", FOLLOW, f"sqlite://{path}", "/p/", "/q/", "/r/"))
        return followers[-1]

    yield follow
    for follower in followers:
        follower.close()


def test_a_file_that_is_not_there_costs_nothing(follow_file: Callable[[Path], Follower], tmp_path: Path) -> None:
    follower = follow_file(tmp_path / "store.db")
    said, _ = follower.wait("Disconnected")
    assert "does not exist" in said.what
    assert processor.share(follower.process, 10) < MOST_OF_A_PROCESSOR


def test_a_file_that_nobody_writes_costs_nothing(follow_file: Callable[[Path], Follower], tmp_path: Path) -> None:
    (tmp_path / "store.db").touch()
    follower = follow_file(tmp_path / "store.db")
    follower.wait("InSync")
    assert processor.share(follower.process, 10) < MOST_OF_A_PROCESSOR
