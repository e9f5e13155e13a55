"""Intents for tests of the BGP sink: one node's view of small clusters, in few words."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from tortie.intent.bgp import BgpIntent, Origin, Peer, Pool
from tortie.model.resource import ResourceKey

A4, B4, C4, REFLECTOR4 = (f"172.18.203.{last}" for last in (125, 126, 129, 200))
A6, B6 = "fd00:203::125", "fd00:203::126"
ELSEWHERE4 = "172.18.204.10"  # behind a router

POOLS = (
    Pool(network=ip_network("10.65.0.0/16"), exported=True),
    Pool(network=ip_network("10.66.0.0/16"), exported=False),
    Pool(network=ip_network("fd65::/64"), exported=True),
)
BGP_PEER = ResourceKey("BGPPeer", "", "rack1")


def peer(address: str, *, local: str, origin: Origin = Origin.MESH, **changes: Any) -> Peer:
    """An iBGP session of AS 64512 on the node's own link."""
    default = {
        "port": 179,
        "as_number": 64512,
        "local_address": ip_address(local),
        "local_as": 64512,
        "on_link": True,
        "source": BGP_PEER,
    }
    return Peer(origin=origin, address=ip_address(address), **(default | changes))


def intent(router_id: str, *peers: Peer, **changes: Any) -> BgpIntent:
    addresses = {peer.local_address for peer in peers if peer.local_address is not None}
    default: dict[str, Any] = {
        "node": "host-a",
        "as_number": 64512,
        "addresses": tuple(sorted(addresses, key=_by_family)),
        "listen_port": 179,
        "hidden_interfaces": ("cali*", "tap*", "ns-*"),
        "pools": POOLS,
    }
    return BgpIntent(router_id=IPv4Address(router_id), peers=peers, **(default | changes))


def _by_family(address: IPv4Address | IPv6Address) -> tuple[int, int]:
    return address.version, int(address)
