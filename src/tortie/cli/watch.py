"""`tortie get -w`: the present state, and then each change as it happens.

| form | the present state | a change |
|---|---|---|
| tables | one table | a row |
| yaml, json, name | each object, by itself | the object |
| templates | as without `-w` | as if the object were all there is |

A deleted object is shown as it last was: its row ends in `(deleted)`, and its document has a
`metadata.deletionTimestamp`, the moment in which it was seen.

Invariants: an outage of the datastore is one line on stderr and ends nothing, unless it comes before the present
state; nothing is asked again in between, since the datastore tells.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys
import time
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, NoReturn, Protocol

import click
from msgspec.structs import replace

from tortie.access import Access
from tortie.cli import forms, output, terminal
from tortie.cli.answer import Answer, Stored
from tortie.cli.columns import columns_of, rows
from tortie.cli.finding import cluster_facts, in_order, in_words, matches
from tortie.cli.namespaces import Namespaces
from tortie.cli.store import opened
from tortie.cli.subjects import Subject
from tortie.cli.tables import padded_lines, padded_widths
from tortie.datastore.api import Event
from tortie.datastore.follow import Change, Changed, Disconnected, InSync
from tortie.model.decode import from_store
from tortie.model.keys import from_path
from tortie.model.kind import Cluster, Kind
from tortie.model.resource import Quarantined, Resource, ResourceKey
from tortie.model.selector import Selector

INTERRUPTED = 130  # as a shell calls what ended by SIGINT

_DELETED = "(deleted)"


class Watched(NamedTuple):
    """What the user wants to see."""

    form: str
    kind: Kind[Any]
    namespace: str  # empty for all
    namespaces: bool  # the user spoke of namespaces
    selector: Selector | None = None
    keys: Collection[ResourceKey] = ()  # those named; none: all

    def wants(self, key: ResourceKey) -> bool:
        return not self.keys or key in self.keys


def watch_all(
    access: Access, form: str, kind: Kind[Any], namespaces: Namespaces, selector: Selector | None
) -> NoReturn:
    """Shows the objects of a kind until interrupted."""
    _run(access, Watched(form, kind, namespaces.to_list(kind), namespaces.named, selector))


def watch_each(
    access: Access, form: str, kind: Kind[Any], namespaces: Namespaces, subjects: Sequence[Subject]
) -> NoReturn:
    """Shows the objects that were named until interrupted; one that is missing is waited for."""
    keys = {subject.key: None for subject in subjects}
    _run(access, Watched(form, kind, namespaces.to_list(kind), namespaces.named, keys=keys))


def _run(access: Access, watched: Watched) -> NoReturn:
    try:
        asyncio.run(_watch(access, watched))
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except asyncio.CancelledError:
        raise BrokenPipeError(errno.EPIPE, "nobody reads stdout any more") from None
    raise AssertionError("a watch has no end")


async def _watch(access: Access, watched: Watched) -> None:
    _end_with_reader()
    async with opened(access) as resources:
        cluster = await cluster_facts(resources)
        printer = _Table(watched, cluster) if forms.is_table(watched.form) else _Texts(watched, cluster)
        view = _View(watched, printer)
        async with resources.follow(watched.kind.name, watched.namespace) as changes:
            async for change in changes:
                view.take(change)


def _end_with_reader() -> None:
    """Ends this task when stdout is a pipe that nobody reads any more, also while nothing is printed."""
    task = asyncio.current_task()
    assert task is not None
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    # Only a pipe: the end that writes is never readable, but it has an error when the other end is gone.
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        asyncio.get_running_loop().add_reader(descriptor, task.cancel)


class _View:
    """What the user sees: it takes changes, and prints."""

    def __init__(self, watched: Watched, printer: _Printer) -> None:
        self._watched = watched
        self._printer = printer
        self._known: dict[ResourceKey, Stored] = {each.key: each for each in watched.kind.built_in}
        self._built_in = frozenset(self._known)
        self._begun = False
        self._lost = False

    def take(self, change: Change) -> None:
        match change:
            case Changed():
                self._changed(change.events)
            case InSync():
                self._lost = False
                if not self._begun:
                    self._begun = True
                    self._begin()
            case Disconnected():
                if not self._begun:
                    raise change.error
                if not self._lost:
                    self._lost = True
                    click.echo(f"Warning: {change.error}; trying again", err=True)

    def _begin(self) -> None:
        for stored in self._known.values():
            self._complain(stored)
        for key in self._watched.keys:
            if key not in self._known:
                click.echo(f"resource does not exist: {key}; waiting for it", err=True)
        shown = [each for each in self._known.values() if self._shows(each)]
        _print(self._printer.begin(in_order(self._watched.kind, shown)))

    def _changed(self, events: Sequence[Event]) -> None:
        keys = [(from_path(event.key), event) for event in events]
        _print("".join(self._change(key, event) for key, event in keys if key and self._watched.wants(key)))

    def _change(self, key: ResourceKey, event: Event) -> str:
        if key in self._built_in:
            return ""
        before = self._known.get(key)
        if event.value is None:
            after = None
            self._known.pop(key, None)
        else:
            after = self._known[key] = from_store(key, event.value, event.revision)
        if not self._begun:
            return ""
        self._complain(after)
        if isinstance(after, Resource) and (self._shows(after) or self._shows(before)):
            return self._printer.change(after)
        if isinstance(before, Resource) and after is None and self._shows(before):
            return self._printer.deletion(_deleted(before, event.revision))
        return ""

    def _shows(self, stored: Stored | None) -> bool:
        return stored is not None and self._watched.wants(stored.key) and matches(stored, self._watched.selector)

    @staticmethod
    def _complain(stored: Stored | None) -> None:
        if isinstance(stored, Quarantined):
            click.echo(in_words(stored), err=True)


class _Printer(Protocol):
    """What is printed of objects."""

    def begin(self, objects: Sequence[Stored]) -> str: ...

    def change(self, resource: Resource[Any]) -> str: ...

    def deletion(self, resource: Resource[Any]) -> str: ...


class _Texts:
    """Documents, names and templates: the same form again and again."""

    def __init__(self, watched: Watched, cluster: Cluster) -> None:
        self._watched = watched
        self._cluster = cluster
        self._form = watched.form
        self._render = forms.printer(watched.form)

    def begin(self, objects: Sequence[Stored]) -> str:
        if self._form in (*output.DOCUMENT_FORMS, "name"):
            return "".join(self._text([each]) for each in objects)
        return self._text(objects)

    def change(self, resource: Resource[Any]) -> str:
        return self._text([resource])

    def deletion(self, resource: Resource[Any]) -> str:
        text = self._text([resource])
        return f"{text.rstrip()} {_DELETED}\n" if self._form == "name" else text

    def _text(self, objects: Sequence[Stored]) -> str:
        by_itself = self._form in output.DOCUMENT_FORMS or bool(self._watched.keys)
        answer = Answer(
            objects,
            self._cluster,
            kind=None if by_itself else self._watched.kind,
            revision=max((each.revision for each in objects), default=0),
            alone=self._form in output.DOCUMENT_FORMS or len(self._watched.keys) == 1,
        )
        text = self._render(answer)
        if text and not text.endswith("\n"):
            text += "\n"
        return f"---\n{text}" if self._form in ("yaml", "yml") else text


class _Table:
    """A table that grows: its columns stay as wide as they began."""

    def __init__(self, watched: Watched, cluster: Cluster) -> None:
        self._cluster = cluster
        self._columns = columns_of(watched.kind, watched.form, namespaces=watched.namespaces)
        self._widths = [0] * len(self._columns)

    def begin(self, objects: Sequence[Stored]) -> str:
        cells = rows(self._columns, (each for each in objects if isinstance(each, Resource)), self._cluster)
        self._widths = padded_widths(cells)
        return terminal.with_heading(padded_lines(cells, self._widths))

    def change(self, resource: Resource[Any]) -> str:
        return padded_lines(rows(self._columns, [resource], self._cluster)[1:], self._widths)

    def deletion(self, resource: Resource[Any]) -> str:
        return self.change(resource).removesuffix("\n") + f"{_DELETED}\n"


def _deleted(resource: Resource[Any], revision: int) -> Resource[Any]:
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    metadata = {**resource.document["metadata"], "deletionTimestamp": moment}
    return replace(resource, source={**resource.document, "metadata": metadata}, revision=revision)


def _print(text: str) -> None:
    if text:
        click.echo(text, nl=False)
