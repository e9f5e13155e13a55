"""Objects that break the rules of their kind, keys that nobody here understands, and names that disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tortie.datastore.check.facts import Facts, mapping, text
from tortie.datastore.check.findings import Finding, notice, problem
from tortie.model.resource import Quarantined, ResourceKey

POLICIES = ("NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy")
NAME_ANNOTATION = "projectcalico.org/metadata"
DEFAULT_TIER = "default"
_OLD_PREFIX = "default."


def check(facts: Facts) -> Iterator[Finding]:
    for key, resource in facts.resources.items():
        if isinstance(resource, Quarantined):
            yield from (problem(key, fault.path, _words(fault.reason, fault.value)) for fault in resource.problems)
        if key.kind in POLICIES:
            yield from _name_findings(key, resource.document or {})
    for path, faults in facts.broken.items():
        yield from (problem(path, fault.path, _words(fault.reason, fault.value)) for fault in faults)
    for path in facts.not_understood:
        yield notice(path, "", "is not understood here: it is kept, and never changed")


def shown_name(document: Mapping[str, Any]) -> str:
    """The name by which calicoctl shows a stored policy; it finds it by its key."""
    metadata = mapping(document.get("metadata"))
    name = text(metadata.get("name"))
    annotation = mapping(metadata.get("annotations")).get(NAME_ANNOTATION)
    if annotation is not None:
        try:
            told = mapping(msgspec.json.decode(annotation)).get("name")
        except (msgspec.MsgspecError, TypeError, ValueError):
            told = None
        return text(told) or name
    tier = mapping(document.get("spec")).get("tier") or DEFAULT_TIER
    return name.removeprefix(_OLD_PREFIX) if tier == DEFAULT_TIER else name


def _name_findings(key: ResourceKey, document: Mapping[str, Any]) -> Iterator[Finding]:
    shown = shown_name(document)
    if not shown or shown == key.name:
        return
    path = "metadata.name"
    if mapping(mapping(document.get("metadata")).get("annotations")).get(NAME_ANNOTATION) is not None:
        path = f"metadata.annotations.{NAME_ANNOTATION}"
    remedy = ""
    if key.name == _OLD_PREFIX + shown:
        remedy = ": a name of before v3.32: tortie datastore migrate-policy-names"
    yield problem(key, path, f"calicoctl shows it as {shown}, and does not find it by that name{remedy}")


def _words(reason: str, value: str) -> str:
    return f"{reason} (got {value})" if value else reason
