"""The cluster's datastore: `api.py` is what a backend promises, `open_datastore` finds the backend by URL.

follow.py      snapshot and watch of several prefixes as one stream that survives outages
resources.py   the verbs of `projectcalico.org/v3` resources, with Calico's rules
format.py      the version of what a store holds; a newer one is refused
cluster.py     which cluster a store holds
grouping.py    requests that arrive together, served together
guard.py       a store that is asked nothing before it was judged
conditions.py  what other objects must say when one is written
contention.py  the pause of a writer that lost a race
cascade.py     what goes with an object that is deleted
confirmation.py, confirming.py  a change that goes back unless it is confirmed: its record, and what is done with it
repair.py      a good object in the place of a broken one
policy_names.py names of policies before Calico v3.32
check/         what is wrong in a store
transfer/      a cluster moved to another store, or to a file
sentences.py   refusals, in the words of calicoctl's users
sqlite/        the embedded backend
etcd/          etcd, for many machines
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from tortie.access import NO_CREDENTIALS, Credentials
from tortie.datastore.api import Datastore
from tortie.errors import UsageError

ETCD_SCHEMES = ("etcd", "etcds", "etcd+srv", "etcds+srv")


def open_datastore(url: str, *, create: bool = False, credentials: Credentials = NO_CREDENTIALS) -> Datastore:
    """The datastore at `url`, for one event loop; it connects at the first request, and again after failures.

    With `create` a store that is kept in a file is made if it is missing, with its directory.
    """
    scheme = url.partition("://")[0]
    if scheme in ETCD_SCHEMES:
        # A backend is loaded where it is used: gRPC takes half as long as a whole command on SQLite.
        from tortie.datastore.etcd import EtcdDatastore

        return EtcdDatastore(url, credentials)
    if scheme != "sqlite":
        known = "sqlite:///PATH/TO/FILE or etcd://HOST:2379"
        raise UsageError(f"datastore {scheme if '://' in url else url!r} is not supported: write {known}")
    parts = urlsplit(url)
    if parts.netloc or parts.query or parts.fragment or not parts.path.strip("/"):
        raise UsageError(f"datastore {url!r}: sqlite takes an absolute path, sqlite:///PATH/TO/FILE")
    from tortie.datastore.sqlite import SqliteDatastore

    return SqliteDatastore(Path("/", unquote(parts.path).lstrip("/")), create=create)
