"""Who is meant: an endpoint by its name or its workload's, a node, an address of any of them or of somebody outside."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, NamedTuple

from tortie.errors import UsageError
from tortie.explain.cluster import Cluster, addresses_of
from tortie.intent.policy import Address
from tortie.model.kinds.workloadendpoint import workload_of
from tortie.model.names import suggestion
from tortie.model.resource import Resource, ResourceKey


class Party(NamedTuple):
    """One end of a conversation."""

    text: str  # as the user called it
    addresses: tuple[Address, ...]
    endpoint: ResourceKey | None = None  # of a workload
    node: str = ""  # that it is on, or is; empty: outside

    @property
    def is_host(self) -> bool:
        return self.endpoint is None and bool(self.node)

    def address(self, family: int) -> Address | None:
        return next((each for each in self.addresses if each.version == family), None)


def find_party(cluster: Cluster, text: str) -> Party:
    """Raises UsageError for what nobody is called, and for what several are."""
    try:
        address = ip_address(text)
    except ValueError:
        pass
    else:
        return _by_address(cluster, text, address)
    endpoints = list(_by_name(cluster, text))
    if len(endpoints) > 1:
        names = ", ".join(each.key.full_name for each in endpoints)
        raise UsageError(f"{text!r} may be any of {names}: write one of these")
    if endpoints:
        (endpoint,) = endpoints
        return Party(text, endpoint.spec.ip_networks, endpoint.key, endpoint.spec.node)
    node = cluster.get(ResourceKey("Node", "", text))
    if node is not None:
        return Party(text, addresses_of(node), None, text)
    meant = suggestion(text, _names(cluster))
    raise UsageError(f"there is no endpoint, workload or node called {text!r}, nor is it an address{meant}")


def _by_address(cluster: Cluster, text: str, address: Address) -> Party:
    owner = cluster.owner(address)
    if owner is not None:
        return Party(text, (address,), owner.key, owner.spec.node)
    return Party(text, (address,), None, cluster.host(address))


def _by_name(cluster: Cluster, text: str) -> Iterator[Resource[Any]]:
    namespace, slash, name = text.rpartition("/")
    for key, endpoint in cluster.of_kind("WorkloadEndpoint").items():
        if (not slash or key.namespace == namespace) and name in (key.name, workload_of(endpoint.spec)):
            yield endpoint


def _names(cluster: Cluster) -> Iterator[str]:
    for key, endpoint in cluster.of_kind("WorkloadEndpoint").items():
        yield workload_of(endpoint.spec)
        yield f"{key.namespace}/{workload_of(endpoint.spec)}"
    yield from (key.name for key in cluster.of_kind("Node"))
