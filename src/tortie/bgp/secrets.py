"""Session passwords: a `secretKeyRef` {name, key} is the file `<directory>/<name>/<key>`."""

from __future__ import annotations

import re
from pathlib import Path

from tortie.bgp.render import is_password
from tortie.errors import BirdError
from tortie.intent.bgp import SecretRef

_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # no `..`, no separator: the path stays below the directory


def read_secret(directory: Path, ref: SecretRef) -> str:
    """Raises BirdError saying what to do; no message holds the secret."""
    if not all(_COMPONENT.fullmatch(part) for part in ref):
        raise BirdError(f"secret name {ref.name!r} key {ref.key!r}: letters, digits, dots, dashes only")
    path = directory / ref.name / ref.key
    try:
        password = path.read_text().removesuffix("\n")
    except OSError as error:
        raise BirdError(f"password file {path}: {error.strerror}; write the password into it") from error
    except UnicodeDecodeError:
        password = ""
    if not is_password(password):
        raise BirdError(f"password file {path}: 1 to 80 printable ASCII characters without double quotes are possible")
    return password
