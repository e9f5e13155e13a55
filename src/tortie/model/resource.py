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


class Resource(msgspec.Struct, Generic[Spec], frozen=True, kw_only=True, gc=False, eq=False):
    """One object of the datastore or of a user's file."""

    key: ResourceKey
    metadata: Metadata
    spec: Spec
    source: Mapping[str, Any] | bytes  # the document, or the stored value that says it
    revision: int = 0  # modification revision in the store, 0 when not from a store

    @property
    def document(self) -> Mapping[str, Any]:
        """The object as stored, never with metadata.resourceVersion.

        Read anew each time where the object came from a store: few ask for it, and of 100,000 endpoints the values are
        a sixth as large, and nothing for the garbage collector to walk.
        """
        return msgspec.json.decode(self.source) if isinstance(self.source, bytes) else self.source

    def __eq__(self, other: object) -> bool:
        """Whether both say the same, at the same revision, wherever they came from."""
        if not isinstance(other, Resource):
            return NotImplemented
        return (
            self.revision == other.revision
            and self.key == other.key
            and self.spec == other.spec
            and self.metadata == other.metadata
            and (self.source == other.source or self.document == other.document)
        )


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """A stored object that breaks the rules of its kind: to be treated as absent, and reported by name."""

    key: ResourceKey
    problems: tuple[Problem, ...]
    revision: int = 0
    document: Mapping[str, Any] | None = None  # as stored, when it could be read: a repair keeps what it holds
