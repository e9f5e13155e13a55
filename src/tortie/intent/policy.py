"""What this node must let pass, in the words of no data plane.

Produced by `calc`, accumulated in `state.py`, judged by `verdict.py`, put into the kernel by the policy backends.

    endpoint ──▶ chain ──▶ tiers, in order ──▶ policies, in order ──▶ rules, in order ──▶ sets of addresses
                   └─────▶ profiles, in order, for what no tier decides

Policies and sets stand by their keys, since many endpoints share them; an endpoint names what applies to it. Whether
an interface exists, and which host endpoint therefore governs it, is a fact of the kernel and not known here.

Invariants:
* Every key that an endpoint or a rule names is in the state: `calc` puts a denial in the place of what is missing.
* Every rule knows the object and the place that it comes from.
* A rule without a family means both; one whose prefixes, protocol or types belong to a family has that family.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal, NamedTuple

import msgspec

from tortie.model.resource import ResourceKey

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Family = Literal[4, 6]
FAMILIES: tuple[Family, ...] = (4, 6)
SetId = str
ObjectKey = ResourceKey  # of a policy, a profile or an endpoint

# RuleOrigin.number, below all others, of a denial that stands for an object as a whole: it is missing or cannot be
# read, or its rules name a set that is above the limit.
WHOLE_OBJECT = -1
SET_ABOVE_LIMIT = -2


class Direction(StrEnum):
    """Seen from the endpoint: `ingress` is what it receives."""

    INGRESS = "ingress"
    EGRESS = "egress"


class Action(StrEnum):
    """What a matching rule does. Log goes on with the next rule; Pass leaves the tier, or the profile."""

    ALLOW = "Allow"
    DENY = "Deny"
    LOG = "Log"
    PASS = "Pass"


class RuleOrigin(NamedTuple):
    """Where a rule was written."""

    tier: str  # empty for a profile
    owner: ResourceKey  # a policy or a profile
    direction: Direction
    number: int  # in the owner's list of that direction, or WHOLE_OBJECT, or SET_ABOVE_LIMIT

    def __str__(self) -> str:
        if self.number == SET_ABOVE_LIMIT:
            return f"{self.owner} as a whole, since a set of its rules is above maxIpsetSize"
        place = "as a whole" if self.number == WHOLE_OBJECT else f"{self.direction} rule {self.number}"
        return f"{self.owner} {place}"


class PortRange(NamedTuple):
    """Ports from `first` to `last`, both included."""

    first: int
    last: int


class Icmp(NamedTuple):
    """Messages of a type, and of a code unless that is None."""

    type: int
    code: int | None = None


class End(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule says of one end of a packet. Of each list any element must match, of a `not_` list none.

    Ports are one list in two fields: a number in `ports`, or (protocol, address, number) in one of `port_sets`.
    """

    nets: tuple[Network, ...] = ()
    not_nets: tuple[Network, ...] = ()
    sets: tuple[SetId, ...] = ()  # the address is in every one of them
    not_sets: tuple[SetId, ...] = ()  # and in none of these
    ports: tuple[PortRange, ...] = ()
    port_sets: tuple[SetId, ...] = ()
    not_ports: tuple[PortRange, ...] = ()
    not_port_sets: tuple[SetId, ...] = ()


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule: all of it must match."""

    origin: RuleOrigin
    action: Action
    family: Family | None = None
    protocol: int | None = None
    not_protocol: int | None = None
    icmp: Icmp | None = None
    not_icmp: Icmp | None = None
    source: End = End()
    destination: End = End()


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of a policy or a profile. A staged one decides nothing: its rules are counted."""

    key: ResourceKey
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    staged: bool = False

    def rules(self, direction: Direction) -> tuple[Rule, ...]:
        return self.ingress if direction is Direction.INGRESS else self.egress

    def is_same(self, other: Policy, direction: Direction) -> bool:
        """Both say the same in a direction."""
        return self.staged == other.staged and self.rules(direction) == other.rules(direction)

    def sets(self) -> set[SetId]:
        """The sets that its rules name, of addresses and of ports."""
        ends = [end for rule in (*self.ingress, *self.egress) for end in (rule.source, rule.destination)]
        return {each for end in ends for each in (*end.sets, *end.not_sets, *end.port_sets, *end.not_port_sets)}


