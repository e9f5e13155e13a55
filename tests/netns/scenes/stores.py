"""The same scene over another datastore."""

from __future__ import annotations

from ipaddress import ip_network

import msgspec
import pytest

from tortie.lab import etcd
from tortie.lab.topology import Machine, Topology, family

needs_etcd = pytest.mark.skipif(bool(etcd.missing()), reason=etcd.missing() or "etcd is installed")

FIRST_NUMBER = 100  # of a member's address in its subnet


def over_etcd(scene: Topology, members: int = 1) -> Topology:
    """The scene with its resources in an etcd on machines of their own, beside the first host."""
    neighbour = scene.hosts[0]
    subnet = scene.subnet_of(neighbour.addresses[0])
    assert subnet is not None
    versions = {family(address) for address in neighbour.addresses}
    networks = [ip_network(prefix) for prefix in subnet.prefixes if family(prefix) in versions]
    machines = [
        Machine(f"store{number}", tuple(str(network[FIRST_NUMBER + number]) for network in networks), etcd=True)
        for number in range(1, members + 1)
    ]
    return msgspec.structs.replace(scene, machines=(*scene.machines, *machines))
