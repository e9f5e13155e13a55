"""Holds a user's documents against the rules of their kinds, all of them before the first is written.

As for calicoctl, a document that cannot be read (a field is unknown, or a value of another type than its field) keeps
all from being written; one that can be read and breaks a rule is left out, and the others are written.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from tortie.cli.documents import Document
from tortie.cli.namespaces import Namespaces
from tortie.cli.wording import cut, is_unknown_field, one_problem, sentence
from tortie.datastore.resources import Resources
from tortie.errors import InvalidResource, NotFound, Sort, UsageError
from tortie.model.decode import from_user, identify
from tortie.model.resource import Resource, ResourceKey

# What an update may find of an object: the stored one, or None.
Find = Callable[[ResourceKey], Awaitable[Resource[Any] | None]]


def stored_in(resources: Resources) -> Find:
    """Finds what the store has; a broken object counts as none."""

    async def find(key: ResourceKey) -> Resource[Any] | None:
        with suppress(NotFound, InvalidResource):
            return await resources.get(key)
        return None

    return find


class Judged(NamedTuple):
    """The resources of the documents that are right. `unreadable` are whole sentences, and nothing may be written if
    there are any; `wrong` are the errors of single objects."""

    resources: list[Resource[Any]]
    unreadable: list[str]
    wrong: list[str]
    warnings: list[str]


async def judge(documents: Sequence[Document], namespaces: Namespaces, find: Find | None) -> Judged:
    """Reads every document. Only where `find` is given, a field that the model does not know may be one of the
    object that the document updates."""
    judged = Judged([], [], [], [])
    places: dict[ResourceKey, str] = {}
    for document in documents:
        try:
            namespace = namespaces.of_document(document.kind, document.value)
            resource = await _read(document, namespace, find, judged.warnings)
        except InvalidResource as error:
            _sort(error, document, judged)
        except UsageError as error:
            judged.wrong.append(str(error))
        else:
            judged.resources.append(resource)
            first = places.setdefault(resource.key, document.place)
            if first != document.place:
                judged.warnings.append(f"{resource.key} stands twice, in {first} and in {document.place}")
    return judged


async def _read(document: Document, namespace: str, find: Find | None, warnings: list[str]) -> Resource[Any]:
    try:
        return from_user(document.value, namespace=namespace)
    except InvalidResource as error:
        if (built_in := _built_in(document, error)) is not None:
            return built_in
        if find is None or not all(is_unknown_field(problem) for problem in error.problems):
            raise
        stored = await find(identify(document.value, namespace))
        if stored is None:
            raise
        resource = from_user(document.value, stored=stored, namespace=namespace)
        warnings += [f"{resource.key}: {problem.path} is kept, and has no effect here" for problem in error.problems]
        return resource


def _built_in(document: Document, error: InvalidResource) -> Resource[Any] | None:
    """The built-in object that a document is about, if nothing else is wrong: the store says what cannot be done to it,
    as it says of an object that exists."""
    if [problem.path for problem in error.problems] != ["metadata.name"]:
        return None
    return next((each for each in document.kind.built_in if each.key.name == error.problems[0].value), None)


def _sort(error: InvalidResource, document: Document, judged: Judged) -> None:
    place = f" (in {document.place}: {cut(error.subject)})"
    if all(problem.sort is Sort.RULE for problem in error.problems):
        judged.wrong.append(sentence(error) + place)
        return
    for problem in error.problems:
        prefix = "" if is_unknown_field(problem) else "failed to execute command: "
        judged.unreadable.append(prefix + one_problem(problem) + place)
