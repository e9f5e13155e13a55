"""What is wrong in a store, found by reading all of it: values in, findings out.

facts.py       what a store holds, read by kind
findings.py    what is said of it
cluster.py     whether the cluster was begun, and whether somebody moves it
objects.py     broken objects, names that disagree
references.py  names of objects that do not exist
addresses.py   addresses that two have, pools that overlap
ipam.py        blocks, affinities and handles that do not agree
"""

from __future__ import annotations

from datetime import datetime

from tortie.datastore.api import Datastore
from tortie.datastore.check import addresses, cluster, ipam, objects, references
from tortie.datastore.check.facts import Facts, read
from tortie.datastore.check.findings import Finding

__all__ = ["Facts", "Finding", "check", "examine"]


async def examine(datastore: Datastore, now: datetime) -> list[Finding]:
    """Everything that is wrong with a store, and what is worth knowing; `now` has a time zone."""
    return check(await read(datastore), now)


def check(facts: Facts, now: datetime) -> list[Finding]:
    """The same of what was read: problems first, then by subject."""
    found = [
        *cluster.check(facts),
        *objects.check(facts),
        *references.check(facts),
        *addresses.check(facts),
        *ipam.check(facts, now),
    ]
    return sorted(found, key=lambda finding: (not finding.is_problem, finding.subject, finding.path, finding.reason))
