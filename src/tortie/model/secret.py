"""References to secrets. A secret itself never stands in a document."""

from __future__ import annotations

from tortie.model.schema import Spec


class SecretKeyRef(Spec, frozen=True, kw_only=True):
    """One value of a secret; without Kubernetes it is the file `/etc/tortie/secrets/<name>/<key>`."""

    key: str
    """Which value of the secret."""

    name: str = ""
    """The secret."""

    optional: bool | None = None
    """Kubernetes only: whether the secret may be absent. Kept."""


class BgpPassword(Spec, frozen=True, kw_only=True):
    """Where the password of a BGP session is found."""

    secret_key_ref: SecretKeyRef | None = None
    """The value that is the password. Absent: no password."""
