"""GlobalNetworkSet: prefixes with labels, for policies of all namespaces."""

from __future__ import annotations

from tortie.model.kind import Kind
from tortie.model.networks import COLUMNS, WIDE, NetworksSpec, rules


class GlobalNetworkSetSpec(NetworksSpec, frozen=True, kw_only=True):
    """Networks outside of the cluster, which rules select by the labels of the set. Policies of a namespace reach them
    with namespaceSelector `global()`.

    Source: api/pkg/apis/projectcalico/v3/globalnetworkset.go
    """


KIND = Kind(
    name="GlobalNetworkSet",
    plural="globalnetworksets",
    aliases=("globalnetworkset", "gnetsets"),
    spec=GlobalNetworkSetSpec,
    columns=COLUMNS,
    wide=WIDE,
    rules=rules,
)
