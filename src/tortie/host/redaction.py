"""Secrets out of what goes into an archive.

Two nets, one behind the other. Structured files are taken apart, and a value is shown only where its key is known to
hold no secret, so that a misspelt `pasword` does not get through. Then every text is searched for the secrets that
this host is known to have, and for what looks like one wherever it stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

REMOVED = "(removed)"
# Below this a secret is a word, and to take it out everywhere would spoil the text and tell where it stood.
SHORTEST = 4
SHORTEST_UNKNOWN = 8

_SECRETIVE = re.compile(
    r"pass|pwd|secret|token|credential|(^|[_-]|etcd|inline)(key|cert)$|private|authorization", re.IGNORECASE
)
_PASSWORD = r"""(pass(?:word|wd|phrase)["']?"""
_SHAPES = (
    # BIRD's and everybody's: password "..."; and key material in PEM form.
    (re.compile(_PASSWORD + r"""\s*[:=]?\s*)(["'])(?:(?!\2).)*\2""", re.IGNORECASE), rf"\1\2{REMOVED}\2"),
    (re.compile(_PASSWORD + r"""\s*[:=]\s*)[^\s"';,]+""", re.IGNORECASE), rf"\1{REMOVED}"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), REMOVED),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@\"']+@", re.IGNORECASE), rf"\1{REMOVED}@"),
)
_SECRET_FILE = re.compile(r"(pass|key).*file$", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"://[^\s/@:]*:([^\s/@]+)@")
# Of an object that is a secret only the name of what holds it.
_WITHIN_SECRET = frozenset({"name"})
_ASSIGNMENT = re.compile(r"\s*[\"']?(?P<key>[\w-]+)[\"']?\s*[=:]\s*[\"']?(?P<value>[^\"'\n]+)")
_BIRD_PASSWORD = re.compile(r"\bpassword\s+\"([^\"]*)\"")


def is_secretive(key: str) -> bool:
    """Whether a value of this key may be a secret. The name of a file that holds one is none."""
    return _SECRETIVE.search(key) is not None and not re.search(r"file$|ref$", key, re.IGNORECASE)


def without_secrets(value: Any, shown: frozenset[str] | None = None) -> Any:
    """A document without the values of secretive keys; with `shown` only the values of those keys stay."""
    match value:
        case Mapping():
            return {str(key): _shown(str(key), part, shown) for key, part in value.items()}
        case list():
            return [without_secrets(part, shown) for part in value]
    return value


def _shown(key: str, part: Any, shown: frozenset[str] | None) -> Any:
    if isinstance(part, Mapping):
        return without_secrets(part, _WITHIN_SECRET if is_secretive(key) else shown)
    return REMOVED if _is_hidden(key, shown) else without_secrets(part, shown)


def _is_hidden(key: str, shown: frozenset[str] | None) -> bool:
    return is_secretive(key) or (shown is not None and key not in shown)


def secrets_in(value: Any, shown: frozenset[str] | None = None) -> Iterator[str]:
    """The texts that `without_secrets` takes out of a document, but for short ones that are only unknown: to search a
    log for `eth0` would spoil it. And the passwords in URLs, which stay without."""
    match value:
        case str():
            yield from _URL_PASSWORD.findall(value)
        case Mapping():
            for key, part in value.items():
                if isinstance(part, Mapping):
                    yield from secrets_in(part, _WITHIN_SECRET if is_secretive(str(key)) else shown)
                elif _is_hidden(str(key), shown):
                    is_secret = is_secretive(str(key)) or shown is _WITHIN_SECRET
                    least = SHORTEST if is_secret else SHORTEST_UNKNOWN
                    yield from (text for text in _texts_in(part) if len(text) >= least)
                else:
                    yield from secrets_in(part, shown)
        case list():
            for part in value:
                yield from secrets_in(part, shown)


def _texts_in(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for part in value.values():
                yield from _texts_in(part)
        case list():
            for part in value:
                yield from _texts_in(part)


def secret_files_in(value: Any) -> Iterator[Path]:
    """The files that a document names as holding a password or a private key."""
    match value:
        case Mapping():
            for key, part in value.items():
                if isinstance(part, str) and part and _SECRET_FILE.search(str(key)):
                    yield Path(part)
                yield from secret_files_in(part)
        case list():
            for part in value:
                yield from secret_files_in(part)


def secrets_in_lines(text: str) -> list[str]:
    """The secrets of a file that cannot be read as what it should be: what follows a secretive key in its line."""
    found = (_ASSIGNMENT.match(line) for line in text.splitlines())
    return [match["value"] for match in found if match and is_secretive(match["key"])]


def bird_passwords(configuration: str) -> list[str]:
    """The passwords of BIRD's configuration."""
    return _BIRD_PASSWORD.findall(configuration)


class Redactor:
    """Takes known secrets out of any text, as they are and as JSON and URLs write them."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms: set[str] = set()
        for secret in secrets:
            # Of a secret of several lines, as a key is, each line is one: a log may show it alone.
            for part in {secret.strip(), *(line.strip() for line in secret.splitlines())}:
                if len(part) >= SHORTEST:
                    forms |= {part, json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1], quote(part, "")}
        longest_first = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(REMOVED, text)
        for shape, replacement in _SHAPES:
            text = shape.sub(replacement, text)
        return text
