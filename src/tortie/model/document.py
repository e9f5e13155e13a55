"""Documents before they have a type: JSON values and nothing else, and the metadata that all kinds share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any

from msgspec import Meta

from tortie.errors import InvalidResource, Problem, Sort
from tortie.model.check import join
from tortie.model.schema import Spec

# Go reads no object that has another; the empty default says that there is none.
Time = Annotated[
    str,
    Meta(
        pattern=r"^(?a:\d\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|([.,]\d+)?(Z|[+-]\d\d:\d\d)))\Z",
        description="must be a time such as 2026-08-22T13:33:20Z",
    ),
]

# As far as a float reaches; Python does not even write a number of 4300 digits as text.
_MAX_BITS = 1024
_PLAINLY_SMALL = 2**64


class ObjectMeta(Spec, frozen=True, kw_only=True):
    """The `metadata` of a document: what tortie uses, then what it knows of and only keeps."""

    name: str = ""
    """The object's name, unique in its kind and namespace: lower-case letters, digits, `-` and `.`, at most 253."""

    namespace: str = ""
    """The namespace, for namespaced kinds alone. Default: `default`."""

    labels: dict[str, str] = {}
    """What selectors select the object by. Keys as in Kubernetes: an optional DNS prefix and `/`, then at most 63 of
    `[-A-Za-z0-9_.]`, as the value is. An update replaces all of them."""

    annotations: dict[str, str] = {}
    """Notes of any text, 256 KiB in all. An update replaces all of them."""

    uid: str = ""
    """A UUID, given at creation and kept."""

    creation_timestamp: Time = ""
    """When the object was created: RFC 3339, whole seconds, UTC. Given at creation and kept."""

    resource_version: str = ""
    """The store's revision of the last change, as decimal text. In an update it must be that of the stored object; an
    update without it overwrites. Never stored."""

    generate_name: str = ""
    """Not supported, as in Calico: give the object a name."""

    generation: int = 0
    """Kubernetes only; kept."""

    self_link: str = ""
    """Kubernetes only; never stored."""

    deletion_timestamp: Time = ""
    """Kubernetes only; kept."""

    deletion_grace_period_seconds: int = 0
    """Kubernetes only; kept."""

    finalizers: tuple[str, ...] = ()
    """Kubernetes only; kept."""

    owner_references: tuple[Any, ...] = ()
    """Kubernetes only; kept."""

    managed_fields: tuple[Any, ...] = ()
    """Kubernetes only; kept."""


def without_nulls(value: Any) -> Any:
    """A document without the fields that are null, which Go's decoder takes for absent."""
    if isinstance(value, Mapping):
        return {name: without_nulls(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [without_nulls(part) for part in value]
    return value


def plain(value: object) -> Any:
    """What a YAML or JSON reader made, of JSON values alone.

    Raises InvalidResource for what JSON cannot say, as YAML can: keys that are no text, infinity, binary data.
    """
    return value if _is_plain(value) else _plain(value, "")


def _is_plain(value: object) -> bool:
    """Whether there is plainly nothing to be said of a value, nor of any in it: what most documents are made of."""
    if isinstance(value, str):
        return value.isascii()
    if type(value) is dict:
        try:
            return all(map(str.isascii, value)) and all(map(_is_plain, value.values()))
        except TypeError:  # a key is no text
            return False
    if type(value) is list:
        return all(map(_is_plain, value))
    return value is None or (isinstance(value, int) and -_PLAINLY_SMALL < value < _PLAINLY_SMALL)


def _plain(value: object, path: str) -> Any:
    match value:
        case str():
            if _has_surrogates(value):
                raise _not_json(path, "holds half of a surrogate pair, which is no character")
            return value
        case None | bool():
            return value
        case int():
            if value.bit_length() > _MAX_BITS:
                raise _not_json(path, "is a number beyond all that JSON's readers can hold")
            return value
        case float():
            if not math.isfinite(value):
                raise _not_json(path, f"{value} is no number that JSON can hold")
            return value
        case list() | tuple():
            return [_plain(part, f"{path}[{index}]") for index, part in enumerate(value)]
        case dict() | Mapping():
            return {_key(name, path): _plain(part, join(path, str(name))) for name, part in value.items()}
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
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
    return InvalidResource("document", (Problem(path, "", reason, Sort.TYPE),))
