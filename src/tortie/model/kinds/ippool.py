"""IPPool: a prefix from which workloads get addresses, and which BGP may announce."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from tortie.errors import Problem
from tortie.model.addresses import reader
from tortie.model.codec import stand_in
from tortie.model.condition import Condition
from tortie.model.kind import NAME, Kind, column
from tortie.model.resource import Resource
from tortie.model.schema import Spec
from tortie.model.selector import Selector, parse

LINK_LOCAL = (ip_network("169.254.0.0/16"), ip_network("fe80::/10"))
DEFAULT_BLOCK_SIZE = {4: 26, 6: 122}
BLOCK_SIZES = {4: (20, 32), 6: (116, 128)}
DEFAULT_USES: tuple[Literal["Workload", "Tunnel"], ...] = ("Workload", "Tunnel")
ALL = parse("all()")
_MAX_LENGTH = 48


_read_network = reader(lambda text: ip_network(text, strict=False), "a prefix")


def _read_cidr(value: object) -> IPv4Network | IPv6Network:
    try:
        _read_network(value)
    except ValueError:
        raise ValueError("IPPool CIDR must be a valid subnet") from None
    if len(str(value)) > _MAX_LENGTH:
        raise ValueError(f"IPPool CIDR must be at most {_MAX_LENGTH} characters")
    try:
        return ip_network(str(value))
    except ValueError:
        raise ValueError("IPPool CIDR is not strictly masked") from None


if TYPE_CHECKING:
    PoolCidr = IPv4Network | IPv6Network
else:
    PoolCidr = stand_in("PoolCidr", IPv4Network, IPv6Network, read=_read_cidr, rewrites=True)

Encapsulation = Literal["Never", "Always", "CrossSubnet"]


class IPPoolSpec(Spec, frozen=True, kw_only=True):
    """A prefix that workloads get their addresses from, and how routes to it and packets from it are treated.

    Source: api/pkg/apis/projectcalico/v3/ippool.go
    """

    cidr: PoolCidr
    """The prefix, without host bits, such as 10.65.0.0/16. It cannot be changed, and must overlap neither another pool
    nor link-local space (169.254.0.0/16, fe80::/10)."""

    vxlan_mode: Encapsulation = "Never"
    """VXLAN between hosts; not together with ipipMode. Default: Never. tortie routes plainly whatever it says."""

    ipip_mode: Encapsulation = "Never"
    """IPIP between hosts; Never in IPv6. Default: Never. tortie routes plainly whatever it says."""

    nat_outgoing: bool = False
    """Masquerades what workloads of the pool send to addresses outside of all pools. Default: false."""

    disabled: bool = False
    """Gives out no new addresses; those given stay, are announced, and can be released. Default: false."""

    disable_bgp_export: bool = False
    """Keeps BGP from announcing the pool's addresses. Not with LoadBalancer. Default: false."""

    block_size: int = 0
    """Prefix length of the blocks that hosts get: 20 to 32 in IPv4, 116 to 128 in IPv6. It cannot be changed.
    Default: 26 in IPv4, 122 in IPv6."""

    node_selector: Selector = ALL
    """Which Nodes, by their labels, take addresses from the pool. Default: all()."""

    namespace_selector: Selector | None = None
    """Which namespaces, by their labels, take addresses from the pool; without Kubernetes leave it out.
    Default: every namespace."""

    allowed_uses: tuple[Literal["Workload", "Tunnel", "LoadBalancer"], ...] = DEFAULT_USES
    """What the addresses are for. LoadBalancer excludes the others, encapsulation and disableBGPExport, and needs
    nodeSelector all(). Default: Workload and Tunnel."""

    assignment_mode: Literal["Automatic", "Manual"] = "Automatic"
    """Manual: addresses come from the pool only where it is asked for by name. Default: Automatic."""


class IPPoolStatus(Spec, frozen=True, kw_only=True):
    """What is known of the pool. Absent until somebody reports it."""

    conditions: tuple[Condition, ...] = ()
    """The findings, one of each type. Allocatable False stops allocation, for the reason CIDROverlap, Terminating or
    PoolDisabled."""


def pools_overlap(one: IPPoolSpec, other: IPPoolSpec) -> bool:
    """Whether an address could belong to both pools, which no two pools of a cluster may."""
    return one.cidr.version == other.cidr.version and one.cidr.overlaps(other.cidr)


