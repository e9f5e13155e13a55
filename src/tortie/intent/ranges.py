"""Prefixes and ports without overlaps: the same packets, each in one of them only."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from tortie.intent.axis import merged
from tortie.intent.policy import Network, PortRange


def merged_networks(networks: Iterable[Network]) -> tuple[Network, ...]:
    found = list(networks)
    if len(found) < 2:  # most rules name one or none
        return tuple(found)
    return (
        *collapse_addresses(net for net in found if isinstance(net, IPv4Network)),
        *collapse_addresses(net for net in found if isinstance(net, IPv6Network)),
    )


def merged_ports(ranges: Iterable[PortRange]) -> tuple[PortRange, ...]:
    return tuple(PortRange(*span) for span in merged(ranges))
