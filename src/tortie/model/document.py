"""Documents before they have a type: JSON values and nothing else, and the metadata that all kinds share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from tortie.errors import InvalidResource, Problem
from tortie.model.check import join
from tortie.model.schema import Spec


class ObjectMeta(Spec, frozen=True, kw_only=True):
    """The `metadata` of a document: what tortie uses, then what it knows of and only keeps."""

    name: str = ""  # lower-case DNS name
    namespace: str = ""  # only for namespaced kinds
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    uid: str = ""  # given at creation
    creation_timestamp: str = ""  # RFC 3339, given at creation
    resource_version: str = ""  # the store's revision, in documents for users; never stored
    generate_name: str = ""  # not supported, as in Calico
    generation: int = 0
    self_link: str = ""
    deletion_timestamp: str = ""
    deletion_grace_period_seconds: int = 0
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[Any, ...] = ()
    managed_fields: tuple[Any, ...] = ()


def without_nulls(value: Any) -> Any:
    """A document without the fields that are null, which Go's decoder takes for absent."""
    if isinstance(value, Mapping):
        return {name: without_nulls(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [without_nulls(part) for part in value]
    return value


def plain(value: object, path: str = "") -> Any:
    """A copy of what a YAML or JSON reader made, of JSON values alone and without null fields.

    Raises InvalidResource for what JSON cannot say, as YAML can: keys that are no text, infinity, binary data.
    """
    match value:
        case Mapping():
            return {
                _key(name, path): plain(part, join(path, str(name))) for name, part in value.items() if part is not None
            }
        case list() | tuple():
            return [plain(part, f"{path}[{index}]") for index, part in enumerate(value)]
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case str() if _has_surrogates(value):
            raise _not_json(path, "holds half of a surrogate pair, which is no character")
        case float() if not math.isfinite(value):
            raise _not_json(path, f"{value} is no number that JSON can hold")
        case None | bool() | int() | float() | str():
            return value
    raise _not_json(path, f"holds {type(value).__name__}, which JSON cannot")


def _key(name: object, path: str) -> str:
    if not isinstance(name, str):
        raise _not_json(path, f"the field name {name} must be text; put it in quotes")
    if _has_surrogates(name):
        raise _not_json(path, "a field name holds half of a surrogate pair, which is no character")
    return name


def _has_surrogates(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _not_json(path: str, reason: str) -> InvalidResource:
    return InvalidResource("document", (Problem(path, "", reason),))
