"""A change that is to be confirmed, in a store: begun, confirmed, or gone back from.

Invariants:
* The record is written before the first change, and each change compares it: nothing is written beside a record that
  was confirmed or is gone back from.
* Of a confirmation and a going back the first one in the store wins; the other finds that out.
* Going back may be begun by anybody, by several at once, and again after it was interrupted anywhere: it ends the same.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from tortie.datastore import contention
from tortie.datastore.api import Compare, Datastore, Delete, Item, Put
from tortie.datastore.confirmation import (
    MAX_BYTES,
    MAX_OBJECTS,
    PREFIX,
    Confirmation,
    Previous,
    decode,
    encode,
    name_of,
    path_of,
)
from tortie.errors import Conflict, DatastoreError, NotFound, UsageError

# etcd takes 128 operations and 1.5 MiB in a transaction.
_OBJECTS_AT_ONCE = 100
_ATTEMPTS = 20


class Found(NamedTuple):
    """A record in the store; `confirmation` is None if it cannot be read."""

    name: str
    revision: int
    confirmation: Confirmation | None


class GoneBack(NamedTuple):
    """What became of the objects of a change that was gone back from."""

    back: list[Previous]  # they are what they were before it
    kept: list[Previous]  # others changed them since then


async def begin(datastore: Datastore, confirmation: Confirmation) -> Found:
    """Writes the record, before the first change. Raises UsageError for a change that is too large."""
    value = encode(confirmation)
    if len(confirmation.objects) > MAX_OBJECTS or len(value) > MAX_BYTES:
        raise UsageError(
            f"the change is too large to be confirmed as one: it is of {len(confirmation.objects)} objects, which take "
            f"{len(value) >> 10} KiB; {MAX_OBJECTS} and {MAX_BYTES >> 10} KiB are allowed: apply it in parts"
        )
    name = secrets.token_hex(4)
    result = await datastore.txn([Compare(path_of(name), 0)], [Put(path_of(name), value)])
    if not result.succeeded:
        raise Conflict(f"confirmation {name} exists already: try again")
    return Found(name, result.revision, confirmation)


async def found(datastore: Datastore) -> list[Found]:
    """All records, in the order of their names."""
    return [_found(item) for item in (await datastore.list(PREFIX)).items]


async def confirm(datastore: Datastore, record: Found) -> None:
    """Keeps the change. Raises Conflict when it is gone back from, and NotFound when nothing waits any more."""
    path = path_of(record.name)
    for losses in range(1, _ATTEMPTS + 1):
        if record.confirmation is not None and record.confirmation.going_back:
            raise Conflict(f"confirmation {record.name}: too late, going back has begun: see `tortie status`")
        result = await datastore.txn([Compare(path, record.revision)], [Delete(path)])
        if result.succeeded:
            return
        await contention.pause(losses)
        record = await _get(datastore, record.name)
    raise _overtaken(record.name)


async def go_back(datastore: Datastore, name: str) -> None:
    """Gives the objects the values from before the change, as far as they still say what it wrote; ends the record.

    Raises NotFound when the record is gone: the change was confirmed, or somebody else has gone back from it.
    """
    begun = False
    for losses in range(1, _ATTEMPTS + 1):
        try:
            record = await _get(datastore, name)
        except NotFound:
            if begun:
                return  # it cannot have been confirmed: somebody else did the rest
            raise
        if record.confirmation is None:
            raise DatastoreError(
                f"confirmation {name} cannot be read, so what was before it is not known: "
                f"look at the objects yourself, and delete the key {path_of(name)}"
            )
        mark = await _marked(datastore, record, record.confirmation)
        begun = begun or mark is not None
        if mark is not None and await _finished(datastore, mark, record.confirmation):
            return
        await contention.pause(losses)
    raise _overtaken(name)


async def outcome(datastore: Datastore, confirmation: Confirmation) -> GoneBack:
    """What the objects of a change are after going back from it."""
    result = GoneBack([], [])
    for previous in confirmation.objects:
        item = await datastore.get(previous.path)
        (result.back if (item.value if item else None) == previous.before else result.kept).append(previous)
    return result


async def _marked(datastore: Datastore, record: Found, confirmation: Confirmation) -> Compare | None:
    """Holds while the record says that it is gone back from; None: somebody wrote it meanwhile."""
    path = path_of(record.name)
    if confirmation.going_back:
        return Compare(path, record.revision)
    marked = encode(replace(confirmation, going_back=True))
    result = await datastore.txn([Compare(path, record.revision)], [Put(path, marked)])
    return Compare(path, result.revision) if result.succeeded else None


async def _finished(datastore: Datastore, mark: Compare, confirmation: Confirmation) -> bool:
    """False: somebody wrote meanwhile, so all must be looked at again."""
    for part in _parts(confirmation.objects):
        if not await _restore(datastore, mark, part):
            return False
    # Not beside the objects: who follows the store sees them as they were before he sees that the record is gone.
    return (await datastore.txn([mark], [Delete(mark.key)])).succeeded


async def _restore(datastore: Datastore, mark: Compare, part: Sequence[Previous]) -> bool:
    compares, writes = [mark], list[Put | Delete]()
    for previous in part:
        item = await datastore.get(previous.path)
        if item is not None and previous.stands(item.value):
            compares.append(Compare(previous.path, item.revision))
            writes.append(Delete(previous.path) if previous.before is None else Put(previous.path, previous.before))
    return not writes or (await datastore.txn(compares, writes)).succeeded


async def _get(datastore: Datastore, name: str) -> Found:
    item = await datastore.get(path_of(name))
    if item is None:
        raise NotFound(
            f"confirmation {name} is not pending: it was confirmed, or its objects are what they were before"
        )
    return _found(item)


def _found(item: Item) -> Found:
    try:
        return Found(name_of(item.key), item.revision, decode(item.value))
    except ValueError:
        return Found(name_of(item.key), item.revision, None)


def _overtaken(name: str) -> Conflict:
    return Conflict(f"confirmation {name}: others were faster {_ATTEMPTS} times in a row")


def _parts(objects: Iterable[Previous]) -> Iterator[Sequence[Previous]]:
    """The objects in the reverse of the order in which they were written, in parts for one transaction each."""
    part: list[Previous] = []
    size = 0
    for previous in reversed(tuple(objects)):
        length = len(previous.path) + len(previous.before or b"")
        if part and (len(part) == _OBJECTS_AT_ONCE or size + length > MAX_BYTES):
            yield part
            part, size = [], 0
        part.append(previous)
        size += length
    if part:
        yield part
