"""Objects as `get` prints them: YAML, JSON, and tables from the columns of their kinds.

Invariant: what is printed as YAML or JSON is valid input, and means the same to tortie and to calicoctl.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from tortie.cli.strict_yaml import plain_meaning
from tortie.cli.tables import padded
from tortie.errors import UsageError
from tortie.model.kind import Cluster, Column, Kind, column
from tortie.model.resource import API_VERSION, Resource

TABLE_FORMS = ("ps", "wide")
DOCUMENT_FORMS = ("yaml", "yml", "json")
CUSTOM_COLUMNS = "custom-columns="

_NAMESPACE = column("NAMESPACE", lambda resource: resource.key.namespace)

# `--export`: what binds an object to the store that it is in.
_OF_THE_STORE = (
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
_ORDER = ("kind", "apiVersion", "metadata", "items", "spec", "status")
_METADATA_ORDER = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "labels", "annotations")


def document(resource: Resource[Any], *, export: bool = False) -> dict[str, Any]:
    """The document of an object for a user."""
    metadata = dict(resource.document["metadata"])
    if resource.revision:
        metadata["resourceVersion"] = str(resource.revision)
    if export:
        metadata = {name: value for name, value in metadata.items() if name not in _OF_THE_STORE}
    return {**_ordered(resource.document, _ORDER), "metadata": _ordered(metadata, _METADATA_ORDER)}


def list_document(kind: Kind[Any], resources: Iterable[Resource[Any]], revision: int) -> dict[str, Any]:
    """The document of a list as it stood at a revision of the store."""
    return {
        "kind": kind.list_name,
        "apiVersion": API_VERSION,
        "metadata": {"resourceVersion": str(revision)},
        "items": [document(resource) for resource in resources],
    }


def check_form(form: str) -> None:
    """Raises UsageError for a value of `-o` that does not exist."""
    if form not in (*TABLE_FORMS, *DOCUMENT_FORMS) and not form.startswith(CUSTOM_COLUMNS):
        raise UsageError(f"unrecognized output format '{form}'")


def as_document(form: str, value: Any) -> str:
    """JSON without a line feed at its end, as calicoctl; YAML with keys in alphabetical order and no line folded."""
    if form == "json":
        return json.dumps(value, indent=2, ensure_ascii=False)
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, width=1 << 30)
    return text.removesuffix("...\n")


def columns_of(kind: Kind[Any], form: str, *, namespaces: bool) -> tuple[Column, ...]:
    """The columns of a table; with its namespace first where the user spoke of namespaces. Raises UsageError."""
    if form.startswith(CUSTOM_COLUMNS):
        return _custom_columns(kind, form.removeprefix(CUSTOM_COLUMNS))
    first = (_NAMESPACE,) if namespaces and kind.namespaced else ()
    return (*first, *(kind.wide if form == "wide" else kind.columns))


def table(columns: Sequence[Column], resources: Iterable[Resource[Any]], cluster: Cluster) -> str:
    rows = [[one.heading for one in columns]]
    rows += [[one.cell(resource, cluster) for one in columns] for resource in resources]
    return padded(rows)


def _custom_columns(kind: Kind[Any], text: str) -> tuple[Column, ...]:
    namespace = (_NAMESPACE,) if kind.namespaced else ()
    known = {one.heading: one for one in (*kind.columns, *kind.wide, *kind.hidden, *namespace)}
    names = [name for name in text.split(",") if name]
    if not names:
        raise UsageError("need to specify at least one column")
    for name in names:
        if name not in known:
            raise UsageError(f"unknown heading {name}, valid values are: {', '.join(known)}")
    return tuple(known[name] for name in names)


def _ordered(fields: Mapping[str, Any], first: Sequence[str]) -> dict[str, Any]:
    return {name: fields[name] for name in (*(name for name in first if name in fields), *fields)}


_TEXT_TAG = "tag:yaml.org,2002:str"


class _Dumper(yaml.CSafeDumper):
    """Quotes every text that some reader would take for something else, as calicoctl's printer does."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # PyYAML knows the words of YAML 1.1 but for y and n, which Go's reader takes for booleans.
    plain = plain_meaning(text) == text and text not in ("y", "Y", "n", "N")
    plain = plain and dumper.resolve(yaml.ScalarNode, text, (True, False)) == _TEXT_TAG  # type: ignore[no-untyped-call]  # not in the stubs
    return dumper.represent_scalar(_TEXT_TAG, text, style=None if plain else '"')


_Dumper.add_representer(str, _text)
