"""What `get` found, and the shape in which its user asked for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tortie.cli import output
from tortie.model.kind import Cluster, Kind
from tortie.model.resource import Quarantined, Resource

Stored = Resource[Any] | Quarantined


class Answer(NamedTuple):
    """Objects on their way to the user."""

    objects: Sequence[Stored]  # a broken one only where its document was asked for
    cluster: Cluster = Cluster()
    kind: Kind[Any] | None = None  # when all of this kind were asked for
    revision: int = 0  # of the store, when all were asked for
    alone: bool = False  # one object was asked for by name
    namespaces: bool = False  # the user spoke of namespaces
    export: bool = False

    @property
    def resources(self) -> list[Resource[Any]]:
        """The objects that are right."""
        return [stored for stored in self.objects if isinstance(stored, Resource)]

    def documents(self) -> list[dict[str, Any]]:
        """The documents of the objects."""
        return [output.document(stored, export=self.export) for stored in self.objects]

    def document(self) -> Any:
        """What calicoctl prints as YAML or JSON: a typed list, an object, a bare list of objects, or null."""
        if self.kind is not None:
            return output.list_document(self.kind, self.objects, self.revision)
        documents = self.documents()
        return (documents[0] if self.alone else documents) if documents else None
