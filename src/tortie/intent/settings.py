"""What the cluster's FelixConfiguration asks of this node, with the defaults filled in."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Only what tortie acts on; every other Felix parameter is kept in its resource and left alone."""

    interface_prefixes: tuple[str, ...] = ("cali", "tap")
    endpoint_reporting: bool = True
    reporting_interval_s: float = 30.0  # 0: no node status in the datastore
    reporting_ttl_s: float = 90.0
    audit_interval_s: float = 90.0
    policy_backend: str = "nftables"  # as `dataplane.contract.load` knows it
    mark_mask: int = 0xFFFF0000  # the bits of packets' marks that are ours
    region: str = ""  # of OpenStack: part of the keys of statuses
