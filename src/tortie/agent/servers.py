"""The datastore's servers as ports that a host must reach, whatever its policies say."""

from __future__ import annotations

import re
from ipaddress import ip_network

from tortie.intent.policy import FailsafePort
from tortie.model.scalars import Protocol

_DEFAULT_PORT = 2379
_SERVER = re.compile(r"(?:\[([0-9a-fA-F:.]+)(?:%\w+)?\]|([A-Za-z0-9_.-]+))(?::([0-9]{1,5}))?")


def servers_of(url: str) -> frozenset[FailsafePort]:
    """None of a store that is a file. A server by name may be anywhere, and those of a DNS record have etcd's port."""
    scheme, _, place = url.partition("://")
    if not scheme.startswith("etcd"):
        return frozenset()
    return frozenset(map(_port, place.split(",")))


def _port(text: str) -> FailsafePort:
    found = _SERVER.fullmatch(text)
    assert found is not None, text  # whoever opened the store has read it
    host = found[1] or found[2]
    try:
        network = ip_network(host)
    except ValueError:
        network = None
    return FailsafePort(Protocol.NAMES["TCP"], int(found[3] or _DEFAULT_PORT), network)
