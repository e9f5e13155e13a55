"""Of policies that are broken in the datastore, the last version that was in order: it stays in force, also across a
restart, whether the policy broke before it or meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tortie.calc.firewall import POLICIES
from tortie.model import keys
from tortie.model.decode import from_store
from tortie.model.resource import Resource, ResourceKey


class LastValid:
    """By the keys of the datastore; `at_start` is what an agent before this one left."""

    def __init__(self, at_start: Mapping[str, bytes]) -> None:
        self._at_start = {path: value for path, value in at_start.items() if is_policy(path)}
        self.kept: dict[str, bytes] = {}

    def of_broken(self, path: str, key: ResourceKey, before: bytes | None) -> Resource[Any] | None:
        """What stays in force of a policy that is broken; `before` is what the store said of it until now."""
        for value in (before, self.kept.get(path), self._at_start.get(path)):
            if value is not None and isinstance(resource := from_store(key, value), Resource):
                self.kept[path] = value
                return resource
        return None

    def forget(self, path: str) -> None:
        """The policy is in order, or gone."""
        self.kept.pop(path, None)
        self._at_start.pop(path, None)


def is_policy(path: str) -> bool:
    key = keys.from_path(path)
    return key is not None and key.kind in POLICIES
