"""What a check says of a store."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing about one subject, an object or a key; `path` is the field, if it is about one."""

    is_problem: bool  # False: worth knowing, and nothing to do
    subject: str
    path: str
    reason: str


def problem(subject: object, path: str, reason: str) -> Finding:
    return Finding(True, str(subject), path, reason)


def notice(subject: object, path: str, reason: str) -> Finding:
    return Finding(False, str(subject), path, reason)
