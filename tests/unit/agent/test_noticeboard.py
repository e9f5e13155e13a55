"""Waiting on the board, the journal of last errors, and the board as metrics."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from tortie.agent.journal import KEPT, Journal
from tortie.agent.metrics import render_metrics
from tortie.agent.noticeboard import Noticeboard
from tortie.intent.report import EndpointReport, EndpointState, Noted
from tortie.status import Bird, Board, Session

EMPTY = Board(node="a", version="0", datastore="sqlite:///x")
UP = EndpointReport(state=EndpointState.UP, interface="cali1", addresses=("10.65.0.1",))


async def test_who_waits_is_woken_by_the_board_that_holds() -> None:
    noticeboard = Noticeboard(EMPTY)
    waiting = asyncio.create_task(noticeboard.wait_for(lambda board: board.revision >= 2, 10))
    await asyncio.sleep(0)
    noticeboard.post(replace(EMPTY, revision=1))
    await asyncio.sleep(0)
    assert not waiting.done()
    noticeboard.post(replace(EMPTY, revision=2))
    assert await waiting


async def test_what_holds_already_is_not_waited_for_and_what_never_holds_ends_in_time() -> None:
    noticeboard = Noticeboard(EMPTY)
    assert await noticeboard.wait_for(lambda board: board.revision == 0, 0)
    assert not await noticeboard.wait_for(lambda board: board.revision == 1, 0.01)


async def test_an_equal_board_wakes_nobody() -> None:
    noticeboard = Noticeboard(EMPTY)
    waiting = asyncio.create_task(noticeboard.changed())
    await asyncio.sleep(0)
    noticeboard.post(replace(EMPTY))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


def test_the_journal_keeps_the_last_warnings_and_passes_everything_on() -> None:
    journal = Journal()
    event = {"event": "refused", "timestamp": "t", "level": "warning", "reason": "no"}
    assert journal(None, "warning", event) is event
    journal(None, "info", {"event": "started"})
    assert [(each.time, each.text) for each in journal.entries] == [("t", "refused (reason: no)")]
    for number in range(2 * KEPT):
        journal(None, "error", {"event": f"e{number}", "timestamp": "t"})
    assert len(journal.entries) == KEPT
    assert journal.entries[-1].text == f"e{2 * KEPT - 1}"


def test_the_board_as_metrics() -> None:
    session = Session(
        name="Mesh_1", kind="mesh", address="192.0.2.1", state="Established", since="", info="", imported=1, exported=2
    )
    board = replace(
        EMPTY,
        endpoints={"default/w": UP},
        pending=(Noted(subject="route", reason="no"),),
        bird=Bird(running=True, sessions=(session,)),
        connected=True,
        writes=5,
    )
    text = render_metrics(board).decode()
    for line in (
        'tortie_endpoints{state="up"} 1.0',
        'tortie_endpoints{state="error"} 0.0',
        "tortie_rows_pending 1.0",
        "tortie_rows_written_total 5.0",
        "tortie_datastore_connected 1.0",
        'tortie_bgp_session_established{peer="192.0.2.1",session="Mesh_1"} 1.0',
    ):
        assert line in text.splitlines()
