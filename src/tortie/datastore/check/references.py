"""Objects that name others which do not exist."""

from __future__ import annotations

from collections.abc import Iterator

from tortie.datastore.check.facts import Facts, text, texts
from tortie.datastore.check.findings import Finding, problem
from tortie.datastore.check.objects import DEFAULT_TIER, POLICIES
from tortie.model.kinds import KINDS
from tortie.model.resource import ResourceKey

# Kind, the field of its spec, and the kind of what the field names.
_ONE = (
    ("WorkloadEndpoint", "node", "Node"),
    ("HostEndpoint", "node", "Node"),
    ("BGPPeer", "node", "Node"),
    ("CalicoNodeStatus", "node", "Node"),
)
_MANY = (
    ("WorkloadEndpoint", "profiles", "Profile"),
    ("HostEndpoint", "profiles", "Profile"),
    ("BGPPeer", "filters", "BGPFilter"),
)
_BY_NAME = ("BGPConfiguration", "FelixConfiguration")
_OF_NODE = "node."

_HURTS = {
    "Profile": ": without it the endpoint is cut off",
    "BGPFilter": ": without it there is no session",
    "Tier": ": policies of a tier without an object come last, and end in Deny",
}


def check(facts: Facts) -> Iterator[Finding]:
    for kind, name, target in _ONE:
        for key, spec in facts.of_kind(kind):
            yield from _missing(facts, key, f"spec.{name}", target, text(spec.get(name)))
    for kind, name, target in _MANY:
        for key, spec in facts.of_kind(kind):
            for place, named in texts(spec.get(name)):
                yield from _missing(facts, key, f"spec.{name}[{place}]", target, named)
    for kind in POLICIES if "Tier" in KINDS else ():
        for key, spec in facts.of_kind(kind):
            yield from _missing(facts, key, "spec.tier", "Tier", text(spec.get("tier")) or DEFAULT_TIER)
    for kind in _BY_NAME:
        for key, _ in facts.of_kind(kind):
            if key.name.startswith(_OF_NODE):
                yield from _missing(facts, key, "metadata.name", "Node", key.name.removeprefix(_OF_NODE))


def _missing(facts: Facts, key: ResourceKey, path: str, kind: str, name: str) -> Iterator[Finding]:
    target = ResourceKey(kind, "", name)
    if name and not facts.exists(target):
        yield problem(key, path, f"names {target}, which does not exist{_HURTS.get(kind, '')}")
