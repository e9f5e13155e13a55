"""The datastore for the length of one command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from tortie.access import Access
from tortie.cli.calicoctl import note_default_store
from tortie.cli.configuration import Unconfigured
from tortie.datastore import format, open_datastore
from tortie.datastore.api import Datastore
from tortie.datastore.guard import Guarded
from tortie.datastore.resources import Resources
from tortie.errors import DatastoreError, FormatTooNew, NoStore, Unavailable, UsageError
from tortie.model.keys import from_path, kind_prefix
from tortie.model.kind import Kind

T = TypeVar("T")

# What is wrong with the store itself, and not with an object: then it matters why it is this store.
_OF_THE_STORE = (DatastoreError, Unavailable, NoStore, FormatTooNew)


@asynccontextmanager
async def opened(access: Access, *, create: bool = False) -> AsyncIterator[Resources]:
    """The resources of the store: see `opened_store`."""
    async with opened_store(access, create=create) as datastore:
        yield Resources(datastore)


@asynccontextmanager
async def connected(access: Access, *, create: bool = False) -> AsyncIterator[Datastore]:
    """The store, for who named it on the command line: see `opened_store`."""
    datastore = open_datastore(access.url, create=create, credentials=access.credentials)
    try:
        yield Guarded(datastore, format.once(datastore))
    finally:
        await datastore.close()


@asynccontextmanager
async def opened_store(access: Access, *, create: bool = False) -> AsyncIterator[Datastore]:
    """The store; with `create` one that is kept in a file is made if it is missing. A newer format is refused.

    An error of the store itself says what named the store. Raises Unconfigured for a URL that cannot be used.
    """
    if not access.named_by:
        note_default_store(f"datastore {access.url} ({origin(access)})")
    try:
        datastore = open_datastore(access.url, create=create, credentials=access.credentials)
    except UsageError as error:
        raise Unconfigured(f"{error} ({origin(access)})") from error
    try:
        yield Guarded(datastore, format.once(datastore))
    except DatastoreError as error:
        if type(error) not in _OF_THE_STORE:
            raise
        raise type(error)(f"{error} ({origin(access)})") from error
    finally:
        await datastore.close()


async def names_of(access: Access, kind: Kind[Any], namespace: str, beginning: str) -> list[str]:
    """The names of a kind's objects that begin like this, without reading the objects; of all namespaces if empty."""
    datastore = open_datastore(access.url, credentials=access.credentials)
    try:
        every_namespace = kind.namespaced and not namespace
        prefix = kind_prefix(kind.name, namespace) + ("" if every_namespace else beginning)
        keys = [from_path(item.key) for item in (await datastore.list(prefix)).items]
    finally:
        await datastore.close()
    stored = {key.name for key in keys if key is not None}
    built_in = {resource.key.name for resource in kind.built_in}
    return sorted(name for name in stored | built_in if name.startswith(beginning))


def answered(work: Coroutine[Any, Any, T]) -> T:
    """What the work returns, which may be large.

    `asyncio.run` gives SIGINT back its handler, and Python tries to make a name of the one it replaces, with the
    whole result of the work in its text: two seconds for a hundred thousand objects (CPython 3.11, signal.py).
    """
    results: list[T] = []

    async def keep() -> None:
        results.append(await work)

    asyncio.run(keep())
    return results[0]


def origin(access: Access) -> str:
    """What said that it is this store."""
    return f"named by {access.named_by}" if access.named_by else "the default: nothing names another datastore"
