"""What the datastore of a lab holds before any agent starts: a Node per host, and the topology's own resources."""

from __future__ import annotations

from typing import Any

from tortie.datastore import open_datastore
from tortie.datastore.resources import Resources
from tortie.errors import InvalidResource, Problem
from tortie.lab.topology import Host, Topology, family
from tortie.model.decode import from_user
from tortie.model.resource import Resource


def resources(topology: Topology) -> list[Resource[Any]]:
    """Nodes first, then the topology's resources; raises `InvalidResource` with the place of what is wrong."""
    found = [from_user(_node(host, topology)) for host in topology.hosts]
    problems: list[Problem] = []
    for index, document in enumerate(topology.resources):
        try:
            found.append(from_user(document))
        except InvalidResource as error:
            problems += [each._replace(path=f"resources[{index}].{each.path}".rstrip(".")) for each in error.problems]
    if problems:
        raise InvalidResource(f"topology {topology.name}", tuple(problems))
    return found


async def write(url: str, wanted: list[Resource[Any]]) -> None:
    """Makes the store at `url` and writes the resources in order."""
    datastore = open_datastore(url, create=True)
    try:
        store = Resources(datastore)
        await store.ensure_initialised()
        for resource in wanted:
            await store.apply(resource)
    finally:
        await datastore.close()


def _node(host: Host, topology: Topology) -> dict[str, Any]:
    bgp: dict[str, Any] = {f"ipv{family(address)}Address": topology.on_link(address) for address in host.addresses}
    if host.as_number:
        bgp["asNumber"] = host.as_number
    if host.route_reflector:
        bgp["routeReflectorClusterID"] = host.route_reflector
    metadata = {"name": host.name, "labels": dict(host.labels)}
    return {"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": metadata, "spec": {"bgp": bgp}}
