"""Which store this host may follow and write: one of a format that is known here, of the cluster it belongs to.

A host belongs to the first cluster that it followed, by the GUID in ClusterInformation, which its local snapshot
remembers. Where that cluster is stored does not matter: a store that was moved or restored is the same cluster. An
empty store, or another cluster, is refused until the operator says that the host belongs to it: `tortie node init
--new-cluster` writes the GUID of the store's cluster to a file, which is taken note of here.
"""

from __future__ import annotations

from pathlib import Path

from tortie.datastore import format
from tortie.datastore.api import Datastore, Listing
from tortie.datastore.cluster import CLUSTER_PATH, check_cluster, guid_of
from tortie.datastore.follow import Said
from tortie.errors import DatastoreError, ForeignCluster, FormatTooNew

REMEDY = (
    "if it is the right store, put the cluster back into it from a backup; if this host now belongs to what is there, "
    "say so on it: tortie node init --new-cluster"
)


class Admission:
    """Judges what a store says; `cluster` is the GUID of the cluster that the host belongs to, empty for none yet."""

    def __init__(self, cluster: str, accepted: Path, place: str) -> None:
        self.cluster = cluster
        self.refusal: DatastoreError | None = None
        self._accepted = accepted
        self._place = place

    def judge(self, prefix: str, said: Said) -> None:
        """Raises ForeignCluster or FormatTooNew when this must not be taken: see `follow.Judge`."""
        if isinstance(said, Listing):
            found: dict[str, bytes | None] = {key: None for key in (CLUSTER_PATH, format.KEY) if key.startswith(prefix)}
            found |= {item.key: item.value for item in said.items if item.key in found}
        else:
            found = {event.key: event.value for event in said.events if event.key in (CLUSTER_PATH, format.KEY)}
        self._judge(found)

    async def look(self, datastore: Datastore) -> None:
        """Asks the store what it is. Raises ForeignCluster, FormatTooNew and what the store raises."""
        items = {key: await datastore.get(key) for key in (CLUSTER_PATH, format.KEY)}
        self._judge({key: item.value if item else None for key, item in items.items()})

    def remembered(self, cluster: str) -> None:
        """The snapshot is of this cluster from now on, so what the operator said need not be kept. Raises OSError."""
        if cluster and cluster == self._accepted_cluster():
            self._accepted.unlink(missing_ok=True)

    def _judge(self, found: dict[str, bytes | None]) -> None:
        try:
            if format.KEY in found:
                format.judge(found[format.KEY], self._place)
            if CLUSTER_PATH in found:
                self._identify(found[CLUSTER_PATH])
        except (ForeignCluster, FormatTooNew) as error:
            self.refusal = error
            raise
        self.refusal = None

    def _identify(self, information: bytes | None) -> None:
        if self.cluster and guid_of(information) != self.cluster and guid_of(information) != self._accepted_cluster():
            try:
                check_cluster(self.cluster, information, self._place)
            except ForeignCluster as error:
                raise ForeignCluster(f"{error}: {REMEDY}") from None
        self.cluster = guid_of(information) or self.cluster

    def _accepted_cluster(self) -> str | None:
        try:
            return self._accepted.read_text().strip() or None
        except (OSError, UnicodeDecodeError):
            return None
