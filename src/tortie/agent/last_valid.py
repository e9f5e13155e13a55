"""Of policies that are broken in the datastore, the last version that was in order: it stays in force, also across a
restart, whether the policy broke before it or meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tortie.calc.firewall import POLICIES
from tortie.model import keys
from tortie.model.decode import from_store
from tortie.model.resource import Resource, ResourceKey


class LastValid:
    """By the keys of the datastore; `read` gives what an agent before this one left, and is called if it is needed."""

    def __init__(self, read: Callable[[], dict[str, bytes]]) -> None:
        self._read = read
        self._at_start: dict[str, bytes] | None = None
        self.kept: dict[str, bytes] = {}

    def of_broken(self, path: str, key: ResourceKey, before: bytes | None) -> Resource[Any] | None:
        """What stays in force of a policy that is broken; `before` is what the store said of it until now."""
        if self._at_start is None:
            self._at_start = self._read()
        for value in (before, self.kept.get(path), self._at_start.get(path)):
            if value is not None and isinstance(resource := from_store(key, value), Resource):
                self.kept[path] = value
                return resource
        return None

    def forget(self, path: str) -> None:
        """The policy is in order, or gone."""
        self.kept.pop(path, None)
        if self._at_start is not None:
            self._at_start.pop(path, None)


def is_policy(path: str) -> bool:
    key = keys.from_path(path)
    return key is not None and key.kind in POLICIES
