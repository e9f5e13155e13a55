"""BlockAffinity: which host a block of addresses belongs to, as a resource.

In etcd nobody uses this form: the affinities that count have keys of their own (see `allocation`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tortie.model.addresses import IPNetwork
from tortie.model.codec import stand_in
from tortie.model.kind import NAME, Kind, column
from tortie.model.schema import Spec


def _read_deleted(value: object) -> str:
    if value is False or value in ("false", ""):
        return "false"
    raise ValueError("must be false: Calico takes no other")


if TYPE_CHECKING:
    NotDeleted = str
else:
    # A text for the sake of old releases, which took the field for one.
    NotDeleted = stand_in("NotDeleted", str, read=_read_deleted, rewrites=True)


class BlockAffinitySpec(Spec, frozen=True, kw_only=True):
    """A block of addresses and its host.

    Source: libcalico-go/lib/apis/v3/blockaffinity.go
    """

    state: Literal["", "pending", "confirmed", "pendingDeletion"]
    """How far the claim is; only what is confirmed counts. Empty: confirmed, by an old release."""

    node: str
    """The host, by the name of its Node, or `load-balancer`."""

    type: str = ""
    """`host` or `virtual`. Default: host."""

    cidr: IPNetwork
    """The block."""

    deleted: NotDeleted = "false"
    """Always false, written as a text."""


KIND = Kind(
    name="BlockAffinity",
    plural="blockaffinities",
    aliases=("blockaffinity", "affinity", "affinities"),
    spec=BlockAffinitySpec,
    columns=(NAME,),
    wide=(
        NAME,
        column("CIDR", lambda affinity: affinity.spec.cidr),
        column("NODE", lambda affinity: affinity.spec.node),
        column("TYPE", lambda affinity: affinity.spec.type),
        column("STATE", lambda affinity: affinity.spec.state),
    ),
)
