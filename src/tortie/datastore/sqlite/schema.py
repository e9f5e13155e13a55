"""The tables of the SQLite backend and the version of their format.

`application_id` and `user_version` are SQLite's own header fields for these purposes: both can be judged
before a single table is read, so a file of somebody else, or of a newer tortie, is refused untouched.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tortie.errors import DatastoreError, FormatTooNew, Unavailable

APPLICATION_ID = int.from_bytes(b"tort", "big")
FORMAT = 1

# An empty store stands at revision 1, as in etcd: revision 0 then always means "not there".
TABLES = """
create table store(
    revision  integer not null,  -- of the last transaction that wrote
    compacted integer not null   -- the log holds every transaction above this revision
);
create table kv(
    key      text primary key,
    value    blob not null,
    revision integer not null,
    created  integer not null,
    lease    integer not null    -- 0: none
) without rowid;
create index kv_by_lease on kv(lease) where lease != 0;
create table log(
    sequence integer primary key,
    revision integer not null,
    key      text not null,
    value    blob                -- null: deleted
);
create index log_by_revision on log(revision);
create table lease(
    id     integer primary key autoincrement,  -- never used twice: a late keep-alive must not meet a stranger
    ttl_s  real not null,
    boot   text not null,        -- kernel's boot id: a lease does not outlive the machine's run
    ends_s real not null         -- CLOCK_BOOTTIME, which also counts while the machine sleeps
);
"""


def prepare(db: sqlite3.Connection, path: Path, *, writable: bool) -> None:
    """Checks that the file is a store of our format, and makes the tables in an empty file."""
    if _is_empty(db):
        if not writable:
            raise Unavailable(f"datastore {path} is still empty: start the agent, or write to it as its owner first")
        _create(db)
    _check(db, path)
    if writable:  # a property of the file, but not of every backup of it
        db.execute("pragma journal_mode = wal")


def _is_empty(db: sqlite3.Connection) -> bool:
    (tables,) = db.execute("select count(*) from sqlite_master").fetchone()
    return not tables and _header(db) == (0, 0)


def _create(db: sqlite3.Connection) -> None:
    db.execute("begin immediate")
    try:
        if _is_empty(db):  # else another process was faster
            for statement in TABLES.split(";\n"):
                db.execute(statement)
            db.execute("insert into store values(1, 0)")
            db.execute(f"pragma application_id = {APPLICATION_ID}")
            db.execute(f"pragma user_version = {FORMAT}")
        db.execute("commit")
    except BaseException:
        db.execute("rollback")
        raise


def _check(db: sqlite3.Connection, path: Path) -> None:
    application, version = _header(db)
    if application != APPLICATION_ID:
        raise DatastoreError(f"datastore {path} is a database of another program; it was left as it is")
    if version > FORMAT:
        raise FormatTooNew(
            f"datastore {path} has format {version}, this tortie knows formats up to {FORMAT}: upgrade tortie"
        )


def _header(db: sqlite3.Connection) -> tuple[int, int]:
    (application,) = db.execute("pragma application_id").fetchone()
    (version,) = db.execute("pragma user_version").fetchone()
    return application, version
