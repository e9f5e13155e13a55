"""The datastore's verbs as SQL, each to be called inside a transaction that `file.py` opened.

Invariants:
* A transaction that changes a key takes the next revision, writes it to `store`, to the keys and to the log.
  A transaction that changes nothing takes none.
* The log holds every change above `store.compacted`, and at most about `HISTORY` revisions.
* A key whose lease is due is deleted by a transaction like any other, so watchers see it go.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tortie.datastore.api import Batch, Compare, Delete, Event, Item, Listing, Put, TxnResult
from tortie.errors import Compacted, NotFound

HISTORY = 10_000  # revisions kept for watchers; about 5 MB of workload endpoints
COMPACT_EVERY = 1_000  # revisions between two compactions: one deletes 1,000 rows, 3 ms

FEW = 50  # revisions that are read in passing: 0.1 ms

# U+10FFFF is a noncharacter (Unicode 23.7) and in no key; SQLite compares text by its UTF-8 bytes.
ABOVE = "\U0010ffff"


class Instant(NamedTuple):
    """A point in time that all processes of this machine agree on, suspended or not, until it reboots."""

    boot: str
    seconds: float

    @classmethod
    def now(cls) -> Instant:
        return cls(_boot_id(), time.clock_gettime(time.CLOCK_BOOTTIME))


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def current_revision(db: sqlite3.Connection) -> int:
    revision: int = db.execute("select revision from store").fetchone()[0]
    return revision


def get(db: sqlite3.Connection, key: str) -> Item | None:
    row = db.execute("select key, value, revision, created, lease from kv where key = ?", (key,)).fetchone()
    return Item(*row) if row else None


def list_prefix(db: sqlite3.Connection, prefix: str) -> Listing:
    rows = db.execute(
        "select key, value, revision, created, lease from kv where key >= ? and key < ? order by key",
        (prefix, prefix + ABOVE),
    )
    return Listing([Item(*row) for row in rows], current_revision(db))


def list_from(db: sqlite3.Connection, prefix: str, start: str, limit: int) -> Listing:
    """The first items below a prefix from a key on, which may be the prefix itself."""
    rows = db.execute(
        "select key, value, revision, created, lease from kv where key >= ? and key < ? order by key limit ?",
        (start, prefix + ABOVE, limit),
    )
    return Listing([Item(*row) for row in rows], current_revision(db))


def events_since(db: sqlite3.Connection, prefix: str, from_revision: int) -> Batch:
    """All events at or after `from_revision`.

    Raises `Compacted` also when the store has not come that far: an older state was restored, so what the
    reader knows has no continuation here.
    """
    revision, compacted = db.execute("select revision, compacted from store").fetchone()
    if from_revision <= compacted:
        raise Compacted(compacted + 1)
    if from_revision > revision + 1:
        raise Compacted(revision + 1)
    rows = db.execute(
        "select key, value, revision from log where revision >= ? and key >= ? and key < ? "
        "order by revision, sequence",  # `order by sequence` alone would make SQLite scan the whole log
        (from_revision, prefix, prefix + ABOVE),
    )
    return Batch(tuple(Event(*row) for row in rows), revision)


def few_events_since(db: sqlite3.Connection, prefix: str, from_revision: int) -> Batch | None:
    """The same for as much as can be read in passing; None when there is more."""
    if current_revision(db) - from_revision >= FEW:
        return None
    return events_since(db, prefix, from_revision)


def commit(db: sqlite3.Connection, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> TxnResult:
    found = [get(db, compare.key) for compare in compares]
    revisions = [item.revision if item else 0 for item in found]
    if revisions != [compare.revision for compare in compares]:
        return TxnResult(False, current_revision(db), tuple(found))
    return TxnResult(True, _write(db, writes), ())


def compact(db: sqlite3.Connection, revision: int) -> None:
    """Forgets the events up to and including `revision`."""
    db.execute("delete from log where revision <= ?", (revision,))
    db.execute("update store set compacted = ? where compacted < ?", (revision, revision))


def grant(db: sqlite3.Connection, ttl_s: float, now: Instant) -> int:
    cursor = db.execute(
        "insert into lease(ttl_s, boot, ends_s) values(?, ?, ?)", (ttl_s, now.boot, now.seconds + ttl_s)
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def keep_alive(db: sqlite3.Connection, lease: int, now: Instant) -> None:
    """Call `end_due_leases` first, in the same transaction."""
    if not db.execute("update lease set ends_s = ? + ttl_s where id = ?", (now.seconds, lease)).rowcount:
        raise NotFound(f"lease {lease} has ended")


def any_lease_due(db: sqlite3.Connection, now: Instant) -> bool:
    return db.execute("select 1 from lease where boot != ? or ends_s <= ?", now).fetchone() is not None


def end_due_leases(db: sqlite3.Connection, now: Instant) -> None:
    """Deletes the keys of every lease that is due, in one revision of its own."""
    leases = db.execute("select id from lease where boot != ? or ends_s <= ?", now).fetchall()
    if not leases:
        return
    keys = [key for lease in leases for (key,) in db.execute("select key from kv where lease = ?", lease)]
    _write(db, [Delete(key) for key in keys])
    db.executemany("delete from lease where id = ?", leases)


def _write(db: sqlite3.Connection, writes: Sequence[Put | Delete]) -> int:
    """Applies the writes as one revision; returns the revision at which the store then stands."""
    if len({write.key for write in writes}) < len(writes):
        raise ValueError("a transaction writes a key at most once")
    before = current_revision(db)
    revision = before + 1
    changed = [write for write in writes if _write_one(db, write, revision)]
    if not changed:
        return before
    db.execute("update store set revision = ?", (revision,))
    if revision % COMPACT_EVERY == 0 and revision > HISTORY:
        compact(db, revision - HISTORY)
    return revision


def _write_one(db: sqlite3.Connection, write: Put | Delete, revision: int) -> bool:
    if isinstance(write, Put):
        if write.lease and not db.execute("select 1 from lease where id = ?", (write.lease,)).fetchone():
            raise NotFound(f"lease {write.lease} has ended")
        db.execute(
            "insert into kv values(:key, :value, :revision, :revision, :lease) "
            "on conflict(key) do update set value = :value, revision = :revision, lease = :lease",
            {"key": write.key, "value": write.value, "revision": revision, "lease": write.lease},
        )
    elif not db.execute("delete from kv where key = ?", (write.key,)).rowcount:
        return False
    value = write.value if isinstance(write, Put) else None
    db.execute("insert into log(revision, key, value) values(?, ?, ?)", (revision, write.key, value))
    return True
