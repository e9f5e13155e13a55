"""ClusterInformation: the one object that says what the cluster is and whether its datastore may be used."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from tortie.errors import Problem
from tortie.model.kind import NAME, Kind, column
from tortie.model.resource import Resource
from tortie.model.schema import Spec

NAME_OF_ALL = "default"


class ClusterInformationSpec(Spec, frozen=True, kw_only=True):
    """What the cluster is, and whether its datastore may be used. Written by programs, read by users.

    Source: api/pkg/apis/projectcalico/v3/clusterinfo.go
    """

    cluster_guid: str = ""
    """The cluster's identity: 32 lower-case hex digits, given once."""

    cluster_type: str = ""
    """Who works on this cluster: words separated by commas."""

    calico_version: str = ""
    """The version of Calico. calicoctl of another version refuses to work, so tortie leaves it empty."""

    datastore_ready: bool | None = None
    """Agents work while it is true; false is "locked". Absent: not ready."""

    variant: str = ""
    """Which of Calico's products; tortie leaves it empty."""


def initialised(spec: ClusterInformationSpec | None, *, guid: str, cluster_type: str) -> ClusterInformationSpec:
    """What the object must say before the cluster is used: `guid` if it has none, ready unless it says no."""
    spec = spec or ClusterInformationSpec()
    words = [word for word in spec.cluster_type.split(",") if word]
    if cluster_type not in words:
        words.append(cluster_type)
    return replace(
        spec,
        cluster_guid=spec.cluster_guid or guid,
        cluster_type=",".join(words),
        datastore_ready=True if spec.datastore_ready is None else spec.datastore_ready,
    )


def rules(information: Resource[ClusterInformationSpec]) -> Iterator[Problem]:
    if information.key.name != NAME_OF_ALL:
        yield Problem("metadata.name", information.key.name, f"must be {NAME_OF_ALL}")


COLUMNS = (
    NAME,
    column("CLUSTERGUID", lambda information: information.spec.cluster_guid),
    column("CLUSTERTYPE", lambda information: information.spec.cluster_type),
    column("CALICOVERSION", lambda information: information.spec.calico_version),
    column("DATASTOREREADY", lambda information: information.spec.datastore_ready),
)

KIND = Kind(
    name="ClusterInformation",
    plural="clusterinformations",
    aliases=("clusterinformation", "clusterinfo", "clusterinfos"),
    spec=ClusterInformationSpec,
    columns=COLUMNS,
    wide=COLUMNS,
    read_only=True,
    rules=rules,
)
