"""The kinds of resources: one file each, found by being in this folder.

A file defines the structs of its spec, from the outside in, and `KIND`, its description.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any

from tortie.errors import UsageError
from tortie.model.kind import Kind
from tortie.model.names import suggestion


def discover(package: str, path: Iterable[str]) -> Mapping[str, Kind[Any]]:
    """The `KIND` of every module in a package, by its name, in alphabetical order."""
    modules = [importlib.import_module(f"{package}.{found.name}") for found in pkgutil.iter_modules(path)]
    kinds: list[Kind[Any]] = [module.KIND for module in modules]
    return {kind.name: kind for kind in sorted(kinds, key=lambda kind: kind.name)}


KINDS: Mapping[str, Kind[Any]] = discover(__name__, __path__)

_BY_ALIAS = {alias: kind for kind in KINDS.values() for alias in (kind.name.lower(), kind.plural, *kind.aliases)}


def kind_named(text: str) -> Kind[Any]:
    """The kind that a user means on a command line, by any of its aliases in any case; raises UsageError."""
    alias = text.lower()
    if alias in _BY_ALIAS:
        return _BY_ALIAS[alias]
    raise UsageError(f"resource type '{text}' is not supported{suggestion(alias, _BY_ALIAS)}")
