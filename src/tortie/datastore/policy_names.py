"""The names of policies before v3.32, which began with that of their tier, made those that users gave.

Up to v3.31 a policy of tier `default` was stored under `default.NAME`. Clients since then look for it under NAME.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tortie.datastore.api import Compare, Datastore, Delete, Item, Put
from tortie.datastore.check.facts import mapping
from tortie.datastore.check.objects import DEFAULT_TIER, NAME_ANNOTATION, shown_name
from tortie.errors import AlreadyExists, Conflict
from tortie.model.keys import RESOURCES

# Of the kinds that have tiers; by their plurals, since a store may hold kinds that nobody here knows.
_PLURALS = ("networkpolicies", "globalnetworkpolicies", "stagednetworkpolicies", "stagedglobalnetworkpolicies")


async def rename(datastore: Datastore) -> int:
    """How many policies were renamed; stops at the first that cannot be, and may be repeated.

    Raises AlreadyExists when there is another policy of the name, and Conflict when somebody changes one meanwhile.
    """
    renamed = 0
    for plural in _PLURALS:
        for item in (await datastore.list(f"{RESOURCES}{plural}/")).items:
            renamed += await _rename(datastore, item)
    return renamed


async def _rename(datastore: Datastore, item: Item) -> bool:
    try:
        document = msgspec.json.decode(item.value, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    parent, _, name = item.key.rpartition("/")
    shown = shown_name(document)
    tier = mapping(document.get("spec")).get("tier") or DEFAULT_TIER
    if tier != DEFAULT_TIER or shown in ("", name):
        return False
    key, value = f"{parent}/{shown}", msgspec.json.encode(_called(document, shown))
    compares = [Compare(item.key, item.revision), Compare(key, 0)]
    result = await datastore.txn(compares, [Put(key, value), Delete(item.key)])
    if not result.succeeded:
        if result.found[1] is not None:
            raise AlreadyExists(f"{item.key} should become {key}, and that is another policy: delete one of them")
        raise Conflict(f"{item.key} was changed meanwhile: try again")
    return True


def _called(document: dict[str, Any], name: str) -> dict[str, Any]:
    metadata = dict(mapping(document.get("metadata")))
    annotations = {**mapping(metadata.get("annotations"))}
    annotations[NAME_ANNOTATION] = msgspec.json.encode({"name": name}).decode()
    return {**document, "metadata": {**metadata, "name": name, "annotations": annotations}}
