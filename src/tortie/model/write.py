"""Typed values back into documents, onto the document they came from.

Two things survive a rewrite: fields that the model does not know, and the spelling of a value that still means
the same. Fields at their empty default are left out, as Calico leaves them out (see schema).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import msgspec.inspect as mi

from tortie.model.check import plain_type, type_info
from tortie.model.document import without_nulls
from tortie.model.resource import API_VERSION, Metadata, Resource
from tortie.model.schema import convert

_NONSENSE = object()
_NEVER = object()

# Set by every answer of the store, never written into it.
_NOT_STORED = {"resourceVersion", "selfLink"}


def document_of(resource: Resource[Any]) -> dict[str, Any]:
    """The document that says what the resource says, made from the one that it holds."""
    base = resource.document
    return {
        "kind": resource.key.kind,
        "apiVersion": API_VERSION,
        **base,
        "metadata": _write_metadata(resource.metadata, base.get("metadata") or {}),
        "spec": rendered(resource.spec, base.get("spec")),
    }


def _write_metadata(metadata: Metadata, base: Mapping[str, Any]) -> dict[str, Any]:
    written = {
        "name": metadata.name,
        "namespace": metadata.namespace,
        "uid": metadata.uid,
        "creationTimestamp": metadata.creation_timestamp,
        "labels": dict(metadata.labels),
        "annotations": dict(metadata.annotations),
    }
    others = {name: part for name, part in base.items() if name not in written and name not in _NOT_STORED}
    return {name: part for name, part in written.items() if part} | others


def rendered(value: msgspec.Struct, base: object) -> dict[str, Any]:
    """The document of a struct; `base` is what the struct was read from, in whole or in part, or None."""
    document = _write(value, type_info(type(value)), base)
    assert isinstance(document, dict)
    return document


def adopted(document: Any, stored: object, cls: type) -> Any:
    """A document with the fields of `stored` that `cls` does not know and the document does not mention."""
    return _adopt(document, stored, type_info(cls))


def _write(value: Any, info: mi.Type, base: object) -> Any:
    match plain_type(info):
        case mi.StructType() as struct:
            return _write_struct(value, struct, base if isinstance(base, Mapping) else {})
        case mi.VarTupleType(item_type=item):
            return _write_list(value, item, base if isinstance(base, list) else [])
        case mi.DictType(value_type=item):
            parts = base if isinstance(base, Mapping) else {}
            return {name: _write(part, item, parts.get(name)) for name, part in value.items()}
        case mi.CustomType(cls=cls):
            return _write_scalar(value, cls, base)
    return value


class _Field(NamedTuple):
    """A field of a struct, and the value at which it is left out; `_NEVER` for none."""

    name: str
    encode_name: str
    type: mi.Type
    left_out_at: object


@functools.cache
def _fields(cls: type[msgspec.Struct]) -> tuple[_Field, ...]:
    info = type_info(cls)
    assert isinstance(info, mi.StructType)
    return tuple(_Field(each.name, each.encode_name, each.type, _left_out_at(info, each)) for each in info.fields)


def _left_out_at(info: mi.StructType, field: mi.Field) -> object:
    if field.required or not info.cls.__struct_config__.omit_defaults:
        return _NEVER
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return default if not default or isinstance(default, msgspec.Struct) else _NEVER


def _write_struct(value: Any, info: mi.StructType, base: Mapping[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    rest = dict(base)
    for name, encode_name, kind, default in _fields(info.cls):
        part = getattr(value, name)
        old = rest.pop(encode_name, None)
        is_left_out = type(part) is type(default) and part == default
        if is_left_out and not isinstance(part, msgspec.Struct):
            continue
        written = _write(part, kind, old)
        # A struct that is empty to the model may hold what the model does not know.
        if written or not is_left_out:
            document[encode_name] = written
    return document | rest


def _write_list(values: tuple[Any, ...], item: mi.Type, base: list[Any]) -> list[Any]:
    """Each value goes onto the element of `base` that means the same: the one at its place, else any.

    A value that is new, in a list of the same length, goes onto the element at its place if that is gone: it is that
    element with a change.
    """
    meanings = [_meaning(part, item) for part in base]
    document = []
    for index, value in enumerate(values):
        place = index if meanings[index : index + 1] == [value] else _position(meanings, value)
        if place is None and len(values) == len(base) and meanings[index] not in values:
            place = index
        document.append(_write(value, item, None if place is None else base[place]))
    return document


def _write_scalar(value: Any, cls: Any, base: object) -> Any:
    if base is None or cls.rewrites or _meaning(base, mi.CustomType(cls)) != value:
        return cls.to_json(value)
    is_tolerated = getattr(cls, "is_tolerated", None)
    return cls.to_json(value) if is_tolerated is not None and is_tolerated(base) else base


def _meaning(part: object, info: mi.Type) -> object:
    """The typed value of a part of a document; `_NONSENSE` when it has none."""
    match plain_type(info):
        case mi.StructType(cls=cls) | mi.CustomType(cls=cls):
            try:
                return convert(without_nulls(part), cls)
            except msgspec.ValidationError:
                return _NONSENSE
    return part


def _position(meanings: list[object], value: object) -> int | None:
    return meanings.index(value) if value in meanings else None


def _adopt(document: Any, stored: object, info: mi.Type) -> Any:
    match plain_type(info):
        case mi.StructType(fields=fields) if isinstance(document, Mapping) and isinstance(stored, Mapping):
            known = {field.encode_name: field.type for field in fields}
            kept = {name: part for name, part in stored.items() if name not in known}
            own = {
                name: _adopt(part, stored.get(name), known[name]) if name in known else part
                for name, part in document.items()
            }
            return kept | own
        case mi.VarTupleType(item_type=item) if isinstance(document, list) and isinstance(stored, list):
            return [_adopt(part, _counterpart(part, stored, item), item) for part in document]
    return document


def _counterpart(part: object, stored: list[Any], item: mi.Type) -> object:
    info = plain_type(item)
    if not isinstance(info, mi.StructType):
        return None
    place = _position([_meaning(old, info) for old in stored], _meaning(part, info))
    return None if place is None else stored[place]