def fill_in(pool: Resource[IPPoolSpec]) -> Resource[IPPoolSpec]:
    """An empty field means the default, as an absent one does."""
    spec = pool.spec
    filled = replace(
        spec,
        block_size=spec.block_size or DEFAULT_BLOCK_SIZE[spec.cidr.version],
        node_selector=spec.node_selector if spec.node_selector.source else ALL,
        allowed_uses=spec.allowed_uses or DEFAULT_USES,
    )
    return replace(pool, spec=filled)


def rules(pool: Resource[IPPoolSpec]) -> Iterator[Problem]:
    spec = pool.spec
    cidr = spec.cidr
    if any(cidr.version == reserved.version and cidr.overlaps(reserved) for reserved in LINK_LOCAL):
        yield Problem("spec.cidr", str(cidr), "must not overlap link-local addresses (169.254.0.0/16, fe80::/10)")
    smallest, largest = BLOCK_SIZES[cidr.version]
    if not smallest <= spec.block_size <= largest:
        allowed = f"must be from {smallest} to {largest} for IPv{cidr.version}"
        yield Problem("spec.blockSize", str(spec.block_size), allowed)
    elif cidr.prefixlen > spec.block_size and not spec.disabled:
        reason = f"the pool is smaller than one of its blocks (/{spec.block_size})"
        yield Problem("spec.cidr", str(cidr), reason)
    if spec.ipip_mode != "Never" and cidr.version == 6:
        yield Problem("spec.ipipMode", spec.ipip_mode, "must be Never: IPIP does not carry IPv6")
    if spec.ipip_mode != "Never" and spec.vxlan_mode != "Never":
        yield Problem("spec.vxlanMode", spec.vxlan_mode, "must be Never when ipipMode is not")
    if "LoadBalancer" in spec.allowed_uses:
        yield from _load_balancer_rules(spec)


def _load_balancer_rules(spec: IPPoolSpec) -> Iterator[Problem]:
    if len(set(spec.allowed_uses)) > 1:
        yield Problem("spec.allowedUses", ", ".join(spec.allowed_uses), "LoadBalancer excludes other uses")
    if spec.disable_bgp_export:
        yield Problem("spec.disableBGPExport", "true", "must be false for a pool of load balancers")
    for field, mode in (("ipipMode", spec.ipip_mode), ("vxlanMode", spec.vxlan_mode)):
        if mode != "Never":
            yield Problem(f"spec.{field}", mode, "must be Never for a pool of load balancers")
    if spec.node_selector != ALL:
        reason = "must be all() for a pool of load balancers"
        yield Problem("spec.nodeSelector", spec.node_selector.source, reason)


def change_rules(old: Resource[IPPoolSpec], new: Resource[IPPoolSpec]) -> Iterator[Problem]:
    if new.spec.cidr != old.spec.cidr:
        yield Problem("spec.cidr", str(new.spec.cidr), "IPPool CIDR cannot be modified")
    if new.spec.block_size != old.spec.block_size:
        yield Problem("spec.blockSize", str(new.spec.block_size), "IPPool BlockSize cannot be modified")


CIDR = column("CIDR", lambda pool: pool.spec.cidr)
SELECTOR = column("SELECTOR", lambda pool: pool.spec.node_selector)

KIND = Kind(
    name="IPPool",
    plural="ippools",
    aliases=("ippool", "ippools", "ipp", "ipps", "pool", "pools"),
    spec=IPPoolSpec,
    status=IPPoolStatus,
    columns=(NAME, CIDR, SELECTOR),
    wide=(
        NAME,
        CIDR,
        column("NAT", lambda pool: pool.spec.nat_outgoing),
        column("IPIPMODE", lambda pool: pool.spec.ipip_mode),
        column("VXLANMODE", lambda pool: pool.spec.vxlan_mode),
        column("DISABLED", lambda pool: pool.spec.disabled),
        column("DISABLEBGPEXPORT", lambda pool: pool.spec.disable_bgp_export),
        SELECTOR,
        column("ASSIGNMENTMODE", lambda pool: pool.spec.assignment_mode),
    ),
    on_read=fill_in,
    on_write=fill_in,
    rules=rules,
    change_rules=change_rules,
)
