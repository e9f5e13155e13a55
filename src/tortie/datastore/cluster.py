"""Which cluster a store holds, by the GUID in its ClusterInformation, and whether it is the one that is expected.

The GUID is given once and goes with every copy of a cluster, so a store that was moved, or restored from a backup, is
the same cluster; an empty store is none.
"""

from __future__ import annotations

import msgspec

from tortie.errors import ForeignCluster
from tortie.model.keys import to_path
from tortie.model.kinds.clusterinformation import NAME_OF_ALL
from tortie.model.resource import ResourceKey

CLUSTER_INFORMATION = ResourceKey("ClusterInformation", "", NAME_OF_ALL)
CLUSTER_PATH = to_path(CLUSTER_INFORMATION)


def guid_of(information: bytes | None) -> str:
    """The GUID that a stored ClusterInformation tells, whatever else is wrong with it; empty: there is none."""
    try:
        guid = msgspec.json.decode(information or b"")["spec"]["clusterGUID"]
    except (msgspec.MsgspecError, ValueError, LookupError, TypeError, RecursionError):
        return ""
    return guid if isinstance(guid, str) else ""


def check_cluster(expected: str, information: bytes | None, place: str) -> None:
    """Raises ForeignCluster unless the store at `place`, by its ClusterInformation, is the cluster expected."""
    found = guid_of(information)
    if found == expected:
        return
    held = f"holds cluster {found}" if found else "says of no cluster that it holds it, as an empty store does"
    raise ForeignCluster(f"datastore {place} {held}, and this host belongs to cluster {expected}")
