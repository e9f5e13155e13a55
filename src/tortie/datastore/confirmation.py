"""The record of a change that is to be confirmed: what was there before it, and until when it may stay unconfirmed.

A record stands below `PREFIX` from before the first change until the change is confirmed, or was gone back from.

Invariants:
* A change is told by its value, of which the record has the digest, and by no revision: so the record is complete
  before the first change, and true of a copy of the store.
* Going back concerns an object only while it says what the change wrote. What others made of it since then stays.
* `going_back` is never taken back: from then on the change cannot be confirmed, and no more of it is written.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated

import msgspec

from tortie.model.keys import from_path

PREFIX = "/tortie/v1/confirmations/"

SHORTEST_S = 1.0
LONGEST_S = 30 * 24 * 3600.0
# etcd takes 1.5 MiB in a request (--max-request-bytes), and an agent takes all objects out of force in one step of its
# loop, 3 to 5 ms for a hundred.
MAX_BYTES = 1 << 20
MAX_OBJECTS = 400


class Previous(msgspec.Struct, frozen=True):
    """One object of a change."""

    path: str  # its key in the store
    before: bytes | None  # the value before the change; None: there was none
    after: str  # digest of the value that the change writes

    @property
    def name(self) -> str:
        """The object in words."""
        return str(from_path(self.path) or self.path)

    def stands(self, value: bytes | None) -> bool:
        """Whether this is what the change wrote."""
        return value is not None and digest(value) == self.after


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """A change that is not confirmed yet."""

    by: str  # user@host
    deadline: Annotated[datetime, msgspec.Meta(tz=True)]  # by the clock of that host
    # From the moment when the record was written: who saw that counts by a clock of his own.
    within_s: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_S)]
    going_back: bool = False
    objects: tuple[Previous, ...]


def digest(value: bytes) -> str:
    """What tells two values apart."""
    return hashlib.sha256(value).hexdigest()


def encode(confirmation: Confirmation) -> bytes:
    """The value that says it."""
    return msgspec.json.encode(confirmation)


def decode(value: bytes) -> Confirmation:
    """Raises ValueError for what is no record, or one that a newer tortie words otherwise."""
    try:
        return msgspec.json.decode(value, type=Confirmation)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error


def path_of(name: str) -> str:
    """The key of the record that users call `name`."""
    return PREFIX + name


def name_of(path: str) -> str:
    """What users call the record of this key."""
    return path.removeprefix(PREFIX)
