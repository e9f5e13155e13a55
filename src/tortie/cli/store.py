"""The datastore for the length of one command."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tortie.datastore import open_datastore
from tortie.datastore.resources import Resources


@asynccontextmanager
async def opened(url: str, *, create: bool = False) -> AsyncIterator[Resources]:
    """The resources of the store at `url`; with `create` a store that is kept in a file is made if it is missing."""
    datastore = open_datastore(url, create=create)
    try:
        yield Resources(datastore)
    finally:
        await datastore.close()
