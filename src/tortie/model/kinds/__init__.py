"""The kinds of resources: one file each, found by being in this folder.

A file defines the structs of its spec, from the outside in, and `KIND`, its description. It bears the kind's name in
lower case, and is loaded when its kind is first asked for: a command wants two of two dozen, and waits for them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from tortie.errors import UsageError
from tortie.model.kind import Kind
from tortie.model.names import suggestion


class Kinds(Mapping[str, Kind[Any]]):
    """The `KIND` of every module in a package, by its name, in alphabetical order."""

    def __init__(self, package: str, path: Iterable[str]) -> None:
        self._package = package
        self._files = {found.name for found in pkgutil.iter_modules(path)}
        self._loaded: dict[str, Kind[Any]] = {}

    def __getitem__(self, name: str) -> Kind[Any]:
        if name not in self._loaded:
            kind = self.in_file(name.lower())
            if kind is None or kind.name != name:
                raise KeyError(name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(kind.name for file in self._files if (kind := self.in_file(file))))

    def __len__(self) -> int:
        return len(self._files)

    def in_file(self, name: str) -> Kind[Any] | None:
        """The kind that a file of this name describes."""
        if name not in self._files:
            return None
        kind: Kind[Any] = importlib.import_module(f"{self._package}.{name}").KIND
        return self._loaded.setdefault(kind.name, kind)


KINDS = Kinds(__name__, __path__)


def kind_named(text: str) -> Kind[Any]:
    """The kind that a user means on a command line, by any of its aliases in any case; raises UsageError."""
    alias = text.lower()
    for likely in (alias, alias.removesuffix("s")):
        kind = KINDS.in_file(likely)
        if kind is not None and alias in _aliases(kind):
            return kind
    every = {alias: kind for kind in KINDS.values() for alias in _aliases(kind)}
    if alias in every:
        return every[alias]
    raise UsageError(f"resource type '{text}' is not supported{suggestion(alias, every)}")


@lru_cache(maxsize=64)
def kind_of_plural(plural: str) -> Kind[Any] | None:
    """The kind whose objects are stored under this word; None when it is no kind's."""
    likely = KINDS.in_file(plural.removesuffix("s"))
    if likely is not None and likely.plural == plural:
        return likely
    return next((kind for kind in KINDS.values() if kind.plural == plural), None)


def _aliases(kind: Kind[Any]) -> tuple[str, ...]:
    return (kind.name.lower(), kind.plural, *kind.aliases)
