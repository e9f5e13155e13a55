"""The three properties of the reconciler, against a table where any call may fail before or after it took effect."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.errors import KernelError, Refused, TortieError
from tortie.reconcile import Backoff, DeltaTracker, Reconciler

Rows = dict[str, int]
KEYS = st.sampled_from("abcde")
ROWS = st.dictionaries(KEYS, st.integers(0, 3))


class FaultyTable:
    """A table of the outside world in which the n-th row operation fails, before or after taking effect."""

    def __init__(self, rows: Rows, fail_at: int = -1, took_effect: bool = False) -> None:
        self.rows = dict(rows)
        self.fail_at = fail_at
        self.took_effect = took_effect
        self.operations = 0
        self.touched: list[str] = []

    def read(self, wanted: Collection[str]) -> Mapping[str, int]:
        if self._fails():
            raise KernelError("read failed")
        return dict(self.rows)

    def put(self, rows: Mapping[str, int]) -> Mapping[str, TortieError]:
        return {key: Refused(key) for key, value in rows.items() if not self._write(key, value)}

    def delete(self, keys: Collection[str]) -> Mapping[str, TortieError]:
        return {key: Refused(key) for key in keys if not self._write(key, None)}

    def _write(self, key: str, value: int | None) -> bool:
        fails = self._fails()
        if not fails or self.took_effect:
            self.touched.append(key)
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
        return not fails

    def _fails(self) -> bool:
        self.operations += 1
        return self.operations - 1 == self.fail_at


def settle(reconciler: Reconciler[str, int], now: float = 0.0) -> None:
    for step in range(6):
        try:
            if step in (0, 3):
                reconciler.resync()
            reconciler.apply_deletes(now + step * 60)
            reconciler.apply_puts(now + step * 60)
        except KernelError:
            continue


def reconciler_for(table: FaultyTable, wanted: Rows) -> Reconciler[str, int]:
    reconciler: Reconciler[str, int] = Reconciler("rows", table)
    for key, value in wanted.items():
        reconciler.want(key, value)
    return reconciler


@given(start=ROWS, wanted=ROWS, fail_at=st.integers(-1, 12), took_effect=st.booleans())
def test_converges_from_any_start_with_any_failure(start: Rows, wanted: Rows, fail_at: int, took_effect: bool) -> None:
    table = FaultyTable(start, fail_at, took_effect)
    settle(reconciler_for(table, wanted))
    assert table.rows == wanted


@given(start=ROWS, wanted=ROWS, fail_at=st.integers(0, 8), took_effect=st.booleans(), steps=st.integers(0, 3))
def test_converges_when_restarted_at_any_step(
    start: Rows, wanted: Rows, fail_at: int, took_effect: bool, steps: int
) -> None:
    table = FaultyTable(start, fail_at, took_effect)
    interrupted = reconciler_for(table, wanted)
    for act in (interrupted.resync, lambda: interrupted.apply_deletes(0), lambda: interrupted.apply_puts(0))[:steps]:
        try:
            act()
        except KernelError:
            break
    table.fail_at = -1
    settle(reconciler_for(table, wanted))
    assert table.rows == wanted


@given(start=ROWS, wanted=ROWS)
def test_leaves_right_rows_alone(start: Rows, wanted: Rows) -> None:
    table = FaultyTable(start)
    settle(reconciler_for(table, wanted))
    right = {key for key in start if wanted.get(key) == start[key]}
    assert right.isdisjoint(table.touched)


@given(start=ROWS, wanted=ROWS, fail_at=st.integers(-1, 12), took_effect=st.booleans())
def test_second_apply_writes_nothing(start: Rows, wanted: Rows, fail_at: int, took_effect: bool) -> None:
    table = FaultyTable(start, fail_at, took_effect)
    reconciler = reconciler_for(table, wanted)
    settle(reconciler)
    table.touched.clear()
    writes = reconciler.writes
    settle(reconciler, now=1000)
    assert table.touched == []
    assert reconciler.writes == writes


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("want"), KEYS, st.integers(0, 3)),
            st.tuples(st.just("unwant"), KEYS, st.just(0)),
            st.tuples(st.just("saw"), KEYS, st.integers(0, 3)),
            st.tuples(st.just("saw_gone"), KEYS, st.just(0)),
            st.tuples(st.just("replace"), KEYS, st.integers(0, 3)),
            st.tuples(st.just("wrote"), KEYS, st.integers(0, 3)),
        )
    )
)
def test_tracker_equals_the_plain_difference(steps: list[tuple[str, str, int]]) -> None:
    tracker: DeltaTracker[str, int] = DeltaTracker()
    desired: Rows = {}
    actual: Rows = {}
    for verb, key, value in steps:
        match verb:
            case "want":
                tracker.want(key, value)
                desired[key] = value
            case "unwant":
                tracker.unwant(key)
                desired.pop(key, None)
            case "saw":
                tracker.saw(key, value)
                actual[key] = value
            case "saw_gone":
                tracker.saw_gone(key)
                actual.pop(key, None)
            case "wrote":
                written = dict(list(tracker.puts)[:value])
                tracker.wrote(written)
                actual |= written
            case _:
                actual = {key: value}
                tracker.replace_actual(actual)
        assert dict(tracker.puts) == {k: v for k, v in desired.items() if actual.get(k) != v}
        assert set(tracker.deletes) == actual.keys() - desired.keys()
        assert tracker.in_sync == (desired == actual)


def test_nothing_is_written_before_the_first_read() -> None:
    table = FaultyTable({"a": 1})
    reconciler = reconciler_for(table, {"b": 2})
    reconciler.apply_deletes(0)
    reconciler.apply_puts(0)
    assert table.rows == {"a": 1}
    assert not reconciler.in_sync


def test_a_failing_row_keeps_its_reason_and_its_start_and_does_not_stop_the_others() -> None:
    table = FaultyTable({}, fail_at=1)
    reconciler = reconciler_for(table, {"a": 1, "b": 2})
    reconciler.resync()
    reconciler.apply_puts(10.0)
    assert table.rows == {"b": 2}
    assert reconciler.failures["a"].since == 10.0
    assert isinstance(reconciler.failures["a"].error, Refused)
    reconciler.apply_puts(10.01)
    assert table.rows == {"b": 2}, "the row waits for its backoff"
    reconciler.apply_puts(11.0)
    assert table.rows == {"a": 1, "b": 2}
    assert not reconciler.failures


def test_a_changed_wish_is_tried_at_once() -> None:
    table = FaultyTable({}, fail_at=1)
    reconciler = reconciler_for(table, {"a": 1})
    reconciler.resync()
    reconciler.apply_puts(10.0)
    reconciler.want("a", 2)
    reconciler.apply_puts(10.0)
    assert table.rows == {"a": 2}


def test_a_row_that_could_not_go_and_is_wanted_again_has_no_failure() -> None:
    table = FaultyTable({"a": 1}, fail_at=1)
    reconciler = Reconciler("rows", table)
    reconciler.resync()
    reconciler.apply_deletes(0.0)
    assert "a" in reconciler.failures
    reconciler.want("a", 1)
    assert (reconciler.failures, reconciler.next_due()) == ({}, None)


def test_a_table_is_read_row_by_row_in_bounded_steps() -> None:
    table = FaultyTable({"a": 1, "b": 2, "left": 3})
    reconciler = reconciler_for(table, {"a": 1, "b": 9, "new": 4})
    steps = reconciler.resync_by_key(["left"], limit=3)
    next(steps)
    assert not reconciler.in_sync, "not all is read"
    assert list(steps) == [None]
    reconciler.apply_deletes(0)
    reconciler.apply_puts(0)
    assert table.rows == {"a": 1, "b": 9, "new": 4}
    assert "a" not in table.touched


def test_backoff_doubles_up_to_its_bound_and_forgets() -> None:
    backoff: Backoff[str] = Backoff(first_s=1, last_s=4)
    delays = []
    now = 0.0
    for _ in range(4):
        backoff.failed("a", now)
        due = backoff.next_due()
        assert due is not None
        assert due == backoff.due_at("a")
        delays.append(due - now)
        now = due
    assert delays == pytest.approx([1, 2, 4, 4])
    backoff.clear("a")
    assert backoff.due("a", 0)
    assert backoff.due_at("a") == 0
    assert backoff.next_due() is None


def test_after_a_read_back_what_is_missing_comes_before_what_is_different() -> None:
    """What is there may be about to name what is not."""
    tracker: DeltaTracker[str, int] = DeltaTracker()
    for number, key in enumerate("abcd"):
        tracker.want(key, number)
    tracker.replace_actual({"a": 9, "c": 2})
    assert [key for key, _ in tracker.puts] == ["b", "d", "a"]


@given(ROWS, ROWS, ROWS, st.integers(1, 3))
def test_a_table_that_is_read_by_parts_is_as_if_it_was_read_at_once(
    wanted: Rows, before: Rows, rows: Rows, limit: int
) -> None:
    at_once, by_part = (Reconciler[str, int]("rows", FaultyTable(before)) for _ in range(2))
    for reconciler in (at_once, by_part):
        reconciler.resync()
        for key, value in wanted.items():
            reconciler.want(key, value)
    assert list(by_part.resync_by_part([{key: value} for key, value in rows.items()], limit))[len(rows) :] == [
        None
    ] * -(-len(before.keys() - rows.keys()) // limit)
    at_once._table = FaultyTable(rows)
    at_once.resync()
    assert {key: by_part.actual(key) for key in "abcde"} == {key: at_once.actual(key) for key in "abcde"}
    assert set(by_part.lacking) == set(at_once.lacking)
    assert by_part.in_sync == at_once.in_sync
