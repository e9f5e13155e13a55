"""What a user hands over with `-f`: a file, standard input or a directory, as documents that each say one object.

Invariants:
* All files are read and understood before anything is returned.
* Every error names the file and the place in it, and is the whole sentence that calicoctl's users know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

from tortie.errors import UsageError
from tortie.model.check import kind_of, shown
from tortie.model.kind import Kind
from tortie.model.kinds import KINDS
from tortie.model.names import suggestion
from tortie.model.resource import API_VERSION

# A hundred thousand endpoints are 70 MiB; a device file has no end.
MAX_FILE_BYTES = 256 << 20
SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"

_LIST_FIELDS = {"apiVersion", "kind", "metadata", "items"}


class NothingGiven(UsageError):
    """There is no resource in what the user named."""


class Document(NamedTuple):
    """One object as the user wrote it."""

    kind: Kind[Any]
    value: Mapping[str, Any]
    place: str  # for errors: "pools.yaml, document 2, line 7, item 1"


def read(source: str, *, recursive: bool = False, skip_empty: bool = False) -> list[Document]:
    """The documents of `source` in order; raises UsageError, and `NothingGiven` when there are none.

    Without `skip_empty` each file must hold one.
    """
    is_directory = source != STDIN and Path(source).is_dir()
    documents: list[Document] = []
    for file in map(str, _files(Path(source), recursive)) if is_directory else [source]:
        found = list(_in_file(file))
        if not found and not skip_empty:
            raise NothingGiven(f"no resources specified in file {file}")
        documents += found
    if not documents:
        raise NothingGiven(f"no resources specified in {'directory' if is_directory else 'file'} {source}")
    return documents


def _files(directory: Path, recursive: bool) -> Iterator[Path]:
    """Files that may hold resources, in lexical order; links to directories are not followed."""
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        raise _failed(f"{directory}: {error.strerror}") from error
    for entry in entries:
        if entry.is_dir():
            if recursive and not entry.is_symlink():
                yield from _files(entry, recursive)
        elif entry.name.lower().endswith(SUFFIXES):
            yield entry


def _in_file(file: str) -> Iterator[Document]:
    from tortie.cli import strict_yaml  # not what commands without a file should wait for

    name = "standard input" if file == STDIN else file
    try:
        found = strict_yaml.read(_text(file, name))
    except strict_yaml.Malformed as error:
        raise _failed(f"{name}: {error}") from error
    for document in found:
        if document.value is not None:
            place = f"{name}, document {document.number}, line {document.line}" if len(found) > 1 else name
            yield from _objects(document.value, place)


def _text(file: str, name: str) -> str:
    try:
        with click.open_file(file, "rb") as stream:
            content: bytes = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _failed(f"{name}: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise _failed(f"{name}: is larger than {MAX_FILE_BYTES >> 20} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _failed(f"{name}: is no UTF-8 text: byte {content[error.start]:#04x} at offset {error.start}") from error


def _objects(value: Any, place: str) -> Iterator[Document]:
    """The objects that a document is: itself, the items of a typed list, or those of a bare list."""
    if isinstance(value, list):
        for number, item in enumerate(value, 1):
            if isinstance(item, list):
                raise _failed(f"{place}, item {number}: a list within a list")
            yield from _objects(item, f"{place}, item {number}")
        return
    if not isinstance(value, Mapping):
        raise _failed(f"{place}: {kind_of(value)} stands where an object with apiVersion, kind, metadata must be")
    name, version = (shown(value[field]) if field in value else "" for field in ("kind", "apiVersion"))
    if version == API_VERSION and name in KINDS:
        yield Document(KINDS[name], value, place)
    elif version == API_VERSION and (kind := _kind_of_list(name)):
        yield from _items(kind, value, place)
    else:
        names = (*KINDS, *(kind.list_name for kind in KINDS.values()))
        hint = suggestion(name, names) if name not in KINDS else f"; the version is {API_VERSION}"
        raise _failed(f"unknown resource type ({name}) and/or version ({version}){hint} (in {place})")


def _kind_of_list(name: str) -> Kind[Any] | None:
    kind = KINDS.get(name.removesuffix("List"))
    return kind if kind is not None and kind.list_name == name else None


def _items(kind: Kind[Any], value: Mapping[str, Any], place: str) -> Iterator[Document]:
    for field in value:
        if field not in _LIST_FIELDS:
            hint = suggestion(field, _LIST_FIELDS)
            raise UsageError(
                f"field in document is not recognized or is in the wrong location: {field}{hint} (in {place})"
            )
    items = value.get("items")
    if not isinstance(items, list | None):
        raise _failed(f"{place}: items must be a list")
    for number, item in enumerate(items or (), 1):
        where = f"{place}, item {number}"
        if not isinstance(item, Mapping):
            raise _failed(f"{where}: {kind_of(item)} stands where a {kind.name} must be")
        whole = {"apiVersion": API_VERSION, "kind": kind.name, **item}
        if (whole["apiVersion"], whole["kind"]) != (API_VERSION, kind.name):
            raise _failed(f"{where}: {shown(whole['kind'])} {shown(whole['apiVersion'])} in a {kind.list_name}")
        yield Document(kind, whole, where)


def _failed(reason: str) -> UsageError:
    return UsageError(f"failed to execute command: {reason}")
