"""The values every part of tortie speaks of: a resource, its key, and a resource that could not be read.

A `Resource` keeps the stored document beside the typed value. Writers change the document through the typed
value and write the document back, so a field that a newer Calico added survives a read-modify-write.
All values are immutable: whoever holds one may keep it, and equality is the difference test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from tortie.errors import Problem

API_VERSION = "projectcalico.org/v3"

Spec = TypeVar("Spec")


class ResourceKey(NamedTuple):
    """Identity of a resource in the cluster; orders by kind, then namespace, then name."""

    kind: str
    namespace: str  # empty for a kind without namespaces
    name: str

    @property
    def full_name(self) -> str:
        """`namespace/name`, or the name alone: among objects of one kind."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def __str__(self) -> str:
        return f"{self.kind}({self.full_name})"


class Metadata(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What all kinds share. `labels` and `annotations` must not be changed in place."""

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    uid: str = ""
    creation_timestamp: str = ""  # RFC 3339, whole seconds, UTC


class Resource(msgspec.Struct, Generic[Spec], frozen=True, kw_only=True, gc=False):
    """One object of the datastore or of a user's file."""

    key: ResourceKey
    metadata: Metadata
    spec: Spec
    document: Mapping[str, Any]  # as stored, never with metadata.resourceVersion
    revision: int = 0  # modification revision in the store, 0 when not from a store


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """A stored object that breaks the rules of its kind: to be treated as absent, and reported by name."""

    key: ResourceKey
    problems: tuple[Problem, ...]
    revision: int = 0
    document: Mapping[str, Any] | None = None  # as stored, when it could be read: a repair keeps what it holds
