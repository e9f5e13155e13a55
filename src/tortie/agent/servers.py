"""The datastore's servers as ports that a host must reach, whatever its policies say."""

from __future__ import annotations

from ipaddress import ip_network

from tortie.datastore.etcd.members import DEFAULT_PORT, Members
from tortie.intent.policy import FailsafePort
from tortie.model.scalars import Protocol


def servers_of(url: str) -> frozenset[FailsafePort]:
    """None of a store that is a file. A server by name may be anywhere, and those of a DNS record have etcd's port."""
    if not url.startswith("etcd"):
        return frozenset()
    return frozenset(map(_port, Members(url).named or (f"*:{DEFAULT_PORT}",)))


def _port(address: str) -> FailsafePort:
    host, _, port = address.rpartition(":")
    try:
        network = ip_network(host.strip("[]").partition("%")[0])
    except ValueError:
        network = None
    return FailsafePort(Protocol.NAMES["TCP"], int(port), network)
