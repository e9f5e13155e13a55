"""Small clusters for tests: resources in few words, decoded as if a user had applied them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tortie.model.decode import from_user
from tortie.model.resource import Resource

LINK = "172.18.203"


def resource(kind: str, name: str, spec: Mapping[str, Any], labels: Mapping[str, str] | None = None) -> Resource[Any]:
    metadata = {"name": name, "labels": dict(labels or {})}
    return from_user({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": dict(spec)})


def node(name: str, *addresses: str, labels: Mapping[str, str] | None = None, **bgp: Any) -> Resource[Any]:
    """A Node with addresses of either family; `asNumber=`, `routeReflectorClusterID=` as in documents."""
    fields = {f"ipv{6 if ':' in address else 4}Address": address for address in addresses}
    return resource("Node", name, {"bgp": fields | bgp} if fields | bgp else {}, labels)


def bgp_peer(name: str, **spec: Any) -> Resource[Any]:
    return resource("BGPPeer", name, spec)


def bgp_filter(name: str, **spec: Any) -> Resource[Any]:
    return resource("BGPFilter", name, spec)


def bgp_configuration(name: str = "default", **spec: Any) -> Resource[Any]:
    return resource("BGPConfiguration", name, spec)


def pool(name: str, cidr: str, **spec: Any) -> Resource[Any]:
    return resource("IPPool", name, {"cidr": cidr, **spec})


A = node("a", f"{LINK}.125/24")
B = node("b", f"{LINK}.126/24")
C = node("c", f"{LINK}.129/24")
