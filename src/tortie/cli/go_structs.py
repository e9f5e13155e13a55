"""Documents of resources as the Go structs that calicoctl hands to templates.

A field goes by its name in Go: `.Spec.IPNetworks` is `ipNetworks`, in any case. `ObjectMeta` and `TypeMeta` are
embedded in an object, so `.ObjectMeta.Name`, `.Metadata.Name` and `.Name` are the same, and `.Kind` is a field. One
that is not set has the zero value of its type; one that the model does not know is what the document holds.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, Union

import msgspec

from tortie.model.document import ObjectMeta
from tortie.model.kinds import KINDS
from tortie.model.schema import Spec


class GoStruct:
    """A part of a document, of a type that the model knows."""

    def __init__(self, document: Mapping[str, Any], cls: type[Spec], name: str = "") -> None:
        self._document = document
        self._types = _types(cls)
        self.type = f"v3.{name or cls.__name__}"

    def field(self, name: str) -> Any:
        """Raises LookupError for a field that neither the model nor the document knows."""
        known = self._types.get(name.lower())
        if known is not None:
            return _typed(self._document.get(known.name), known.type)
        return _of_any_case(self._document, name)

    def fields(self) -> Mapping[str, Any]:
        return self._document


class GoObject:
    """A resource, or a list of them: what has `TypeMeta` and `ObjectMeta` (or `ListMeta`) embedded."""

    def __init__(self, document: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
        self._document = document
        self._parts = parts
        self.type = f"*v3.{document['kind']}"

    def field(self, name: str) -> Any:
        match name.lower():
            case "typemeta":
                return self
            case "objectmeta" | "listmeta" | "metadata":
                return self._parts["metadata"]
            case "kind" | "apiversion" as field:
                return self._document["kind" if field == "kind" else "apiVersion"]
            case part if part in self._parts:
                return self._parts[part]
        try:
            return self._parts["metadata"].field(name)
        except LookupError:
            return _of_any_case(self._document, name)

    def fields(self) -> Mapping[str, Any]:
        return self._document


def go_object(document: Mapping[str, Any]) -> GoObject:
    """The struct of one resource's document."""
    kind = KINDS[document["kind"]]
    parts: dict[str, Any] = {"metadata": GoStruct(document["metadata"], ObjectMeta)}
    parts["spec"] = GoStruct(document.get("spec") or {}, kind.spec)
    if kind.status is not None:
        parts["status"] = GoStruct(document.get("status") or {}, kind.status)
    return GoObject(document, parts)


def go_list(document: Mapping[str, Any]) -> GoObject:
    """The struct of a list's document."""
    items = [go_object(item) for item in document["items"]]
    return GoObject(document, {"metadata": GoStruct(document["metadata"], ObjectMeta, "ListMeta"), "items": items})


class _Field(typing.NamedTuple):
    name: str  # in documents
    type: Any


@cache
def _types(cls: type[Spec]) -> Mapping[str, _Field]:
    """The fields of a struct by their names in lower case."""
    fields = msgspec.structs.fields(cls)
    return {field.encode_name.lower(): _Field(field.encode_name, field.type) for field in fields}


def _typed(value: Any, cls: Any) -> Any:
    """A field's value as Go has it: None stands for absent."""
    cls, optional = _bare(cls)
    origin = typing.get_origin(cls) or cls
    if isinstance(origin, type) and issubclass(origin, Spec):
        return GoStruct(value or {}, origin) if value is not None or not optional else None
    if origin in (tuple, list):
        of = (*typing.get_args(cls), Any)[0]
        return [_typed(item, of) for item in value or ()]
    if value is not None:
        is_float = isinstance(origin, type) and issubclass(origin, float) and isinstance(value, int)
        return float(value) if is_float else value
    if origin in (dict, Mapping):
        return {}
    if optional and not _is_text(origin, cls):
        return None
    return {bool: False, int: 0, float: 0.0}.get(origin, "")


@cache
def _bare(cls: Any) -> tuple[Any, bool]:
    """A type without its annotations, and whether it may be None."""
    optional = False
    while True:
        origin = typing.get_origin(cls)
        if origin is typing.Annotated:
            cls = typing.get_args(cls)[0]
        elif origin in (Union, types.UnionType):
            members = [member for member in typing.get_args(cls) if member is not type(None)]
            optional = optional or len(members) < len(typing.get_args(cls))
            cls = members[0]
        else:
            return cls, optional


def _is_text(origin: Any, cls: Any) -> bool:
    """Whether Go has a mere text for it."""
    if origin is typing.Literal:
        return isinstance(typing.get_args(cls)[0], str)
    return origin is str or getattr(origin, "is_text", False)


def _of_any_case(document: Mapping[str, Any], name: str) -> Any:
    """A field that the model does not know; raises LookupError."""
    by_lower = {field.lower(): value for field, value in document.items()}
    return document[name] if name in document else by_lower[name.lower()]
