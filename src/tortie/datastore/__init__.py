"""The cluster's datastore: `api.py` is what a backend promises, `open_datastore` finds the backend by URL.

follow.py      snapshot and watch of several prefixes as one stream that survives outages
resources.py   the verbs of `projectcalico.org/v3` resources, with Calico's rules
sqlite/        the embedded backend
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from tortie.datastore.api import Datastore
from tortie.datastore.sqlite import SqliteDatastore
from tortie.errors import UsageError


def open_datastore(url: str, *, create: bool = False) -> Datastore:
    """The datastore at `url`, for one event loop; it connects at the first request, and again after failures.

    With `create` a store that is kept in a file is made if it is missing, with its directory.
    """
    parts = urlsplit(url)
    if parts.scheme != "sqlite":
        raise UsageError(f"datastore {parts.scheme or url!r} is not supported: write sqlite:///PATH/TO/FILE")
    if parts.netloc or parts.query or parts.fragment or not parts.path.strip("/"):
        raise UsageError(f"datastore {url!r}: sqlite takes an absolute path, sqlite:///PATH/TO/FILE")
    return SqliteDatastore(Path(unquote(parts.path)), create=create)
