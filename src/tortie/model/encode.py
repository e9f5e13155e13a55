"""Resources into documents: made by code, changed by code, and as the store holds them.

Code changes the typed value and never the document; the document follows. A fault that code made is reported
like a user's, as `InvalidResource`: most such values were a user's once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from tortie.errors import InvalidResource
from tortie.model.judge import metadata_problems, read
from tortie.model.kinds import KINDS
from tortie.model.resource import Metadata, Resource, ResourceKey
from tortie.model.schema import Spec
from tortie.model.understood import understood
from tortie.model.write import document_of

S = TypeVar("S", bound=Spec)


def new(
    kind: str,
    name: str,
    spec: S,
    *,
    namespace: str = "",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    uid: str = "",
    creation_timestamp: str = "",
) -> Resource[S]:
    """An object to be created; raises InvalidResource.

    `name` may be empty for a kind whose spec names it. Without `uid` and `creation_timestamp` the object gets them
    when it is stored (see `stamped`).
    """
    computed = KINDS[kind].computed_name
    key = ResourceKey(kind, namespace, name or (computed(spec) if computed else ""))
    metadata = Metadata(
        name=key.name,
        namespace=namespace,
        labels=labels or {},
        annotations=annotations or {},
        uid=uid,
        creation_timestamp=creation_timestamp,
    )
    return _revised(Resource(key=key, metadata=metadata, spec=spec, source={}))


def stamped(resource: Resource[S], uid: str, creation_timestamp: str) -> Resource[S]:
    """A user's new object with the identity that creation gives it; Calico cannot update an object without."""
    metadata = replace(resource.metadata, uid=uid, creation_timestamp=creation_timestamp)
    resource = replace(resource, metadata=metadata)
    return replace(resource, source=document_of(resource))


def with_spec(resource: Resource[S], spec: S) -> Resource[S]:
    """The object with another spec; what the model does not know of stays. Raises InvalidResource."""
    return _revised(replace(resource, spec=spec), before=resource)


def with_labels(resource: Resource[S], labels: Mapping[str, str]) -> Resource[S]:
    """The object with other labels. Raises InvalidResource."""
    return _revised(replace(resource, metadata=replace(resource.metadata, labels=labels)), before=resource)


def to_store(resource: Resource[Any]) -> bytes:
    """The value to store: the document, with the defaults and labels that Calico's writers add."""
    kind = KINDS[resource.key.kind]
    return msgspec.json.encode(document_of(kind.on_write(resource)))


def _revised(resource: Resource[S], before: Resource[S] | None = None) -> Resource[S]:
    """The resource with a document that says the same, held against the rules of its kind."""
    kind = KINDS[resource.key.kind]
    document = document_of(resource)
    typed, problems = read(understood(document["spec"], kind.spec), kind.spec, "spec", document["spec"])
    problems += metadata_problems(resource.metadata)
    if typed is None:
        raise InvalidResource(str(resource.key), tuple(problems))
    resource = kind.on_read(replace(resource, spec=typed, source=document))
    problems += kind.rules(resource)
    problems += kind.write_rules(resource)
    problems += kind.change_rules(before, resource) if before else ()
    if problems:
        raise InvalidResource(str(resource.key), tuple(problems))
    return resource
