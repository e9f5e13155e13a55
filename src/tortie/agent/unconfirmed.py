"""Which changes wait to be confirmed, until when, and what is in force in the place of one that was not.

Pure: the time is an argument. Until when a change may stay is counted here, from the moment when the agent was told of
its record, by a clock that nobody sets and that runs on while the machine sleeps (CLOCK_BOOTTIME). An agent that was
not there at that moment goes by the time of day in the record, and waits no longer than one that was.

Invariants:
* From its deadline on, or from when the store says that it is gone back from, a change is out of force: where an object
  says what the change wrote, what was there before it is in force, until the record is gone.
* When a record goes that was gone back from, that stays so until the store has told of the object itself: the store
  tells of records and of objects in streams of their own, in no order between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from tortie.datastore.confirmation import Confirmation, Previous, decode, name_of
from tortie.intent.report import Noted
from tortie.status import Waiting


class Instant(NamedTuple):
    """A point in time."""

    seconds: float  # of CLOCK_BOOTTIME
    wall: datetime  # aware


class Overdue(NamedTuple):
    """A change that went out of force just now."""

    name: str
    objects: list[str]
    kept: list[str]  # of these, which others have changed: they stay as they are


@dataclass
class _Pending:
    confirmation: Confirmation
    objects: dict[str, Previous]  # by path
    ends_s: float
    ends: datetime
    is_over: bool = False
    untold: set[str] | None = None  # the record is gone, and of these objects the store has not told yet

    def replaces(self, path: str, value: bytes | None) -> Previous | None:
        """What was before, if the change wrote this value and is out of force."""
        if not self.is_over or (self.untold is not None and path not in self.untold):
            return None
        previous = self.objects.get(path)
        return previous if previous is not None and previous.stands(value) else None


class Unconfirmed:
    """The records that the store tells of, and what they mean for what is in force."""

    def __init__(self) -> None:
        self._pending: dict[str, _Pending] = {}  # by the record's key
        self._unreadable: dict[str, str] = {}

    def take(self, key: str, value: bytes, at: Instant, *, just_written: bool) -> None:
        """A record as the store says it; `just_written`: it says so at the moment of the writing. It changes nothing of
        what is in force before `expire`."""
        self._unreadable.pop(key, None)
        try:
            confirmation = decode(value)
        except ValueError as error:
            self._unreadable[key] = str(error)
            return
        objects = {previous.path: previous for previous in confirmation.objects}
        if key in self._pending:
            pending = self._pending[key]
            pending.confirmation, pending.objects = confirmation, objects
        else:
            left_s = confirmation.within_s
            if not just_written:
                left_s = min(left_s, (confirmation.deadline - at.wall).total_seconds())
            ends = at.wall + timedelta(seconds=max(left_s, 0.0))
            self._pending[key] = _Pending(confirmation, objects, at.seconds + left_s, ends)

    def end(self, key: str, told: Mapping[str, bytes]) -> set[str]:
        """The record is gone; `told` is what the store said of the objects. Returns the paths of those of which another
        value may be in force now."""
        self._unreadable.pop(key, None)
        pending = self._pending.pop(key, None)
        if pending is None:
            return set()
        if pending.confirmation.going_back:
            stale = {path for path, previous in pending.objects.items() if previous.stands(told.get(path))}
            if stale:
                pending.untold = stale
                self._pending[key] = pending
        return set(pending.objects) if pending.is_over else set()

    def told(self, path: str) -> None:
        """The store has told of an object."""
        for key, pending in list(self._pending.items()):
            if pending.untold is not None:
                pending.untold.discard(path)
                if not pending.untold:
                    del self._pending[key]

    def all_told(self) -> set[str]:
        """The store has told of everything. Returns as `end`."""
        gone = [key for key, pending in self._pending.items() if pending.untold is not None]
        return {path for key in gone for path in self._pending.pop(key).objects}

    def expire(self, seconds: float, told: Mapping[str, bytes]) -> list[Overdue]:
        """The changes whose time is up, or that the store says to be gone back from: out of force from now on. Each is
        returned once."""
        overdue = []
        for key, pending in self._pending.items():
            if not pending.is_over and (pending.confirmation.going_back or pending.ends_s <= seconds):
                pending.is_over = True
                overdue.append(Overdue(name_of(key), list(pending.objects), list(_kept(pending, told))))
        return overdue

    def in_force(self, path: str, value: bytes | None) -> bytes | None:
        """What is in force of an object of which the store says `value`."""
        for pending in self._pending.values():
            if previous := pending.replaces(path, value):
                return previous.before
        return value

    def wrote(self, path: str, value: bytes | None) -> bool:
        """Whether the value is of a change that is not confirmed."""
        found = (pending.objects.get(path) for pending in self._pending.values())
        return any(previous.stands(value) for previous in found if previous is not None)

    @property
    def next_s(self) -> float | None:
        """When the next one's time is up."""
        return min((pending.ends_s for pending in self._pending.values() if not pending.is_over), default=None)

    @property
    def overdue(self) -> list[str]:
        """The names of those that are out of force, and of which the store still has the record."""
        return [name_of(key) for key, each in self._pending.items() if each.is_over and each.untold is None]

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        """What waits, for the board."""
        return tuple(
            Waiting(
                name=name_of(key),
                by=pending.confirmation.by,
                deadline=pending.ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
                objects=tuple(previous.name for previous in pending.objects.values()),
                gone_back=pending.is_over,
            )
            for key, pending in sorted(self._pending.items())
            if pending.untold is None
        )

    @property
    def problems(self) -> Iterator[Noted]:
        """Records that cannot be read."""
        for key, reason in self._unreadable.items():
            remedy = f"nobody goes back from it: delete the key {key}"
            yield Noted(subject=f"confirmation {name_of(key)}", reason=f"it cannot be read ({reason}): {remedy}")


def _kept(pending: _Pending, told: Mapping[str, bytes]) -> Iterator[str]:
    for path, previous in pending.objects.items():
        value = told.get(path)
        if value != previous.before and not previous.stands(value):
            yield path
