"""The ports without which a host falls out of its cluster: those of its datastore, and of its BGP sessions."""

from __future__ import annotations

from ipaddress import ip_network

from tortie.calc.firewall import NeededPorts
from tortie.intent.bgp import BgpIntent
from tortie.intent.policy import FailsafePort
from tortie.model.scalars import Protocol

_TCP = Protocol.NAMES["TCP"]


def needed_ports(servers: frozenset[FailsafePort], bgp: BgpIntent) -> NeededPorts:
    """Either side of a session may be the one that connects, whatever is configured: who is passive today is not
    tomorrow."""
    inbound = {FailsafePort(_TCP, bgp.listen_port, ip_network(peer.address)) for peer in bgp.peers}
    outbound = {FailsafePort(_TCP, peer.port, ip_network(peer.address)) for peer in bgp.peers}
    return NeededPorts(frozenset(inbound), frozenset(outbound) | servers)
