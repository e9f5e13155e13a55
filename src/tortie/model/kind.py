"""What a kind of resource is: its names, its spec, its rules, its columns.

Each file in `kinds/` defines one `KIND`. The decoder, the key codec and the command line know kinds only by this
description, which is why a new kind is a new file and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from msgspec.structs import replace

from tortie.errors import Problem
from tortie.model.resource import Resource, ResourceKey
from tortie.model.scalars import AsNumber
from tortie.model.schema import Spec

S = TypeVar("S", bound=Spec)

# The AS number of nodes where BGPConfiguration `default` names none.
DEFAULT_AS_NUMBER = AsNumber(64512)

_SHOWN_CHARACTERS = 80


class Cluster(NamedTuple):
    """Facts of the whole cluster that a column may show."""

    as_number: AsNumber = DEFAULT_AS_NUMBER


class Need(NamedTuple):
    """Another object that must exist when this one is written, and the field that names it."""

    key: ResourceKey
    path: str
    only_to_create: bool = False  # an update is let through without it


class Column(NamedTuple):
    """One column of `get`: its heading, and the cell of an object (empty when there is nothing to show)."""

    heading: str
    cell: Callable[[Resource[Any], Cluster], str]


def column(heading: str, cell: Callable[[Resource[Any]], object]) -> Column:
    """A column that needs nothing but the object. None shows as empty, booleans as JSON writes them."""

    def text(resource: Resource[Any], _: Cluster) -> str:
        value = cell(resource)
        if isinstance(value, bool):
            return "true" if value else "false"
        return "" if value is None else str(value)

    return Column(heading, text)


def shortened(text: str) -> str:
    """What a cell holds of a long list."""
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


NAME = column("NAME", lambda resource: resource.metadata.name)


def with_status(resource: Resource[S]) -> Resource[S]:
    """The object with a `status`, if only an empty one: some of Calico's types always write it."""
    return replace(resource, source={**resource.document, "status": resource.document.get("status") or {}})


def _no_problems(*_: Resource[Any]) -> Iterable[Problem]:
    return ()


def _no_needs(_: Resource[Any]) -> Iterable[Need]:
    return ()


def _by_key(resource: Resource[Any]) -> Any:
    return resource.key


def _as_it_is(resource: Resource[Any]) -> Resource[Any]:
    return resource


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[S]):
    """The description of one kind.

    `rules` judges what no single field can: it sees an object whose fields are all well formed, with the defaults
    of reading applied, and yields every problem. `write_rules` yields what Calico's writers refuse besides, since
    v3.32 by the schemas of its resources, and its readers take. `change_rules(old, new)` judges an update. None of
    them looks at other objects.
    """

    name: str  # as documents say it: IPPool
    plural: str  # as keys say it: ippools
    aliases: tuple[str, ...]  # what the command line takes besides, in lower case
    spec: type[S]
    columns: tuple[Column, ...]  # of `get`
    wide: tuple[Column, ...]  # of `get -o wide`
    hidden: tuple[Column, ...] = ()  # to be asked for by name only
    status: type[Spec] | None = None  # the document's `status`, for kinds that have one
    namespaced: bool = False
    read_only: bool = False  # users may look but not write
    built_in: tuple[Resource[S], ...] = ()  # exist in every cluster without being stored; nobody may write them
    on_read: Callable[[Resource[S]], Resource[S]] = _as_it_is  # defaults that a reader fills in
    on_write: Callable[[Resource[S]], Resource[S]] = _as_it_is  # defaults and labels that a writer adds
    rules: Callable[[Resource[S]], Iterable[Problem]] = _no_problems
    write_rules: Callable[[Resource[S]], Iterable[Problem]] = _no_problems  # what only writers refuse
    change_rules: Callable[[Resource[S], Resource[S]], Iterable[Problem]] = _no_problems
    needs: Callable[[Resource[S]], Iterable[Need]] = _no_needs  # objects that a writer finds in the store first
    undeletable: frozenset[str] = frozenset()  # names of objects that nobody may delete
    list_order: Callable[[Resource[S]], Any] = _by_key  # in what order `get` lists
    computed_name: Callable[[S], str] | None = None  # the name that the spec demands, for kinds where it does
    honoured: frozenset[str] | None = None  # fields of the spec that tortie acts on; None: the question does not arise

    @property
    def list_name(self) -> str:
        return f"{self.name}List"
