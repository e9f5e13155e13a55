"""Which change is out of force when, and what is in force in its place: no clock, no store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tortie.agent.unconfirmed import Instant, Overdue, Unconfirmed
from tortie.datastore.confirmation import Confirmation, Previous, digest, encode, path_of
from tortie.model.keys import to_path
from tortie.model.resource import ResourceKey

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
KEY = path_of("1f2e3d4c")
CHANGED, CREATED = (to_path(ResourceKey("GlobalNetworkPolicy", "", f"default.{name}")) for name in ("old", "new"))
TOLD = {CHANGED: b"after", CREATED: b"created"}
RECORD = Confirmation(
    by="root@host",
    deadline=NOON + timedelta(seconds=60),
    within_s=60,
    objects=(Previous(CHANGED, b"before", digest(b"after")), Previous(CREATED, None, digest(b"created"))),
)
MARKED = encode(Confirmation(by="b", deadline=RECORD.deadline, within_s=60, going_back=True, objects=RECORD.objects))


def at(seconds: float, wall_s: float | None = None) -> Instant:
    return Instant(1000.0 + seconds, NOON + timedelta(seconds=seconds if wall_s is None else wall_s))


def pending(when: Instant | None = None, *, just_written: bool = True) -> Unconfirmed:
    made = Unconfirmed()
    made.take(KEY, encode(RECORD), when or at(0), just_written=just_written)
    return made


def in_force(unconfirmed: Unconfirmed, told: dict[str, bytes] = TOLD) -> list[bytes | None]:
    return [unconfirmed.in_force(path, told.get(path)) for path in (CHANGED, CREATED)]


def test_a_change_is_in_force_until_its_time_is_up() -> None:
    unconfirmed = pending()
    assert pending().next_s == 1060
    assert unconfirmed.expire(1059.9, TOLD) == []
    assert in_force(unconfirmed) == [b"after", b"created"]
    assert unconfirmed.expire(1060, TOLD) == [Overdue("1f2e3d4c", [CHANGED, CREATED], [])]
    assert in_force(unconfirmed) == [b"before", None]
    assert unconfirmed.expire(1061, TOLD) == []  # told once
    assert (unconfirmed.next_s, unconfirmed.overdue) == (None, ["1f2e3d4c"])


def test_a_confirmed_one_stays() -> None:
    unconfirmed = pending()
    assert unconfirmed.end(KEY, TOLD) == set()
    assert unconfirmed.expire(2000, TOLD) == []
    assert in_force(unconfirmed) == [b"after", b"created"]


def test_a_confirmation_that_is_heard_of_after_the_deadline_ends_the_going_back() -> None:
    unconfirmed = pending()
    unconfirmed.expire(1060, TOLD)
    assert unconfirmed.end(KEY, TOLD) == {CHANGED, CREATED}
    assert in_force(unconfirmed) == [b"after", b"created"]


@pytest.mark.parametrize(
    ("wall_s", "just_written", "left_s"),
    [
        (0, True, 60),
        (500, True, 60),  # the clock of this host is fast, and does not count
        (-500, True, 60),
        (20, False, 40),  # came late: by the time of day
        (90, False, -30),  # came after it
        (-500, False, 60),  # slow, or the writer's is fast: no longer than who was there
    ],
)
def test_until_when(wall_s: float, just_written: bool, left_s: float) -> None:
    unconfirmed = pending(at(0, wall_s), just_written=just_written)
    assert unconfirmed.next_s == 1000 + left_s
    [waiting] = unconfirmed.waiting
    ends = NOON + timedelta(seconds=wall_s + max(left_s, 0))
    assert waiting.deadline == ends.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_hearing_of_it_again_prolongs_nothing() -> None:
    unconfirmed = pending()
    unconfirmed.take(KEY, encode(RECORD), at(30), just_written=True)
    assert unconfirmed.next_s == 1060


def test_what_others_changed_stays_and_is_named() -> None:
    unconfirmed = pending()
    told = {CHANGED: b"of others", CREATED: b"created"}
    assert unconfirmed.expire(1060, told) == [Overdue("1f2e3d4c", [CHANGED, CREATED], [CHANGED])]
    assert in_force(unconfirmed, told) == [b"of others", None]


def test_what_others_deleted_stays_so() -> None:
    unconfirmed = pending()
    [overdue] = unconfirmed.expire(1060, {})
    assert overdue.kept == [CHANGED]
    assert in_force(unconfirmed, {}) == [None, None]


def test_what_was_not_written_yet_is_what_it_was() -> None:
    """The writer died between the record and the changes."""
    unconfirmed = pending()
    told = {CHANGED: b"before"}
    [overdue] = unconfirmed.expire(1060, told)
    assert overdue.kept == []
    assert in_force(unconfirmed, told) == [b"before", None]
    # And what he still writes is out of force at once.
    assert in_force(unconfirmed) == [b"before", None]


def test_the_store_says_that_it_is_gone_back_from() -> None:
    unconfirmed = pending()
    unconfirmed.take(KEY, MARKED, at(5), just_written=True)
    assert [each.name for each in unconfirmed.expire(1005, TOLD)] == ["1f2e3d4c"]
    assert in_force(unconfirmed) == [b"before", None]


class TestTheRecordGoesBeforeTheObjectsAreTold:
    @pytest.fixture
    def unconfirmed(self) -> Unconfirmed:
        made = pending()
        made.take(KEY, MARKED, at(5), just_written=True)
        made.expire(1005, TOLD)
        made.end(KEY, TOLD)
        return made

    def test_what_was_before_stays_in_force(self, unconfirmed: Unconfirmed) -> None:
        assert in_force(unconfirmed) == [b"before", None]
        assert (unconfirmed.overdue, unconfirmed.waiting) == ([], ())

    def test_until_the_object_is_told(self, unconfirmed: Unconfirmed) -> None:
        unconfirmed.told(CHANGED)
        # Whoever writes the same once more wants it.
        assert in_force(unconfirmed) == [b"after", None]
        unconfirmed.told(CREATED)
        assert in_force(unconfirmed) == [b"after", b"created"]
        assert unconfirmed.all_told() == set()

    def test_or_until_everything_is(self, unconfirmed: Unconfirmed) -> None:
        assert unconfirmed.all_told() == {CHANGED, CREATED}
        assert in_force(unconfirmed) == [b"after", b"created"]


def test_nothing_is_waited_for_when_the_objects_were_told_before() -> None:
    unconfirmed = pending()
    unconfirmed.take(KEY, MARKED, at(5), just_written=True)
    unconfirmed.end(KEY, {CHANGED: b"before"})
    assert in_force(unconfirmed) == [b"after", b"created"]


def test_what_an_unconfirmed_change_wrote() -> None:
    unconfirmed = pending()
    assert unconfirmed.wrote(CHANGED, b"after")
    assert not unconfirmed.wrote(CHANGED, b"before")
    assert not unconfirmed.wrote(CHANGED, None)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 100_000,
        encode(RECORD).replace(b"60,", b"1e300,"),
        encode(RECORD).replace(b"60,", b"-1,"),
        encode(RECORD).replace(b"2026-", b"20260-"),
    ],
)
def test_a_record_that_cannot_be_read_is_named_and_does_nothing(value: bytes) -> None:
    unconfirmed = Unconfirmed()
    unconfirmed.take(KEY, value, at(0), just_written=True)
    assert unconfirmed.expire(5000, TOLD) == []
    [problem] = unconfirmed.problems
    assert problem.subject == "confirmation 1f2e3d4c"
    assert KEY in problem.reason
    assert unconfirmed.end(KEY, TOLD) == set()
    assert list(unconfirmed.problems) == []
