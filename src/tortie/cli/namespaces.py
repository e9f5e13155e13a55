"""Which namespace is meant: the object's own, that of `-n`, or `default`; calicoctl's words when they disagree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tortie.errors import UsageError
from tortie.model.kind import Kind

DEFAULT = "default"


class Namespaces(NamedTuple):
    """What the command line says of namespaces."""

    given: str = ""  # -n
    every: bool = False  # -A

    def check(self) -> None:
        """Raises UsageError for options that exclude each other."""
        if self.given and self.every:
            raise UsageError("cannot use both --namespace and --all-namespaces flags at the same time")

    @property
    def named(self) -> bool:
        """The user spoke of namespaces: tables show them."""
        return bool(self.given) or self.every

    def of(self, kind: Kind[Any]) -> str:
        """The namespace of objects that name none: empty for a kind without namespaces; raises UsageError."""
        if kind.namespaced:
            return self.given or DEFAULT
        if self.named:
            raise UsageError(f"{kind.name} is not namespaced")
        return ""

    def to_list(self, kind: Kind[Any]) -> str:
        """The namespace whose objects to list, empty for all; raises UsageError."""
        namespace = self.of(kind)
        return "" if self.every else namespace

    def of_document(self, kind: Kind[Any], document: Mapping[str, Any]) -> str:
        """The namespace of an object in a file; raises UsageError."""
        metadata = document.get("metadata")
        own = metadata.get("namespace") if isinstance(metadata, Mapping) else None
        if own and not kind.namespaced:
            raise UsageError(
                "namespace should not be specified for a non-namespaced resource. "
                f"{kind.name} is not a namespaced resource"
            )
        if own and self.given and own != self.given:
            raise UsageError(f"resource namespace does not match client namespace. {own} != {self.given}")
        return str(own or self.of(kind))
