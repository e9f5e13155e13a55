"""What a check says of the host."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """In the order in which they are told."""

    ERROR = "error"  # traffic is lost, or nothing watches over it
    WARNING = "warning"  # it will hurt when something else happens
    NOTE = "note"  # worth knowing, nothing is wrong


class Finding(NamedTuple):
    """Something about the host, in sentences without a full stop at the end."""

    severity: Severity
    what: str
    where: str  # the object: a file, a chain, a sysctl, an interface
    why: str  # what it does to workloads
    do: str  # commands or a setting


class Unseen(NamedTuple):
    """What could not be looked at."""

    what: str
    why: str


Result = Finding | Unseen


def error(what: str, where: str, why: str, do: str) -> Finding:
    return Finding(Severity.ERROR, what, where, why, do)


def warning(what: str, where: str, why: str, do: str) -> Finding:
    return Finding(Severity.WARNING, what, where, why, do)


def note(what: str, where: str, why: str, do: str) -> Finding:
    return Finding(Severity.NOTE, what, where, why, do)


def some(names: list[str]) -> str:
    """The first three."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
