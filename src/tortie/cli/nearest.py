"""A hint for the name of an object that does not exist: the stored one that resembles it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tortie.datastore.resources import Resources
from tortie.errors import DatastoreError, NotFound
from tortie.model.names import suggestion
from tortie.model.resource import ResourceKey

# Comparing takes 50 ms for 2,000 names of endpoints (measured).
AT_MOST = 2_000

_NUMBER = re.compile("[0-9]+")


async def nearest(resources: Resources, key: ResourceKey) -> str:
    """`; did you mean 'x'?` for a key that was not found, empty when nothing resembles it or the store is silent."""
    try:
        stored = (await resources.list(key.kind, key.namespace)).items
    except DatastoreError:
        return ""
    if len(stored) > AT_MOST:
        return ""
    series = _series(key.name)
    return suggestion(key.name, (name for each in stored if _series(name := each.key.name) != series))


def _series(name: str) -> str:
    """`node-#` for `node-1`: who asks for another of a series did not misspell this one."""
    return _NUMBER.sub("#", name)


@asynccontextmanager
async def hinting(resources: Resources, key: ResourceKey) -> AsyncIterator[None]:
    """Adds the hint to a `NotFound` of this key."""
    try:
        yield
    except NotFound as error:
        raise NotFound(f"{error}{await nearest(resources, key)}") from error
