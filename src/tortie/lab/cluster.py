"""The datastore of a lab, and what it holds before any agent starts: a Node per host, and the topology's resources.

It is a SQLite file that all hosts share, or an etcd cluster on machines of the lab, which is reached only from inside.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from tortie.errors import InvalidResource, Problem
from tortie.lab import etcd
from tortie.lab.layout import FABRIC, Layout
from tortie.lab.process import Mark, inside, run
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


def datastore(topology: Topology, layout: Layout) -> str:
    """The URL of the lab's datastore."""
    members = [machine.addresses[0] for machine in topology.etcd]
    return etcd.url(members) if members else f"sqlite://{layout.store}"


async def write(topology: Topology, layout: Layout, wanted: list[Resource[Any]]) -> None:
    """Makes the store and writes the resources in order; the network and the etcd are up."""
    member = topology.etcd[0].name if topology.etcd else FABRIC
    setting = f"TORTIE_DATASTORE={datastore(topology, layout)}"
    command = ["env", setting, sys.executable, "-m", "tortie", "apply", "--skip-empty", "-f", "-"]
    text = msgspec.json.encode([dict(resource.document) for resource in wanted]).decode()
    await run(inside(layout.namespace(member), *command), Mark(layout.lab, member, "apply"), text=text)


def _node(host: Host, topology: Topology) -> dict[str, Any]:
    bgp: dict[str, Any] = {f"ipv{family(address)}Address": topology.on_link(address) for address in host.addresses}
    if host.as_number:
        bgp["asNumber"] = host.as_number
    if host.route_reflector:
        bgp["routeReflectorClusterID"] = host.route_reflector
    metadata = {"name": host.name, "labels": dict(host.labels)}
    return {"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": metadata, "spec": {"bgp": bgp}}
