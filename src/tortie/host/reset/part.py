"""Things of one kind on this host: what there is of them, and how they go."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from tortie.errors import TortieError

Failure = TortieError | OSError


class Part(NamedTuple):
    """Both may be repeated, block, and raise TortieError or OSError. Looking changes nothing."""

    name: str
    find: Callable[[], Iterable[str]]  # each object in words
    remove: Callable[[], None]


class Found(NamedTuple):
    """What there is of a part, or why that cannot be said."""

    part: Part
    objects: tuple[str, ...] = ()
    failure: str = ""


def look(part: Part) -> Found:
    try:
        return Found(part, tuple(part.find()))
    except (TortieError, OSError) as failure:
        return Found(part, failure=_words(failure))


def take_away(part: Part) -> str:
    """What stood against it; empty when nothing did."""
    try:
        part.remove()
    except (TortieError, OSError) as failure:
        return _words(failure)
    return ""


def _words(failure: Failure) -> str:
    return f"{failure.filename}: {failure.strerror}" if isinstance(failure, OSError) else str(failure)
