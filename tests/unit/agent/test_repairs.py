"""What others took away: told in the log within bounds, remembered within bounds, counted all."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from tortie.agent.repairs import KEPT, LINES, SUMMARY_S, RepairLog
from tortie.dataplane.l3.repairs import Repair


def repair(what: str = "route 10.65.0.24", by: str = "somebody", took_ms: float = 1.0) -> Repair:
    return Repair("route", what, by, took_ms)


@pytest.fixture
def log() -> RepairLog:
    return RepairLog(wall=lambda: "now")


def test_who_repeats_it_each_second_gets_some_lines_and_then_one_a_minute(log: RepairLog) -> None:
    with capture_logs() as lines:
        for second in range(1, 301):
            log.look([repair(by=f"process {second}", took_ms=second)], now=float(second))
    first, rest = lines[:LINES], lines[LINES:]
    assert {line["event"] for line in first} == {"others removed or changed what is ours: put back"}
    assert [line["rows_in_the_last_minute"] for line in rest] == [60 - LINES, 60, 60, 60]
    assert [line["last_by"] for line in rest] == ["process 60", "process 120", "process 180", "process 240"]
    assert [line["longest_ms"] for line in rest] == [60, 120, 180, 240]
    assert log.rows == {"route": 300}
    (entry,) = log.entries
    assert (entry.times, entry.by, entry.back_ms, entry.longest_ms) == (300, "process 300", 300, 300)


def test_the_last_minute_is_told_of_though_nothing_follows(log: RepairLog) -> None:
    with capture_logs() as lines:
        for number in range(LINES + 2):
            log.look([repair()], now=0.1 * number)
        due = log.next_due()
        assert due == SUMMARY_S
        log.look([], now=due)
        assert lines[-1]["rows_in_the_last_minute"] == 2
        log.look([], now=due + SUMMARY_S)
        assert log.next_due() is None
        before = len(lines)
        log.look([repair()], now=1000.0)
    assert len(lines) == before + 1, "after a minute of quiet a line is told at once again"


def test_what_goes_at_once_by_one_is_told_of_at_once(log: RepairLog) -> None:
    with capture_logs() as lines:
        rows = [repair(f"route 10.65.0.{n}", took_ms=n) for n in range(100)]
        log.look([*rows, repair("route 10.65.1.1", by="another")], now=0.0)
    assert [(line["what"], line["after_ms"]) for line in lines] == [
        ("route 10.65.1.1", 1.0),
        ("route 10.65.0.0 and 99 more", 99),
    ]
    assert log.rows == {"route": 101}


def test_only_the_last_rows_are_remembered(log: RepairLog) -> None:
    for number in range(3 * KEPT):
        log.look([repair(f"route {number}")], now=float(number))
    assert [entry.what for entry in log.entries] == [f"route {number}" for number in range(2 * KEPT, 3 * KEPT)]


def test_nothing_new_is_nothing_changed(log: RepairLog) -> None:
    log.look([repair()], now=0.0)
    before = log.entries, log.rows
    log.look([], now=1.0)
    assert (log.entries, log.rows) == before
    assert log.entries is before[0]
