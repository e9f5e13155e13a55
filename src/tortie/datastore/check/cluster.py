"""Whether the cluster was begun as every tool of Calico expects it, and whether somebody moves it."""

from __future__ import annotations

from collections.abc import Iterator

from tortie.datastore.check.facts import Facts, mapping
from tortie.datastore.check.findings import Finding, notice, problem
from tortie.datastore.cluster import CLUSTER_INFORMATION
from tortie.datastore.transfer.content import FILLING, MOVING
from tortie.model.kinds import KINDS
from tortie.model.resource import ResourceKey

_REMEDY = "any command of tortie that writes, or an agent, does it: tortie node init"


def check(facts: Facts) -> Iterator[Finding]:
    information = facts.resources.get(CLUSTER_INFORMATION)
    if information is None:
        yield problem(CLUSTER_INFORMATION, "", f"is missing: the cluster was never begun; {_REMEDY}")
    else:
        spec = mapping((information.document or {}).get("spec"))
        if not spec.get("clusterGUID"):
            yield problem(CLUSTER_INFORMATION, "spec.clusterGUID", f"is missing: half of a beginning; {_REMEDY}")
        if spec.get("datastoreReady") is None:
            reason = f"is missing, which Calico's agents take for not ready; {_REMEDY}"
            yield problem(CLUSTER_INFORMATION, "spec.datastoreReady", reason)
        if spec.get("datastoreReady") is False and not facts.tortie_keys & {MOVING, FILLING}:
            yield notice(CLUSTER_INFORMATION, "spec.datastoreReady", "is false: the cluster is locked")
    if MOVING in facts.tortie_keys:
        yield problem(MOVING, "", "a copy or export goes on, or was interrupted: tortie datastore unlock")
    if FILLING in facts.tortie_keys:
        yield problem(FILLING, "", "a copy or import goes on, or was interrupted: do the same again")
    tier = KINDS.get("Tier")
    for name in sorted(tier.undeletable) if tier else ():
        key = ResourceKey("Tier", "", name)
        if key not in facts.resources:
            yield notice(key, "", "is not stored; tortie acts as if it were, and calicoctl apply writes it")
