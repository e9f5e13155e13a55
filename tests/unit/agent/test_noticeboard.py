"""Waiting on the board, the journal of last errors, and the board as metrics."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from msgspec.structs import replace

from tortie.agent.journal import KEPT, Journal
from tortie.agent.metrics import MOST_REASONS, render_metrics
from tortie.agent.noticeboard import Noticeboard
from tortie.intent.report import EndpointReport, EndpointState, Noted
from tortie.status import Bird, Board, Dropped, Duration, Session, Vitals

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
        repaired={"route": 3},
        policy_backend="nftables",
        vitals=Vitals(
            resident_bytes=1000,
            applied={"policy": Duration(count=3, sum_s=0.5, last_s=0.1, within=(1, 1, 2, 3, 3, 3, 3))},
            resyncs={"interval": 2},
            dropped={"policy": Dropped(packets=7, bytes=700)},
            datastore_stale_s=1.5,
        ),
    )
    text = render_metrics(board).decode()
    for line in (
        'tortie_endpoints{state="up"} 1.0',
        'tortie_endpoints{state="error"} 0.0',
        "tortie_rows_pending 1.0",
        "tortie_rows_written_total 5.0",
        'tortie_repairs_total{table="route"} 3.0',
        "tortie_datastore_connected 1.0",
        'tortie_bgp_session_established{peer="192.0.2.1",session="Mesh_1"} 1.0',
        'tortie_bgp_prefixes_imported{peer="192.0.2.1",session="Mesh_1"} 1.0',
        'tortie_bgp_prefixes_exported{peer="192.0.2.1",session="Mesh_1"} 2.0',
        'tortie_rows_pending_by_reason{reason="no"} 1.0',
        "tortie_process_resident_memory_bytes 1000.0",
        'tortie_apply_seconds_bucket{le="0.1",stage="policy"} 2.0',
        'tortie_apply_seconds_bucket{le="+Inf",stage="policy"} 3.0',
        'tortie_apply_seconds_sum{stage="policy"} 0.5',
        'tortie_resyncs_total{cause="interval"} 2.0',
        'tortie_dropped_packets_total{reason="policy"} 7.0',
        'tortie_dropped_bytes_total{reason="policy"} 700.0',
        'tortie_policy_backend_info{backend="nftables"} 1.0',
        "tortie_datastore_stale_seconds 1.5",
        "tortie_bird_running 1.0",
    ):
        assert line in text.splitlines()


def test_every_metric_is_written_down() -> None:
    documented = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    found = set(re.findall(r"^# TYPE tortie_(\w+) ", render_metrics(EMPTY).decode(), re.MULTILINE))
    assert [name for name in sorted(found) if f"`{name}" not in documented] == []


def test_reasons_of_pending_rows_are_few() -> None:
    pending = tuple(Noted(subject=str(n), reason=f"r{n % 30}") for n in range(60))
    text = render_metrics(replace(EMPTY, pending=pending)).decode()
    lines = [line for line in text.splitlines() if line.startswith("tortie_rows_pending_by_reason{")]
    assert len(lines) == MOST_REASONS + 1
    assert f'tortie_rows_pending_by_reason{{reason="other"}} {60 - 2 * MOST_REASONS}.0' in lines
