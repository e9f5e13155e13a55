"""Node: a host of the cluster, its addresses, and its place in BGP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from msgspec.structs import replace

from tortie.errors import Problem
from tortie.model.addresses import (
    IPInterface,
    IPv4AddressField,
    IPv4InterfaceField,
    IPv6AddressField,
    IPv6InterfaceField,
    Mac,
)
from tortie.model.kind import NAME, Cluster, Column, Kind, column
from tortie.model.resource import Resource
from tortie.model.scalars import AsNumber
from tortie.model.schema import Spec


class NodeBgp(Spec, frozen=True, kw_only=True):
    """How the node speaks BGP; with neither address it does not."""

    as_number: AsNumber | None = None  # None: the AS number of BGPConfiguration `default`
    ipv4_address: IPv4InterfaceField | None = None  # next hop of its IPv4 routes, with its subnet
    ipv6_address: IPv6InterfaceField | None = None  # next hop of its IPv6 routes, with its subnet
    ipv4_ipip_tunnel_addr: IPv4AddressField | None = None  # IPIP only
    route_reflector_cluster_id: IPv4AddressField | None = None  # makes it a route reflector, outside of the mesh


class NodeAddress(Spec, frozen=True, kw_only=True):
    """An address by which others know the node."""

    address: IPInterface
    type: Literal["CalicoNodeIP", "InternalIP", "ExternalIP", ""] = ""


class NodeInterface(Spec, frozen=True, kw_only=True):
    """A network interface of the node, as its start-up found it."""

    name: str = ""
    addresses: tuple[IPInterface, ...] = ()


class OrchRef(Spec, frozen=True, kw_only=True):
    """Who this node is to an orchestrator."""

    node_name: str = ""
    orchestrator: str = ""


class NodeWireguard(Spec, frozen=True, kw_only=True):
    """WireGuard only."""

    interface_ipv4_address: IPv4AddressField | None = None
    interface_ipv6_address: IPv6AddressField | None = None


class NodeSpec(Spec, frozen=True, kw_only=True):
    """The fields of a Node. Its labels are what pools and peers select it by."""

    bgp: NodeBgp | None = None  # None, and left out rather than empty, on a node without BGP
    addresses: tuple[NodeAddress, ...] = ()
    interfaces: tuple[NodeInterface, ...] = ()
    orch_refs: tuple[OrchRef, ...] = ()
    wireguard: NodeWireguard | None = None
    ipv4_vxlan_tunnel_addr: IPv4AddressField | None = None  # VXLAN only, as the next three
    ipv6_vxlan_tunnel_addr: IPv6AddressField | None = None
    vxlan_tunnel_mac_addr: Mac | None = None
    vxlan_tunnel_mac_addr_v6: Mac | None = None


class NodeStatus(Spec, frozen=True, kw_only=True):
    """What other programs report of the node."""

    wireguard_public_key: str = ""
    wireguard_public_key_v6: str = ""
    pod_cidrs: tuple[str, ...] = ()


def add_status(node: Resource[NodeSpec]) -> Resource[NodeSpec]:
    # Calico's Node has no optional status: its writers always put one.
    return replace(node, document={**node.document, "status": node.document.get("status") or {}})


def rules(node: Resource[NodeSpec]) -> Iterator[Problem]:
    if node.spec.bgp == NodeBgp():
        yield Problem("spec.bgp", "", "must not be empty; leave it out on a node without BGP")


def _as_number(node: Resource[Any], cluster: Cluster) -> str:
    own = node.spec.bgp.as_number if node.spec.bgp else None
    return f"({cluster.as_number})" if own is None else str(own)


def _address(node: Resource[Any], family: Literal["ipv4_address", "ipv6_address"]) -> str:
    address = getattr(node.spec.bgp, family) if node.spec.bgp else None
    return str(address or "")


KIND = Kind(
    name="Node",
    plural="nodes",
    aliases=("node", "no", "nos"),
    spec=NodeSpec,
    status=NodeStatus,
    columns=(NAME,),
    wide=(
        NAME,
        Column("ASN", _as_number),
        column("IPV4", lambda node: _address(node, "ipv4_address")),
        column("IPV6", lambda node: _address(node, "ipv6_address")),
    ),
    on_write=add_status,
    rules=rules,
)
