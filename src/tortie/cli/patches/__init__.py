"""Patches of documents: pure functions from a document and a patch to the document that results.

strategic     Kubernetes' strategic merge patch, as far as it concerns Calico's resources
merge         JSON merge patch, RFC 7386
json_patch    JSON patch, RFC 6902

None of them changes what it is given. A patch that cannot be applied raises `Unpatchable`.
"""

from __future__ import annotations

from tortie.errors import UsageError


class Unpatchable(UsageError):
    """The patch is none, or does not fit the document; says why."""
