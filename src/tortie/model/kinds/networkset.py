"""NetworkSet: prefixes with labels, in a namespace."""

from __future__ import annotations

from tortie.model.kind import Kind
from tortie.model.networks import COLUMNS, WIDE, NetworksSpec, rules


class NetworkSetSpec(NetworksSpec, frozen=True, kw_only=True):
    """Networks outside of the cluster, which rules select by the labels of the set; in policies of a namespace those of
    the same namespace.

    Source: api/pkg/apis/projectcalico/v3/networkset.go
    """


KIND = Kind(
    name="NetworkSet",
    plural="networksets",
    aliases=("networkset", "netsets"),
    spec=NetworkSetSpec,
    columns=COLUMNS,
    wide=WIDE,
    namespaced=True,
    rules=rules,
)
