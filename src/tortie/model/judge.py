"""What is wrong with the parts of a document: by the types of its kind, and by the rules that all kinds share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from tortie.errors import Problem, Sort
from tortie.model.check import UNKNOWN_FIELD, faults, is_faultless, join
from tortie.model.kind import Kind
from tortie.model.names import annotation_problems, label_problems, name_fault, suggestion
from tortie.model.resource import Metadata
from tortie.model.schema import convert

Value = TypeVar("Value")


def read(part: object, cls: type[Value], path: str, stored: object = None) -> tuple[Value | None, list[Problem]]:
    """The typed value of a part of a document and the part's faults; None when the faults leave no value.

    The part is as `understood` gives it. Unknown fields are faults that leave a value, unless `stored` has them too
    (see `check.faults`).
    """
    try:
        value = convert(part, cls)
    except msgspec.ValidationError as error:
        return None, [*faults(part, cls, path, stored)] or [Problem(path, "", str(error), Sort.TYPE)]
    return value, [] if is_faultless(part, cls) else [*faults(part, cls, path, stored)]


def outer_problems(kind: Kind[Any], document: Mapping[str, Any], stored: Mapping[str, Any]) -> Iterator[Problem]:
    """The faults of a document outside of `metadata` and `spec`."""
    known = ["kind", "apiVersion", "metadata", "spec"]
    if kind.status is not None:
        known.append("status")
        yield from faults(document.get("status", {}), kind.status, "status", stored.get("status"))
    for name in document:
        if name not in known and name not in stored:
            yield Problem(join("", name), "", UNKNOWN_FIELD + suggestion(name, known), Sort.UNKNOWN_FIELD)


def metadata_problems(metadata: Metadata) -> list[Problem]:
    """What is wrong with an object's name, namespace, labels and annotations."""
    problems = []
    if fault := name_fault(metadata.name) if metadata.name else "is required":
        problems.append(Problem("metadata.name", metadata.name, fault))
    if "/" in metadata.namespace:
        # It would be another key's text; apart from that Calico takes any namespace.
        problems.append(Problem("metadata.namespace", metadata.namespace, "must not hold a slash"))
    problems += label_problems(metadata.labels)
    if metadata.annotations:
        problems += annotation_problems(metadata.annotations)
    return problems
