"""The embedded backend: one SQLite file that the processes of one machine share, without a server.

backend.py     the six verbs as coroutines: worker thread, patience with locks, watches
committer.py   writes that arrive together, committed together
bell.py        wakes watchers of all processes after a commit (inotify), a slow poll behind it
file.py        the connection: opened on demand, reopened after a failure; errors in words
rows.py        the verbs as SQL: keys, log, leases, compaction
schema.py      tables, format version, identity of the store
"""

from tortie.datastore.sqlite.backend import SqliteDatastore

__all__ = ["SqliteDatastore"]
