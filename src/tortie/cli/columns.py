"""Resources as the tables of `get`, from the columns of their kinds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tortie.cli.tables import padded
from tortie.errors import UsageError
from tortie.model.kind import Cluster, Column, Kind, column
from tortie.model.resource import Resource

CUSTOM_COLUMNS = "custom-columns="

_NAMESPACE = column("NAMESPACE", lambda resource: resource.key.namespace)


def columns_of(kind: Kind[Any], form: str, *, namespaces: bool) -> tuple[Column, ...]:
    """The columns for `ps`, `wide` or `custom-columns=`; with the namespace first where the user spoke of
    namespaces. Raises UsageError."""
    if form.startswith(CUSTOM_COLUMNS):
        return _custom_columns(kind, form.removeprefix(CUSTOM_COLUMNS))
    first = (_NAMESPACE,) if namespaces and kind.namespaced else ()
    return (*first, *(kind.wide if form == "wide" else kind.columns))


def rows(columns: Sequence[Column], resources: Iterable[Resource[Any]], cluster: Cluster) -> list[list[str]]:
    """The heading, and a row for each resource."""
    cells = [[one.cell(resource, cluster) for one in columns] for resource in resources]
    return [[one.heading for one in columns], *cells]


def table(columns: Sequence[Column], resources: Iterable[Resource[Any]], cluster: Cluster) -> str:
    return padded(rows(columns, resources, cluster))


def _custom_columns(kind: Kind[Any], text: str) -> tuple[Column, ...]:
    namespace = (_NAMESPACE,) if kind.namespaced else ()
    known = {one.heading: one for one in (*kind.columns, *kind.wide, *kind.hidden, *namespace)}
    names = text.split(",")
    for name in names:
        if name not in known:
            raise UsageError(f"unknown heading {name}, valid values are: {', '.join(known)}")
    return tuple(known[name] for name in names)
