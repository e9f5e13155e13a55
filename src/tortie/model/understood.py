"""A part of a document as Calico's decoder understands it, which is Go's and takes some values for others.

* A field that is null is absent; a null in a map of texts is an empty text there.
* An empty text, in an optional field that is a mere text for Calico, is an absent field.

A user's document goes through a reader of YAML first, so of a user besides:

* A field's name may be in other capitals.
* A whole number or a boolean, where a text is wanted, is that text. A fraction is not: 1.10 would become 1.1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec.inspect as mi

from tortie.model.check import plain_type, type_info


def understood(part: Any, cls: type, *, of_user: bool = False) -> Any:
    """The part of a document that should be a `cls`, as it is understood; what should be something else stays."""
    return _fields_understood(part, cls, of_user) if isinstance(part, Mapping) else part


def field_name(name: str, known: Iterable[str], taken: Iterable[str]) -> str:
    """The known field that a name in whatever capitals means, unless that is `taken`; else the name itself."""
    meant = next((each for each in known if each.lower() == name.lower()), name)
    return name if meant in taken else meant


_Understand = Callable[[Any, bool], Any]  # a part of a document, and whether a user wrote it


class _Field(NamedTuple):
    understand: _Understand
    absent_when_blank: bool


def _fields_understood(value: Mapping[str, Any], cls: type, of_user: bool) -> dict[str, Any]:
    known = _fields(cls)
    fields: dict[str, Any] = {}
    for written, part in value.items():
        if part is None:
            continue
        name = written if written in known or not of_user else field_name(written, known, {*value, *fields})
        field = known.get(name)
        if field is None:
            fields[name] = part
        elif part != "" or not field.absent_when_blank:
            fields[name] = field.understand(part, of_user)
    return fields


@functools.cache
def _fields(cls: type) -> Mapping[str, _Field]:
    info = type_info(cls)
    assert isinstance(info, mi.StructType)
    return {field.encode_name: _Field(_reader(field.type), _absent_when_blank(field)) for field in info.fields}


def _reader(info: mi.Type) -> _Understand:
    """Made once for each field: to look at what a type says takes longer than to understand a value of it."""
    match plain_type(info):
        case mi.StrType():
            return lambda value, of_user: str(value).lower() if of_user and isinstance(value, int) else value
        case mi.StructType(cls=cls):
            return lambda value, of_user: (
                _fields_understood(value, cls, of_user) if isinstance(value, Mapping) else value
            )
        case mi.VarTupleType(item_type=item):
            of_item = _reader(item)
            return lambda value, of_user: (
                [of_item(part, of_user) for part in value] if isinstance(value, list) else value
            )
        case mi.DictType(value_type=item):
            of_part, is_text = _reader(item), isinstance(plain_type(item), mi.StrType)

            def of_parts(value: Any, of_user: bool) -> Any:
                if not isinstance(value, Mapping):
                    return value
                parts = {
                    name: ("" if is_text else None) if part is None else of_part(part, of_user)
                    for name, part in value.items()
                }
                return {name: part for name, part in parts.items() if part is not None}

            return of_parts
    return lambda value, of_user: value


def _absent_when_blank(field: mi.Field) -> bool:
    if field.required:
        return False
    match plain_type(field.type):
        case mi.LiteralType():
            return True
        case mi.StrType():
            return field.default is None
        case mi.CustomType(cls=cls):
            return getattr(cls, "is_text", False)
    return False
