"""The last known state of the datastore in a local file, so that a restart without the datastore keeps everything.

Invariants:
* The file is replaced as a whole (write, fsync, rename): a crash leaves the old or the new one.
* A file that is missing, damaged or of a newer format is no state at all, and never an error that stops the agent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog

from tortie.agent.last_valid import is_policy
from tortie.datastore.cluster import CLUSTER_PATH, guid_of

LOG = structlog.get_logger(__name__)

FORMAT = 1


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Keys and values of the followed prefixes as they stood at `revision` of the store named by `datastore`."""

    format: int = FORMAT
    datastore: str
    revision: int
    items: Mapping[str, bytes]
    last_valid: Mapping[str, bytes] = {}  # of policies among the items that are broken

    @property
    def cluster(self) -> str:
        """The GUID of the cluster; empty: the items tell none."""
        return guid_of(self.items.get(CLUSTER_PATH))


class _Identity(msgspec.Struct):
    """The one item of a snapshot that says which cluster it is of; the others are passed over."""

    information: bytes | None = msgspec.field(name=CLUSTER_PATH, default=None)


class _Head(msgspec.Struct):
    """A snapshot as far as it must be read to know whose it is."""

    items: _Identity
    format: int = FORMAT


class _Policies(msgspec.Struct):
    """A snapshot of which few items are wanted."""

    items: dict[str, msgspec.Raw]
    last_valid: dict[str, bytes] = {}


class SnapshotFile:
    """The file; `path` is in the state directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def cluster(self) -> str:
        """The GUID of the cluster that this host knew last; empty: none."""
        try:
            head = msgspec.json.decode(self._path.read_bytes(), type=_Head)
        except (OSError, msgspec.DecodeError):  # `read` says why
            return ""
        return guid_of(head.items.information)

    def policies(self) -> dict[str, bytes]:
        """The policies of the snapshot, of broken ones the last version that was in order."""
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=_Policies)
            items = {path: msgspec.json.decode(raw, type=bytes) for path, raw in found.items.items() if is_policy(path)}
        except (OSError, msgspec.DecodeError):  # `read` says why
            return {}
        return {**items, **found.last_valid}

    def read(self, datastore: str) -> Snapshot | None:
        """The state last written, or None with the reason in the log.

        It is that of a cluster, wherever this is stored; one that tells of no cluster is only of its own datastore.
        """
        try:
            snapshot = msgspec.json.decode(self._path.read_bytes(), type=Snapshot)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            LOG.warning("local snapshot is unusable: starting without it", path=str(self._path), reason=str(error))
            return None
        if snapshot.format > FORMAT:
            reason = f"format {snapshot.format} is newer than {FORMAT}"
        elif snapshot.datastore != datastore and not snapshot.cluster:
            reason = f"it is of {snapshot.datastore}"
        else:
            return snapshot
        LOG.warning("local snapshot is not used", path=str(self._path), reason=reason)
        return None

    def write(self, snapshot: Snapshot) -> None:
        """Blocks for the disk: run it in a thread. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(snapshot))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError:
            # The half that a full disk took would keep the space from others.
            temporary.unlink(missing_ok=True)
            raise
