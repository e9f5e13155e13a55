"""One SQLite file as a connection that mends itself: opened on demand, closed after a failure, opened again.

Invariants:
* The backend's worker thread does the work, and nothing waits for a lock of the file: `Locked` says that the work is
  to be tried again. The event loop's thread may only `glance`, which does not wait for the worker either.
* The file that was opened first is the store. It is not made anew when it is gone: an empty store in the place
  of the real one would read as "everything was deleted". Another file in its place is refused: SQLite would
  apply to it the write-ahead log that the old one left there.
* The database file is never opened except by SQLite: closing any descriptor of it drops this process's POSIX
  locks (fcntl(2), "How To Corrupt An SQLite Database File" 2.2). A process that forks must not use the child's
  copy.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from tortie.datastore.sqlite import rows, schema
from tortie.datastore.sqlite.bell import ring
from tortie.errors import DatastoreError, NoStore, Unavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

DIRECTORY_MODE = 0o750
FILE_MODE = 0o640  # the group reads; writing is for the owner, as changes are on the agent's socket


class Locked(Exception):
    """Another process holds the lock that this work needs."""


class StoreFile:
    """The file at `path`; with `create` the first use makes it, and its directory, if they are missing."""

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        self._create = create
        self._db: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None  # of the file opened first
        self._writable = False
        self._in_use = threading.Lock()

    def read(self, work: Work[T]) -> T:
        """Runs `work` on one consistent state of the store."""
        if self._lease_due():
            # Reading does not depend on it, and whoever writes next ends the leases in our place.
            with contextlib.suppress(Locked, DatastoreError):
                self.write(lambda _: None)
        with self._in_use, self._failures_explained():
            return self._read(work)

    def glance(self, work: Work[T]) -> T | None:
        """Runs `work` as `read` does, or answers None when that is not possible at once.

        It must be little work on what has just been written, which the kernel holds in memory: then it takes less than
        the way to another thread and back.
        """
        if self._db is None or not self._in_use.acquire(blocking=False):
            return None
        try:
            with self._failures_explained():
                return self._read(work)
        except (Locked, DatastoreError):  # the worker meets it too, and can wait
            return None
        finally:
            self._in_use.release()

    def write(self, work: Work[T]) -> T:
        """Runs `work` as one transaction, after ending the leases that are due, and wakes the watchers."""
        (result,) = self.write_each([work])
        if isinstance(result, Exception):
            raise result
        return result

    def write_each(self, works: Sequence[Work[T]]) -> list[T | Exception]:
        """Runs each work as a transaction of its own, all in one commit, after ending the leases that are due, and
        wakes the watchers. What a work raises stands for its result: nothing of it was done, and the others were."""
        with self._in_use, self._failures_explained():
            db = self._connection()
            if not self._writable:
                if self._on_read_only_disk():
                    raise DatastoreError(f"datastore {self.path}: its file system is mounted read-only")
                raise DatastoreError(
                    f"datastore {self.path} is read-only for user {_user()}: run this as its owner, {self._owner()}"
                )
            with _transaction(db, "immediate"):
                before = rows.current_revision(db)
                rows.end_due_leases(db, rows.Instant.now())
                results = [_attempt(db, work) for work in works]
                changed = rows.current_revision(db) != before
            if changed:
                ring(self.path)
            return results

    def reader(self) -> sqlite3.Connection:
        """A connection of its own that sees the store as it is now, until it is closed."""
        with self._failures_explained():
            self._connection()
            db = self._open()
            try:
                db.execute("begin deferred")
                rows.current_revision(db)  # only reading fixes what is seen
            except BaseException:
                db.close()
                raise
            return db

    def read_by(self, reader: sqlite3.Connection, work: Work[T]) -> T:
        """Runs `work` on what a reader sees."""
        with self._failures_explained():
            return work(reader)

    def close(self) -> None:
        with self._in_use:
            self._close()

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _read(self, work: Work[T]) -> T:
        db = self._connection()
        with _transaction(db, "deferred"):
            return work(db)

    def _lease_due(self) -> bool:
        with self._in_use, self._failures_explained():
            return rows.any_lease_due(self._connection(), rows.Instant.now()) and self._writable

    def _connection(self) -> sqlite3.Connection:
        found = self._find()
        inode = (found.st_dev, found.st_ino)
        if self._inode not in (None, inode):
            raise Unavailable(
                f"datastore {self.path} was replaced while in use: stop what uses it, remove its -wal and -shm "
                "files, put the right file in its place, and start again"
            )
        if self._db is None:
            self._db = self._open()
            self._inode = inode
            self._create = False
        return self._db

    def _find(self) -> os.stat_result:
        try:
            if self._create:
                self._make()
            found = self.path.stat()
        except FileNotFoundError:
            missing = self.path if self.path.parent.is_dir() else self.path.parent
            raise NoStore(
                f"datastore {self.path}: {missing} does not exist; is the path right, and has the agent been started?"
            ) from None
        except OSError as error:
            raise Unavailable(f"datastore {self.path} cannot be used by user {_user()}: {error.strerror}") from error
        if not stat.S_ISREG(found.st_mode):
            raise Unavailable(f"datastore {self.path} is not a file")
        return found

    def _make(self) -> None:
        if not self.path.parent.exists():
            self.path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        # mknod, not open: there is no descriptor whose closing could drop a lock (see above).
        with contextlib.suppress(FileExistsError):
            os.mknod(self.path, stat.S_IFREG | FILE_MODE)

    def _open(self) -> sqlite3.Connection:
        if not os.access(self.path, os.R_OK, effective_ids=True):
            raise Unavailable(
                f"datastore {self.path} is not readable for user {_user()}: run this as its owner, {self._owner()}"
            )
        self._writable = os.access(self.path, os.W_OK, effective_ids=True)
        uri = f"file:{quote(str(self.path))}?mode={'rw' if self._writable else 'ro'}"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0, check_same_thread=False)
        try:
            # Survives the death of any process; a power cut may take the last commits, never consistency.
            db.execute("pragma synchronous = normal")
            schema.prepare(db, self.path, writable=self._writable)
        except BaseException:
            db.close()
            raise
        return db

    @contextlib.contextmanager
    def _failures_explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            extended_code = getattr(error, "sqlite_errorcode", None)
            if extended_code is None:  # not from SQLite itself: we used it wrongly
                raise
            code = extended_code & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise Locked from None
            if code == sqlite3.SQLITE_FULL:
                # The transaction is undone. Reading goes on: to open the file anew could need space.
                raise self._disk_full() from error
            self._close()
            if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                self._inode = None  # whatever is put in its place will be better
            raise self._explain(error, code) from error

    def _explain(self, error: sqlite3.DatabaseError, code: int) -> DatastoreError:
        match code:
            case sqlite3.SQLITE_IOERR if not os.statvfs(self.path.parent).f_bavail:
                return self._disk_full()
            case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
                return DatastoreError(
                    f"datastore {self.path} is damaged ({error}): move it and its -wal and -shm files away, "
                    "and put a backup in its place"
                )
            case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY if self._on_read_only_disk():
                return Unavailable(
                    f"datastore {self.path}: its file system is mounted read-only, where it can only be read "
                    "while a process from before has it open"
                )
            case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY if not self._writable:
                # The first to open a write-ahead log must be able to write its index (sqlite.org/wal.html).
                return Unavailable(
                    f"datastore {self.path}: user {_user()} may only read it, which works while the agent has "
                    f"it open: start the agent, or run this as the owner, {self._owner()}"
                )
            case sqlite3.SQLITE_READONLY:
                return DatastoreError(f"datastore {self.path} is read-only: {error}")
            case sqlite3.SQLITE_CANTOPEN:
                return Unavailable(
                    f"datastore {self.path}: its -wal and -shm files cannot be made or opened in {self.path.parent}"
                )
            case _:
                return Unavailable(f"datastore {self.path} failed: {error}")

    def _on_read_only_disk(self) -> bool:
        return bool(os.statvfs(self.path.parent).f_flag & os.ST_RDONLY)

    def _disk_full(self) -> Unavailable:
        return Unavailable(f"datastore {self.path}: the disk is full, nothing was written: free some space")

    def _owner(self) -> str:
        try:
            return self.path.owner()
        except (KeyError, OSError):
            return "unknown"


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection, kind: str) -> Iterator[None]:
    db.execute(f"begin {kind}")
    try:
        yield
        db.execute("commit")
    except BaseException:
        if db.in_transaction:  # some errors, a full disk among them, roll back by themselves
            db.execute("rollback")
        raise


def _attempt(db: sqlite3.Connection, work: Work[T]) -> T | Exception:
    """The result of a work, or what it raised; a fault of SQLite itself is raised, and ends the whole transaction."""
    db.execute("savepoint work")
    result: T | Exception
    try:
        result = work(db)
    except sqlite3.Error:
        raise
    except Exception as error:  # whatever it is belongs to the caller of this one work
        db.execute("rollback to work")
        result = error
    db.execute("release work")
    return result


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
