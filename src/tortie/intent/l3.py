"""What this node must do to route its workloads, in the words of no data plane.

Produced by `calc`, consumed by `dataplane/l3`. Whether an interface exists, runs or is fit to carry a workload is
a fact of the kernel and not known here.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import msgspec

from tortie.model.resource import ResourceKey

EndpointKey = ResourceKey


class LocalEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A workload endpoint of this node.

    `refused` says why the endpoint must not be routed at all (its address belongs to another endpoint); it is empty
    for an endpoint in order. A refused endpoint is still listed, since its interface is governed and its status
    reported.
    """

    key: EndpointKey
    interface: str
    mac: str  # lower case, colons; empty when the store does not say
    addresses: tuple[IPv4Address | IPv6Address, ...]
    refused: str = ""
    mtu: int = 0  # asked for by whoever attached it; 0: as large as the uplink takes
