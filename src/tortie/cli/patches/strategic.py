"""Kubernetes' strategic merge patch for Calico's resources: objects merge, null deletes, lists are replaced whole.

Where Kubernetes merges a list, its type says so; no list of Calico's resources does. Of the directives there remain
those of objects: `$patch: replace` puts an object in the place of the old one, `$patch: delete` empties it,
`$retainKeys` names the fields that stay.
"""

from __future__ import annotations

from typing import Any

from tortie.cli.patches import Unpatchable

_PATCH = "$patch"
_RETAIN = "$retainKeys"


def apply(document: Any, patch: Any) -> Any:
    """The document after the patch."""
    if not isinstance(patch, dict):
        raise Unpatchable("the patch must be an object with the fields to change")
    return _merged(document, patch, "")


def _merged(document: Any, patch: dict[str, Any], path: str) -> dict[str, Any]:
    directive = patch.get(_PATCH, "merge")
    if directive not in ("merge", "replace", "delete"):
        raise Unpatchable(f"{path or 'patch'}: {_PATCH} must be merge, replace or delete")
    fields = {name: part for name, part in patch.items() if name not in (_PATCH, _RETAIN)}
    merged = dict(document) if isinstance(document, dict) and directive == "merge" else {}
    if directive == "delete":
        return merged
    for name, part in fields.items():
        where = f"{path}.{name}" if path else name
        if name.startswith("$"):
            raise Unpatchable(f"{where}: this directive is for lists that merge, and Calico's resources have none")
        if part is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), part, where) if isinstance(part, dict) else part
    return _retained(merged, patch, path)


def _retained(merged: dict[str, Any], patch: dict[str, Any], path: str) -> dict[str, Any]:
    if _RETAIN not in patch:
        return merged
    names = patch[_RETAIN]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Unpatchable(f"{path or 'patch'}: {_RETAIN} must be a list of field names")
    return {name: part for name, part in merged.items() if name in names}