class Tier(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """The policies of one tier that apply to an endpoint in one direction, in order.

    `default` is what becomes of a packet that none of them decides: Deny, or Pass to what comes after the tier.
    """

    name: str
    policies: tuple[ResourceKey, ...]
    default: Literal[Action.DENY, Action.PASS] = Action.DENY


class Chain(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """All that applies to an endpoint in one direction."""

    tiers: tuple[Tier, ...] = ()
    profiles: tuple[ResourceKey, ...] = ()

    def policies_and_profiles(self) -> tuple[ResourceKey, ...]:
        """Whose rules these are, in the order of evaluation."""
        return (*(key for tier in self.tiers for key in tier.policies), *self.profiles)


class BothWays(msgspec.Struct, frozen=True, kw_only=True):
    """The chains of both directions."""

    ingress: Chain = Chain()
    egress: Chain = Chain()

    def chain(self, direction: Direction) -> Chain:
        return self.ingress if direction is Direction.INGRESS else self.egress


class FloatingAddress(NamedTuple):
    """An outside address under which a workload's own address is reached too."""

    outside: Address
    inside: Address


class WorkloadPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A workload endpoint of this node: what it may send as itself, and what may pass."""

    key: ResourceKey
    interface: str
    mac: str  # lower case, colons; empty when the store does not say, and then not checked
    addresses: tuple[Address, ...]
    allowed_sources: tuple[Network, ...] = ()  # may stand in the source of its packets besides its own addresses
    floating: tuple[FloatingAddress, ...] = ()
    policy: BothWays = BothWays()


class HostEndpointPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A host endpoint of this node: one interface by name or by address, or `*`, every other one of the host."""

    key: ResourceKey
    interface: str  # a name, `*`, or empty when `addresses` find it
    addresses: tuple[Address, ...] = ()
    normal: BothWays = BothWays()  # from and to processes of the host
    forward: BothWays = BothWays()  # through the host; without tiers all passes
    untracked: BothWays = BothWays()  # before connection tracking
    pre_dnat: Chain = Chain()  # what arrives, before its destination is translated


class NamedPort(NamedTuple):
    """A port that an endpoint gave a name to."""

    protocol: int
    address: Address
    port: int


Member = Address | Network | NamedPort  # of a set


class AddressSet(msgspec.Struct, kw_only=True):
    """Addresses by selector: of endpoints, and the prefixes of network sets. Both families in one set."""

    id: SetId
    addresses: set[Address] = set()
    networks: set[Network] = set()

    def __contains__(self, address: Address) -> bool:
        """O(networks)."""
        return address in self.addresses or any(address in network for network in self.networks)

    def change(self, added: Iterable[Member], removed: Iterable[Member]) -> None:
        for member in removed:
            self.addresses.discard(member)
            self.networks.discard(member)
        for member in added:
            if isinstance(member, Address):
                self.addresses.add(member)
            elif isinstance(member, Network):
                self.networks.add(member)


class PortSet(msgspec.Struct, kw_only=True):
    """The ports of one name and protocol at the endpoints of a selector."""

    id: SetId
    members: set[NamedPort] = set()

    def change(self, added: Iterable[Member], removed: Iterable[Member]) -> None:
        self.members.difference_update(each for each in removed if isinstance(each, NamedPort))
        self.members.update(each for each in added if isinstance(each, NamedPort))


class Oversize(NamedTuple):
    """A set that is above the limit, and so in no state: what names it denies everything.

    Its size is that of the larger family: as many distinct addresses and prefixes, or named ports.
    """

    set: str  # in the words of its selector
    family: Family
    size: int
    limit: int

    def __str__(self) -> str:
        return f"the set {self.set} has {self.size} IPv{self.family} members, and maxIpsetSize is {self.limit}"


class FailsafePort(NamedTuple):
    """A port of the host that no policy closes."""

    protocol: int
    port: int
    network: Network | None = None  # only from, or to, these addresses


class NatPool(NamedTuple):
    """The addresses of a pool, and whether they are translated on their way to what is in no pool."""

    network: Network
    outgoing: bool


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What FelixConfiguration says of the firewall of this node, and what its host must bear with."""

    endpoint_to_host: Literal["Drop", "Accept", "Return"] = "Drop"  # after a workload's own policy allowed it
    deny: Literal["Drop", "Reject"] = "Drop"
    failsafe_inbound: tuple[FailsafePort, ...] = ()
    failsafe_outbound: tuple[FailsafePort, ...] = ()
    ipip_from_workloads: bool = False
    vxlan_from_workloads: bool = False
    vxlan_port: int = 4789
    nat_address: IPv4Address | None = None  # None: the address of the interface that the packet leaves by
    nat_excludes_hosts: bool = False  # hosts' own addresses are not translated to either
    # A TCP packet that would open tracking in the middle of a conversation is judged by policy, not dropped: the
    # conversation may be older than tracking on this host.
    lenient: bool = False
