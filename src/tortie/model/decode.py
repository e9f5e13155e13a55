"""Documents into resources: strictly from a user, tolerantly from the store.

A user's document may hold no field that the model does not know, unless the stored object has it at that path;
all its faults are reported at once. A stored document may hold unknown fields, which are kept; if it breaks the
rules of its kind it becomes a `Quarantined`, and no content whatever raises.

Most stored values are in order, and there are many of them: `_in_order` reads such a one in one go, from its bytes to
the typed value. What it does not take is read again by those that can say why.

What no single field can show is judged by the rules of the kind, also beside values that are out of their ranges. Not
beside a misspelt field, or a value of another type: a rule would complain of the field's absence too.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from tortie.errors import InvalidResource, Problem, Sort
from tortie.model.check import faults, shown, without_faults
from tortie.model.codec import from_json
from tortie.model.document import ObjectMeta, plain, without_nulls
from tortie.model.judge import metadata_problems, outer_problems, read
from tortie.model.kind import Kind
from tortie.model.kinds import KINDS
from tortie.model.names import suggestion
from tortie.model.resource import API_VERSION, Metadata, Quarantined, Resource, ResourceKey
from tortie.model.schema import Spec, convert
from tortie.model.understood import field_name, understood
from tortie.model.write import adopted, said_by

DEFAULT_NAMESPACE = "default"

_REVISION = re.compile(r"[0-9]{1,19}")
_WORD = re.compile(r"\w+")
_FIELD = re.compile(r"\.([^.\[\]]+)")
_EMPTY: dict[str, Any] = {"metadata": {}, "spec": {}}
_TOO_DEEP = Problem("", "", "is nested too deeply to be read", Sort.TYPE)


def from_store(key: ResourceKey, data: bytes, revision: int = 0) -> Resource[Any] | Quarantined:
    """The resource that a stored value says, with the defaults of reading; `Quarantined` when it says none."""
    resource = _in_order(key, data, revision)
    return _from_any(key, data, revision) if resource is None else resource


def _in_order(key: ResourceKey, data: bytes, revision: int) -> Resource[Any] | None:
    """The resource of a value that holds nothing unknown, nothing null and no fault; None for any other."""
    kind, decoder = _reader(key.kind)
    try:
        whole = decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    found: ObjectMeta = whole.metadata
    if (whole.api_version, whole.kind, found.namespace, found.name) != (API_VERSION, *key):
        return None
    if found.owner_references or found.managed_fields:  # of any type, so they may be nested as deep as they like
        return None
    metadata = _metadata(found, key, found.uid, found.creation_timestamp)
    resource = kind.on_read(Resource(key=key, metadata=metadata, spec=whole.spec, source=data, revision=revision))
    return None if metadata_problems(metadata) or any(kind.rules(resource)) else resource


@functools.cache
def _reader(name: str) -> tuple[Kind[Any], msgspec.json.Decoder[Any]]:
    """A kind and the decoder of its whole document. Made when it is first wanted, like the kind."""
    kind = KINDS[name]
    parts: list[Any] = [("kind", str), ("api_version", str), ("metadata", ObjectMeta), ("spec", kind.spec)]
    if kind.status is not None:
        parts.append(("status", kind.status | None, None))
    whole = msgspec.defstruct(f"{name}Document", parts, bases=(Spec,), frozen=True, kw_only=True)
    return kind, msgspec.json.Decoder(whole, dec_hook=from_json)


def _from_any(key: ResourceKey, data: bytes, revision: int) -> Resource[Any] | Quarantined:
    try:
        document = msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        return Quarantined(key=key, problems=(_not_json(error),), revision=revision)
    except RecursionError:
        return Quarantined(key=key, problems=(_TOO_DEEP,), revision=revision)
    try:
        return _from_document(KINDS[key.kind], key, document, revision)
    except InvalidResource as error:
        problems = error.problems
    except RecursionError:
        problems = (_TOO_DEEP,)
    readable = document if isinstance(document, dict) else None
    return Quarantined(key=key, problems=problems, revision=revision, document=readable)


def from_user(
    document: Mapping[str, Any], *, stored: Resource[Any] | None = None, namespace: str = DEFAULT_NAMESPACE
) -> Resource[Any]:
    """The resource that a user's document says; raises InvalidResource with everything that is wrong.

    With `stored`, the object as it is now, the document is an update: identity, status and unknown fields come
    from the stored object, labels, annotations and spec from the user. Without it the resource has no uid yet
    (see `stamped`). `namespace` is that of a namespaced object whose document names none. The revision is the
    document's resourceVersion, which a writer holds against that of the stored object; 0 when there is none.
    """
    kind, body = _body(document)
    before = stored.document if stored else {}
    found, problems = _read_metadata(body["metadata"], before.get("metadata"))
    spec, spec_problems = read(body["spec"], kind.spec, "spec", before.get("spec"))
    key = _key(kind, found, spec, namespace)
    uid, creation_timestamp = (stored.metadata.uid, stored.metadata.creation_timestamp) if stored else ("", "")
    metadata = _metadata(found, key, uid, creation_timestamp)

    problems += outer_problems(kind, body, before)
    problems += _request_problems(kind, found)
    reported = {problem.path for problem in problems}
    if spec_problems and not found.name and kind.computed_name is not None:
        reported.add("metadata.name")  # it would follow from a spec without faults
    problems += [problem for problem in metadata_problems(metadata) if problem.path not in reported]
    problems += spec_problems
    sound = spec if not spec_problems else _without_faults(kind, body["spec"], spec_problems)
    if sound is None:
        raise InvalidResource(_subject(key), tuple(problems))

    base = _updated(kind, body, stored) if stored else body | {"metadata": {}}
    revision = int(found.resource_version) if _REVISION.fullmatch(found.resource_version) else 0
    resource = Resource(key=key, metadata=metadata, spec=sound, source=base, revision=revision)
    resource = kind.on_read(replace(resource, source=said_by(resource)))
    broken = [*kind.rules(resource), *kind.write_rules(resource)]
    broken += kind.change_rules(stored, resource) if stored else ()
    problems += _besides(spec_problems, broken, kind)
    if problems:
        raise InvalidResource(_subject(key), tuple(problems))
    return resource


def identify(document: Mapping[str, Any], namespace: str = DEFAULT_NAMESPACE) -> ResourceKey:
    """Which object a user's document is about, to look it up before `from_user`; raises InvalidResource."""
    kind, body = _body(document)
    found, _ = _read_metadata(body["metadata"])
    spec, _ = read(body["spec"], kind.spec, "spec")
    key = _key(kind, found, spec, namespace)
    if not key.name:
        raise InvalidResource(kind.name, (Problem("metadata.name", "", "is required"),))
    return key


