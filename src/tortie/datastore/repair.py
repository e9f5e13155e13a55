"""A good object in the place of a stored one that breaks the rules of its kind.

What nobody here knows of the broken one stays, as in every update, and so does its identity; what is known is the
new object's alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from tortie.model.document import ObjectMeta
from tortie.model.kinds import KINDS
from tortie.model.resource import Quarantined, Resource
from tortie.model.schema import Spec
from tortie.model.write import adopted

S = TypeVar("S", bound=Spec)

_METADATA_FIELDS = {field.encode_name for field in msgspec.structs.fields(ObjectMeta)}


def repaired(resource: Resource[S], broken: Quarantined) -> Resource[S]:
    """The resource with what stays of the broken object; without uid or creation time if that had none."""
    stored = broken.document or {}
    metadata = stored.get("metadata")
    kept: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    uid, created = (value if isinstance(value := kept.get(name), str) else "" for name in ("uid", "creationTimestamp"))
    document = {
        **stored,
        **resource.document,
        "metadata": {name: part for name, part in kept.items() if name not in _METADATA_FIELDS},
        "spec": adopted(resource.document["spec"], stored.get("spec"), KINDS[resource.key.kind].spec),
    }
    identified = replace(resource.metadata, uid=uid, creation_timestamp=created)
    return replace(resource, metadata=identified, source=document)
