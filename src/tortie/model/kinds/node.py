"""Node: a host of the cluster, its addresses, and its place in BGP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta

from tortie.errors import Problem
from tortie.model.addresses import (
    IPInterface,
    IPv4AddressField,
    IPv4InterfaceField,
    IPv6AddressField,
    IPv6InterfaceField,
    Mac,
)
from tortie.model.kind import NAME, Cluster, Column, Kind, column, with_status
from tortie.model.resource import Resource
from tortie.model.scalars import AsNumber
from tortie.model.schema import Spec

WireguardKey = Annotated[
    str, Meta(pattern=r"^([A-Za-z0-9+/]{43}=|)\Z", description="must be a WireGuard key: 32 bytes in base64")
]


class NodeBgp(Spec, frozen=True, kw_only=True):
    """How the node speaks BGP; with neither address it does not."""

    as_number: AsNumber | None = None
    """The node's AS number: 0 to 4294967295, or dotted as 1.10. Default: that of BGPConfiguration `default`, 64512 if
    it names none."""

    ipv4_address: IPv4InterfaceField | None = None
    """The node's IPv4 address with its prefix length, such as 192.0.2.1/24: the next hop of its IPv4 routes.
    Default: the node speaks no BGP over IPv4."""

    ipv6_address: IPv6InterfaceField | None = None
    """The node's IPv6 address with its prefix length: the next hop of its IPv6 routes. Default: the node speaks no
    BGP over IPv6."""

    ipv4_ipip_tunnel_addr: IPv4AddressField | None = None
    """IPIP only: the address of the tunnel. Kept."""

    route_reflector_cluster_id: IPv4AddressField | None = None
    """Makes the node a route reflector of this cluster id, such as 244.0.0.1, and takes it out of the mesh.
    Default: no route reflector."""


class NodeAddress(Spec, frozen=True, kw_only=True):
    """An address by which others know the node."""

    address: IPInterface
    """The address, bare or with its prefix length."""

    type: Literal["CalicoNodeIP", "InternalIP", "ExternalIP", ""] = ""
    """CalicoNodeIP is that of spec.bgp; the others come from an orchestrator. Default: unknown."""


class NodeInterface(Spec, frozen=True, kw_only=True):
    """A network interface of the node, as its start-up found it."""

    name: str = ""
    """Its name in the kernel."""

    addresses: tuple[IPInterface, ...] = ()
    """Its addresses, bare or with their prefix lengths."""


class OrchRef(Spec, frozen=True, kw_only=True):
    """Who this node is to an orchestrator."""

    node_name: str = ""
    """The node's name there."""

    orchestrator: str = ""
    """Which orchestrator: `k8s`."""


class NodeWireguard(Spec, frozen=True, kw_only=True):
    """WireGuard only; kept."""

    interface_ipv4_address: IPv4AddressField | None = None
    """The IPv4 address of the WireGuard interface."""

    interface_ipv6_address: IPv6AddressField | None = None
    """The IPv6 address of the WireGuard interface."""


class NodeSpec(Spec, frozen=True, kw_only=True):
    """A host of the cluster. Pools, peers and configurations select it by its labels.

    Source: libcalico-go/lib/apis/v3/node.go
    """

    bgp: NodeBgp | None = None
    """How the node speaks BGP. To be left out, and not empty, on a node without BGP."""

    addresses: tuple[NodeAddress, ...] = ()
    """The addresses by which others know the node."""

    interfaces: tuple[NodeInterface, ...] = ()
    """The node's network interfaces, for looking up."""

    orch_refs: tuple[OrchRef, ...] = ()
    """Who this node is to orchestrators."""

    wireguard: NodeWireguard | None = None
    """WireGuard only; kept."""

    ipv4_vxlan_tunnel_addr: IPv4AddressField | None = None
    """VXLAN only: the IPv4 address of the tunnel. Kept."""

    ipv6_vxlan_tunnel_addr: IPv6AddressField | None = None
    """VXLAN only: the IPv6 address of the tunnel. Kept."""

    vxlan_tunnel_mac_addr: Mac | None = None
    """VXLAN only: the Ethernet address of the IPv4 tunnel. Kept."""

    vxlan_tunnel_mac_addr_v6: Mac | None = None
    """VXLAN only: the Ethernet address of the IPv6 tunnel. Kept."""


class NodeStatus(Spec, frozen=True, kw_only=True):
    """What other programs report of the node. Never absent, and often empty."""

    wireguard_public_key: WireguardKey = ""
    """The node's WireGuard key for IPv4, 32 bytes in base64, written by Felix."""

    wireguard_public_key_v6: WireguardKey = ""
    """The node's WireGuard key for IPv6, 32 bytes in base64, written by Felix."""

    pod_cidrs: tuple[str, ...] = ()
    """Kubernetes only: the prefixes of the node's pods."""


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
    on_write=with_status,
    rules=rules,
)