def unknown_fields(resource: Resource[Any]) -> tuple[str, ...]:
    """The paths of what the document holds and this model does not know: kept, without effect, worth a warning."""
    kind = KINDS[resource.key.kind]
    body = _EMPTY | without_nulls(resource.document)
    problems = (
        *outer_problems(kind, body, {}),
        *faults(body["metadata"], ObjectMeta, "metadata"),
        *faults(body["spec"], kind.spec, "spec"),
    )
    return tuple(problem.path for problem in problems if problem.sort is Sort.UNKNOWN_FIELD)


def _not_json(error: Exception) -> Problem:
    return Problem("", "", f"is not JSON: {error}", Sort.TYPE)


def _from_document(kind: Kind[Any], key: ResourceKey, document: Any, revision: int) -> Resource[Any]:
    found, spec = _parts(kind, key, document)
    metadata = _metadata(found, key, found.uid, found.creation_timestamp)
    resource = kind.on_read(Resource(key=key, metadata=metadata, spec=spec, source=document, revision=revision))
    problems = (
        *_identity_problems(key, document, found),
        *metadata_problems(metadata),
        *kind.rules(resource),
    )
    if problems:
        raise InvalidResource(str(key), problems)
    return resource


def _parts(kind: Kind[Any], key: ResourceKey, document: object) -> tuple[ObjectMeta, Any]:
    """Metadata and spec of a document, which may hold nulls, lack a part, or be wrong: then raises all its faults."""
    if not isinstance(document, dict):
        problem = Problem("", shown(document), "must be an object with fields", Sort.TYPE)
        raise InvalidResource(str(key), (problem,))
    body = _understood(kind, document)
    metadata, problems = read(body["metadata"], ObjectMeta, "metadata", body["metadata"])
    spec, spec_problems = read(body["spec"], kind.spec, "spec", body["spec"])
    if metadata is None or spec is None:
        raise InvalidResource(str(key), (*problems, *spec_problems))
    return metadata, spec


def _identity_problems(key: ResourceKey, document: Mapping[str, Any], metadata: ObjectMeta) -> Iterator[Problem]:
    """Whether the document is the object that its key says; Calico's clients find it by the one or the other."""
    if (
        (metadata.name, metadata.namespace) == (key.name, key.namespace)
        and document.get("kind") == key.kind
        and document.get("apiVersion") == API_VERSION
    ):
        return
    for path, found, expected in (
        ("kind", document.get("kind"), key.kind),
        ("apiVersion", document.get("apiVersion"), API_VERSION),
        ("metadata.name", metadata.name or None, key.name),
        ("metadata.namespace", metadata.namespace or None, key.namespace),
    ):
        if found is not None and found != expected:
            yield Problem(path, shown(found), f"must be {expected or 'absent'}, as the key says")


def _updated(kind: Kind[Any], document: dict[str, Any], stored: Resource[Any]) -> dict[str, Any]:
    """The stored document with the user's spec, to which the stored spec gives what the model does not know."""
    spec = adopted(document["spec"], stored.document.get("spec"), kind.spec)
    return {**stored.document, "spec": spec}


