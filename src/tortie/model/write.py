"""Typed values back into documents, onto the document they came from.

Two things survive a rewrite: fields that the model does not know, and the spelling of a value that still means
the same. Fields at their empty default are left out, as Calico leaves them out (see schema).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import msgspec.inspect as mi

from tortie.model.check import plain_type, type_info
from tortie.model.codec import from_json
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
    return _whole(resource, base, rendered(resource.spec, base.get("spec")))


def said_by(resource: Resource[Any]) -> dict[str, Any]:
    """The same with the spec as it was written, by whoever says in it what the resource says."""
    base = resource.document
    return _whole(resource, base, base["spec"])


def _whole(resource: Resource[Any], base: Mapping[str, Any], spec: Any) -> dict[str, Any]:
    return {
        "kind": resource.key.kind,
        "apiVersion": API_VERSION,
        **base,
        "metadata": _write_metadata(resource.metadata, base.get("metadata") or {}),
        "spec": spec,
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
    return _write_struct(value, base if isinstance(base, Mapping) else {})


def adopted(document: Any, stored: object, cls: type) -> Any:
    """A document with the fields of `stored` that `cls` does not know and the document does not mention."""
    return _adopt(document, stored, type_info(cls))


_Write = Callable[[Any, object], Any]  # a typed value, and what stood at its place -> its part of the document
_Meaning = Callable[[object], object]  # a part of a document -> its typed value; `_NONSENSE` when it has none


class _Field(NamedTuple):
    """A field of a struct, and the value at which it is left out; `_NEVER` for none."""

    name: str
    encode_name: str
    write: _Write
    left_out_at: object


@functools.cache
def _fields(cls: type[msgspec.Struct]) -> tuple[_Field, ...]:
    """Made once: asked for every value of every document, what a type says is most of the work."""
    info = type_info(cls)
    assert isinstance(info, mi.StructType)
    return tuple(
        _Field(each.name, each.encode_name, _writer(each.type), _left_out_at(info, each)) for each in info.fields
    )


def _left_out_at(info: mi.StructType, field: mi.Field) -> object:
    if field.required or not info.cls.__struct_config__.omit_defaults:
        return _NEVER
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return default if not default or isinstance(default, msgspec.Struct) else _NEVER


def _writer(info: mi.Type) -> _Write:
    match plain_type(info):
        case mi.StructType():
            return lambda value, base: _write_struct(value, base if isinstance(base, Mapping) else {})
        case mi.VarTupleType(item_type=item):
            write, meaning = _writer(item), _meaning(item)
            return lambda values, base: _write_list(values, write, meaning, base if isinstance(base, list) else [])
        case mi.DictType(value_type=item):
            write = _writer(item)
            return lambda parts, base: _write_parts(parts, write, base if isinstance(base, Mapping) else {})
        case mi.CustomType(cls=cls) as custom:
            meaning = _meaning(custom)
            return lambda value, base: _write_scalar(value, cls, meaning, base)
    return lambda value, base: value


def _meaning(info: mi.Type) -> _Meaning:
    match plain_type(info):
        case mi.StructType() as struct:
            cls: type[Any] = struct.cls

            def of_struct(part: object) -> object:
                try:
                    return convert(without_nulls(part), cls)
                except msgspec.ValidationError:
                    return _NONSENSE

            return of_struct
        case mi.CustomType() as custom:

            def of_scalar(part: object) -> object:
                try:
                    return from_json(custom.cls, part)
                except ValueError:
                    return _NONSENSE

            return of_scalar
    return lambda part: part


def _write_struct(value: msgspec.Struct, base: Mapping[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    rest = dict(base)
    for name, encode_name, write, default in _fields(type(value)):
        part = getattr(value, name)
        old = rest.pop(encode_name, None)
        if part is default and not default:  # most fields of most objects; a struct is never false
            continue
        is_left_out = type(part) is type(default) and part == default
        if is_left_out and not isinstance(part, msgspec.Struct):
            continue
        written = None if part is None else write(part, old)
        # A struct that is empty to the model may hold what the model does not know.
        if written or not is_left_out:
            document[encode_name] = written
    return document | rest


def _write_list(values: tuple[Any, ...], write: _Write, meaning: _Meaning, base: list[Any]) -> list[Any]:
    """Each value goes onto the element of `base` that means the same: the one at its place, else any.

    A value that is new, in a list of the same length, goes onto the element at its place if that is gone: it is that
    element with a change.
    """
    meanings = [meaning(part) for part in base]
    document = []
    for index, value in enumerate(values):
        place = index if meanings[index : index + 1] == [value] else _position(meanings, value)
        if place is None and len(values) == len(base) and meanings[index] not in values:
            place = index
        document.append(write(value, None if place is None else base[place]))
    return document


def _write_parts(parts: Mapping[str, Any], write: _Write, base: Mapping[str, Any]) -> dict[str, Any]:
    return {name: write(part, base.get(name)) for name, part in parts.items()}


def _write_scalar(value: Any, cls: Any, meaning: _Meaning, base: object) -> Any:
    if base is None or cls.rewrites or meaning(base) != value:
        return cls.to_json(value)
    is_tolerated = getattr(cls, "is_tolerated", None)
    return cls.to_json(value) if is_tolerated is not None and is_tolerated(base) else base


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
    if not isinstance(plain_type(item), mi.StructType):
        return None
    meaning = _meaning(item)
    place = _position([meaning(old) for old in stored], meaning(part))
    return None if place is None else stored[place]
