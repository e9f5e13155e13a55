"""A document of each kind that is valid as it stands: for the reference, and to begin with.

A file has the name of its kind in lower case. Tests hold every one of them against the model.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from tortie.model.kind import Kind


def of(kind: Kind[Any]) -> str:
    """The example of a kind, as YAML."""
    return files(__name__).joinpath(f"{kind.name.lower()}.yaml").read_text()