def _request_problems(kind: Kind[Any], metadata: ObjectMeta) -> Iterator[Problem]:
    """What only a user can get wrong in metadata."""
    if metadata.generate_name:
        yield Problem("metadata.generateName", metadata.generate_name, "is not supported; give the object a name")
    if metadata.namespace and not kind.namespaced:
        reason = f"must be absent: {kind.name} is not a namespaced resource"
        yield Problem("metadata.namespace", metadata.namespace, reason)
    if metadata.resource_version and not _REVISION.fullmatch(metadata.resource_version):
        yield Problem("metadata.resourceVersion", metadata.resource_version, "must be a decimal number in quotes")


def _without_faults(kind: Kind[Any], spec: Any, problems: list[Problem]) -> Any:
    """The spec without its faulty values, for the rules to judge the rest; None where that would mislead.

    A field that is misspelt, or a value that cannot be read, would be missed.
    """
    if any(problem.sort is not Sort.RULE for problem in problems):
        return None
    try:
        return convert(without_faults(spec, kind.spec), kind.spec)
    except msgspec.ValidationError:
        return None


def _besides(faults: list[Problem], broken: list[Problem], kind: Kind[Any]) -> Iterator[Problem]:
    """The broken rules that do not speak of a faulty value, nor of what holds one: the rules have not seen it."""
    unseen = [(fault.path[: field.start()], field[1]) for fault in faults for field in _FIELD.finditer(fault.path)]
    for problem in broken:
        words = _WORD.findall(problem.reason)
        speaks_of_it = any(problem.path.startswith(f"{holder}.") and name in words for holder, name in unseen)
        holds_it = any(fault.path.startswith(problem.path) for fault in faults)
        by_spec = bool(faults) and kind.computed_name is not None and problem.path == "metadata.name"
        if not (speaks_of_it or holds_it or by_spec):
            yield problem


def _body(document: object) -> tuple[Kind[Any], dict[str, Any]]:
    """The kind of a user's document, and the document as plain JSON with both its parts."""
    try:
        body = plain(document)
    except RecursionError:
        raise InvalidResource("document", (_TOO_DEEP,)) from None
    if not isinstance(body, dict):
        raise InvalidResource("document", (Problem("", shown(body), "must be an object with fields", Sort.TYPE),))
    name, version = (shown(body[field]) if field in body else "" for field in ("kind", "apiVersion"))
    problems = []
    if name not in KINDS:
        reason = f"is not a known kind of resource{suggestion(name, KINDS)}" if name else "is required"
        problems.append(Problem("kind", name, reason))
    if version != API_VERSION:
        problems.append(Problem("apiVersion", version, f"must be {API_VERSION}"))
    if problems:
        raise InvalidResource("document", tuple(problems))
    kind = KINDS[name]
    return kind, _understood(kind, body, of_user=True)


def _understood(kind: Kind[Any], document: Mapping[str, Any], *, of_user: bool = False) -> dict[str, Any]:
    """A document with both its parts, each as it is understood."""
    parts: dict[str, type] = {"metadata": ObjectMeta, "spec": kind.spec}
    if kind.status is not None:
        parts["status"] = kind.status
    body = dict(_EMPTY)
    for written, part in document.items():
        name = field_name(written, parts, document) if of_user and written not in parts else written
        if part is not None:
            body[name] = understood(part, parts[name], of_user=of_user) if name in parts else part
    return body


def _read_metadata(part: object, stored: object = None) -> tuple[ObjectMeta, list[Problem]]:
    """The metadata of a user's document and its faults. What cannot be read is left out, but for name and namespace."""
    metadata, problems = read(part, ObjectMeta, "metadata", stored)
    if metadata is None:
        fields = part if isinstance(part, dict) else {}
        readable = {name: fields[name] for name in ("name", "namespace") if isinstance(fields.get(name), str)}
        metadata = ObjectMeta(**readable)
    return metadata, problems


def _key(kind: Kind[Any], metadata: ObjectMeta, spec: Any, namespace: str) -> ResourceKey:
    """The key of a user's object. Its name is empty when neither the document nor its spec gives one."""
    name = metadata.name
    if not name and kind.computed_name is not None and spec is not None:
        name = kind.computed_name(spec)
    return ResourceKey(kind.name, (metadata.namespace or namespace) if kind.namespaced else "", name)


def _metadata(found: ObjectMeta, key: ResourceKey, uid: str, creation_timestamp: str) -> Metadata:
    return Metadata(
        name=key.name,
        namespace=key.namespace,
        labels=found.labels,
        annotations=found.annotations,
        uid=uid,
        creation_timestamp=creation_timestamp,
    )


def _subject(key: ResourceKey) -> str:
    return str(key) if key.name else key.kind
