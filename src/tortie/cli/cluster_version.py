"""Which Calico tortie stands for, and whether a cluster of another may be written.

calicoctl refuses a cluster whose `calicoVersion` is not its own, to the patch release. tortie follows v3.32 and later,
keeps what it does not know, and has no release for each of Calico's: so every v3 from v3.32 on is right, and an older
one is refused, which stores policies under other names.
"""

from __future__ import annotations

import re

from tortie.cli.calicoctl import mismatch_allowed
from tortie.datastore.cluster import CLUSTER_INFORMATION
from tortie.datastore.resources import Resources
from tortie.errors import DatastoreError, InvalidResource, TortieError

# What `tortie version` answers to who asks for a version of Calico.
CALICO_VERSION = "v3.32.1"

_OVERRIDE = "Use --allow-version-mismatch to override"
_VERSION = re.compile(r"([0-9]+)\.([0-9]+)(?:\.[0-9]+)?")


class VersionMismatch(TortieError):
    """The cluster is of a version that tortie does not follow, or its version cannot be read."""


def fits(version: str) -> bool:
    """Whether a cluster of this `calicoVersion` is one of those that tortie follows."""
    ours, theirs = _release(CALICO_VERSION), _release(version)
    return theirs is not None and ours is not None and theirs[0] == ours[0] and theirs >= ours


async def check_version(resources: Resources) -> None:
    """Raises VersionMismatch, in calicoctl's words, unless the version fits or the user allows any."""
    if mismatch_allowed():
        return
    try:
        version = (await resources.get(CLUSTER_INFORMATION)).spec.calico_version
    except InvalidResource as error:
        reason = f"unable to get Cluster Information to verify version mismatch: {error}"
        raise VersionMismatch(f"{reason}\n{_OVERRIDE}") from error
    except DatastoreError:  # nothing there, or no answer: what follows will say so
        return
    if version and not fits(version):
        lines = ("version mismatch.", f"Client Version:   {CALICO_VERSION}", f"Cluster Version:  {version}", _OVERRIDE)
        raise VersionMismatch("\n".join(lines))


def _release(version: str) -> tuple[int, int] | None:
    """Major and minor number, without what follows the first dash."""
    found = _VERSION.fullmatch(version.removeprefix("v").partition("-")[0])
    return (int(found[1]), int(found[2])) if found else None
