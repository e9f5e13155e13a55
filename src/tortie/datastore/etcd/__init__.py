"""etcd, version 3, as a datastore: the cluster's store for many machines.

backend.py     the verbs of `datastore/api.py` as calls, and which of them may be tried again elsewhere
committer.py   transactions that arrive together, sent as one
watch.py       one stream per watch: complete, in order, and never silent without notice
connection.py  the way to one member at a time, with TLS and login
members.py     which servers a URL means
history.py     whether it is still the same store
failure.py     etcd's errors as ours
wire.py        etcd's messages
"""

from __future__ import annotations

import os

# gRPC's own lines on stderr say nothing that our errors do not. It looks at the variable when it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from tortie.datastore.etcd.backend import EtcdDatastore

__all__ = ["EtcdDatastore"]
