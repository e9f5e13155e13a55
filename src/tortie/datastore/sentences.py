"""What a store says of objects that are not as a writer expects, in the words of calicoctl's users."""

from __future__ import annotations

from tortie.errors import AlreadyExists, Conflict, NotFound, UsageError
from tortie.model.resource import ResourceKey


def already_exists(key: ResourceKey) -> AlreadyExists:
    return AlreadyExists(f"resource already exists: {key} with error: <nil>")


def does_not_exist(key: ResourceKey) -> NotFound:
    return NotFound(f"resource does not exist: {key} with error: <nil>")


def update_conflict(key: ResourceKey, given: int, stored: int) -> Conflict:
    """Calico's sentence ends with the key."""
    return Conflict(f"update conflict: {key} (resourceVersion {given} was given, {stored} is stored)")


def overtaken(key: ResourceKey, attempts: int) -> Conflict:
    return Conflict(f"update conflict: {key} (others were faster {attempts} times in a row)")


def not_supported(operation: str, key: ResourceKey, reason: str = "") -> UsageError:
    return UsageError(f"operation {operation} is not supported on {key}" + (f": {reason}" if reason else ""))
