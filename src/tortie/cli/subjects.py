"""Which objects a command is about that only needs their identity: by kind and name, or as files name them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tortie.cli.documents import Document
from tortie.cli.files import Files
from tortie.cli.namespaces import Namespaces
from tortie.errors import InvalidResource, Problem, UsageError
from tortie.model.check import shown
from tortie.model.decode import identify
from tortie.model.kind import Kind
from tortie.model.resource import ResourceKey

_REVISION = re.compile("[0-9]{1,19}")


class Subject(NamedTuple):
    """An object that the user named; `revision` is 0 for whatever it is at."""

    key: ResourceKey
    revision: int = 0


def named(kind: Kind[Any], names: Sequence[str], namespaces: Namespaces) -> list[Subject]:
    """The objects of a kind that the command line names; raises UsageError."""
    namespace = namespaces.of(kind)
    if not all(names):
        raise UsageError("resource name may not be empty")
    return [Subject(ResourceKey(kind.name, namespace, name)) for name in names]


def in_files(files: Files, namespaces: Namespaces) -> list[Subject]:
    """The objects that files name; raises UsageError and InvalidResource."""
    return [of_document(document, namespaces) for document in files.documents()]


def of_document(document: Document, namespaces: Namespaces) -> Subject:
    """The object that a document of a file names; raises UsageError and InvalidResource."""
    key = identify(document.value, namespaces.of_document(document.kind, document.value))
    metadata = document.value.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, Mapping) else None
    if version is None:
        return Subject(key)
    if not isinstance(version, str) or not _REVISION.fullmatch(version):
        # Never a deletion of whatever is there, when a version was meant.
        problem = Problem("metadata.resourceVersion", shown(version), "must be a decimal number in quotes")
        raise InvalidResource(str(key), (problem,))
    return Subject(key, int(version))
