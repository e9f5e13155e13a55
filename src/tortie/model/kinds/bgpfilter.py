"""BGPFilter: which routes go to a BGP peer or come from one, and what is changed about them."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from tortie.errors import Problem
from tortie.model.addresses import reader
from tortie.model.codec import stand_in
from tortie.model.community import COMMUNITY_WORDS, is_community
from tortie.model.kind import NAME, Kind, column
from tortie.model.resource import Resource
from tortie.model.scalars import AsNumber
from tortie.model.schema import InterfaceGlob, RoutePriority, Spec, written

_WORDS_V4 = "an IPv4 prefix without host bits, with its length, such as 10.65.0.0/16"
_WORDS_V6 = "an IPv6 prefix without host bits, with its length, such as 2001:db8::/32"

if TYPE_CHECKING:
    _PrefixV4 = IPv4Network
    _PrefixV6 = IPv6Network
else:
    _PrefixV4 = stand_in("PrefixV4", IPv4Network, read=reader(IPv4Network, _WORDS_V4))
    _PrefixV6 = stand_in("PrefixV6", IPv6Network, read=reader(IPv6Network, _WORDS_V6))

PrefixV4 = Annotated[_PrefixV4, written(r"/[0-9]+\Z", f"must be {_WORDS_V4}")]
PrefixV6 = Annotated[_PrefixV6, written(r"/[0-9]+\Z", f"must be {_WORDS_V6}")]
MAX_OPERATIONS = 10
MAX_PREPENDED = 10

LengthV4 = Annotated[int, Meta(ge=0, le=32)]
LengthV6 = Annotated[int, Meta(ge=0, le=128)]


class PrefixLengthV4(Spec, frozen=True, kw_only=True):
    """How long the prefixes of matching routes are."""

    min: LengthV4 | None = None
    """At least, 0 to 32. Default: the length of cidr."""

    max: LengthV4 | None = None
    """At most, 0 to 32. Default: 32."""


class PrefixLengthV6(Spec, frozen=True, kw_only=True):
    """How long the prefixes of matching routes are."""

    min: LengthV6 | None = None
    """At least, 0 to 128. Default: the length of cidr."""

    max: LengthV6 | None = None
    """At most, 0 to 128. Default: 128."""


class CommunityMatch(Spec, frozen=True, kw_only=True):
    """Routes by their communities."""

    values: tuple[str, ...]
    """The community that a route carries, aa:nn or aa:nn:mm; exactly one."""


class AddCommunity(Spec, frozen=True, kw_only=True):
    """Gives a route a community."""

    value: str
    """The community, aa:nn or aa:nn:mm."""


class PrependAsPath(Spec, frozen=True, kw_only=True):
    """Makes a route's AS path longer."""

    prefix: Annotated[tuple[AsNumber, ...], Meta(max_length=MAX_PREPENDED)]
    """One to ten AS numbers, which then begin the path in this order."""


class SetPriority(Spec, frozen=True, kw_only=True):
    """Gives a route a priority."""

    value: RoutePriority
    """The metric, 1 to 2147483646, as FelixConfiguration's route priorities."""


class Operation(Spec, frozen=True, kw_only=True):
    """One change of a route: exactly one of the fields."""

    add_community: AddCommunity | None = None
    """Gives the route a community."""

    prepend_as_path: PrependAsPath | None = None
    """Puts AS numbers before the route's AS path."""

    set_priority: SetPriority | None = None
    """Gives the route a metric."""


class FilterRule(Spec, frozen=True, kw_only=True):
    """One rule: which routes it means, and what becomes of them. All fields must match; an absent one matches all."""

    action: Literal["Accept", "Reject"]
    """What becomes of a matching route; rules after this one do not see it."""

    match_operator: Literal["Equal", "NotEqual", "In", "NotIn"] | None = None
    """How a route's prefix compares with cidr: the same, or within it. Required with cidr, and only with it."""

    source: Literal["RemotePeers"] | None = None
    """Only routes that came from BGP peers. Of no use for imports, where all did. Default: all routes."""

    interface: InterfaceGlob | None = None
    """Only routes that leave by this interface: a name or pattern with `*`, 1 to 15 characters. Default: any."""

    peer_type: Literal["eBGP", "iBGP"] | None = None
    """Only peers of another AS, or of the own. Default: both."""

    communities: CommunityMatch | None = None
    """Only routes that carry a community."""

    as_path_prefix: tuple[AsNumber, ...] = ()
    """Only routes whose AS path begins with these numbers."""

    priority: RoutePriority | None = None
    """Only routes of this metric, 1 to 2147483646."""

    operations: Annotated[tuple[Operation, ...], Meta(max_length=MAX_OPERATIONS)] = ()
    """What is changed about an accepted route, at most ten changes in this order. Only with Accept."""


class FilterRuleV4(FilterRule, frozen=True, kw_only=True):
    """A rule for IPv4 routes."""

    cidr: PrefixV4 | None = None
    """The prefix that matchOperator compares with, without host bits, such as 10.65.0.0/16. Default: any route."""

    prefix_length: PrefixLengthV4 | None = None
    """Only routes with prefixes of this length. Needs cidr."""


class FilterRuleV6(FilterRule, frozen=True, kw_only=True):
    """A rule for IPv6 routes."""

    cidr: PrefixV6 | None = None
    """The prefix that matchOperator compares with, without host bits, such as 2001:db8::/32. Default: any route."""

    prefix_length: PrefixLengthV6 | None = None
    """Only routes with prefixes of this length. Needs cidr."""


class BGPFilterSpec(Spec, frozen=True, kw_only=True):
    """Rules for the routes of a BGP session; the first that matches decides, and a route that none matches passes.

    Source: api/pkg/apis/projectcalico/v3/bgpfilter.go
    """

    export_v4: tuple[FilterRuleV4, ...] = ()
    """IPv4 routes on their way to the peer."""

    import_v4: tuple[FilterRuleV4, ...] = ()
    """IPv4 routes that come from the peer."""

    export_v6: tuple[FilterRuleV6, ...] = ()
    """IPv6 routes on their way to the peer."""

    import_v6: tuple[FilterRuleV6, ...] = ()
    """IPv6 routes that come from the peer."""


def _rules_of(spec: BGPFilterSpec) -> Iterator[tuple[str, FilterRuleV4 | FilterRuleV6]]:
    """Every rule with its path."""
    for field, name in zip(BGPFilterSpec.__struct_fields__, BGPFilterSpec.__struct_encode_fields__, strict=True):
        for index, rule in enumerate(getattr(spec, field)):
            yield f"spec.{name}[{index}]", rule


def rules(bgp_filter: Resource[BGPFilterSpec]) -> Iterator[Problem]:
    for path, rule in _rules_of(bgp_filter.spec):
        if rule.cidr is not None and rule.match_operator is None:
            yield Problem(f"{path}.matchOperator", "", "is required beside cidr")
        if rule.cidr is None and rule.match_operator is not None:
            yield Problem(f"{path}.matchOperator", rule.match_operator, "needs cidr")
        if rule.cidr is None and rule.prefix_length is not None:
            yield Problem(f"{path}.prefixLength", "", "needs cidr")
        if rule.communities is not None:
            yield from _community_rules(rule.communities, path)
        if rule.operations and rule.action != "Accept":
            yield Problem(f"{path}.operations", "", "is allowed only with action Accept")
        for index, operation in enumerate(rule.operations):
            yield from _operation_rules(operation, f"{path}.operations[{index}]")


def _community_rules(match: CommunityMatch, path: str) -> Iterator[Problem]:
    if len(match.values) != 1:
        yield Problem(f"{path}.communities.values", f"{len(match.values)} items", "must have exactly one item")
    for index, text in enumerate(match.values):
        if not is_community(text):
            yield Problem(f"{path}.communities.values[{index}]", text, COMMUNITY_WORDS)


def _operation_rules(operation: Operation, path: str) -> Iterator[Problem]:
    if sum(getattr(operation, field) is not None for field in Operation.__struct_fields__) != 1:
        reason = "must have exactly one of " + ", ".join(Operation.__struct_encode_fields__)
        yield Problem(path, "", reason)
    if operation.add_community is not None and not is_community(operation.add_community.value):
        yield Problem(f"{path}.addCommunity.value", operation.add_community.value, COMMUNITY_WORDS)
    if operation.prepend_as_path is not None and not operation.prepend_as_path.prefix:
        yield Problem(f"{path}.prependASPath.prefix", "", "must have at least one AS number")


def write_rules(bgp_filter: Resource[BGPFilterSpec]) -> Iterator[Problem]:
    for path, rule in _rules_of(bgp_filter.spec):
        if path.startswith("spec.import") and rule.source is not None:
            yield Problem(f"{path}.source", rule.source, "must be absent: every imported route comes from a BGP peer")


COLUMNS = (
    NAME,
    column("NUMEXPORTV4", lambda bgp_filter: len(bgp_filter.spec.export_v4)),
    column("NUMIMPORTV4", lambda bgp_filter: len(bgp_filter.spec.import_v4)),
    column("NUMEXPORTV6", lambda bgp_filter: len(bgp_filter.spec.export_v6)),
    column("NUMIMPORTV6", lambda bgp_filter: len(bgp_filter.spec.import_v6)),
)

KIND = Kind(
    name="BGPFilter",
    plural="bgpfilters",
    aliases=("bgpfilter", "bgpf", "bgpfs", "bf", "bfs"),
    spec=BGPFilterSpec,
    columns=COLUMNS,
    wide=COLUMNS,
    rules=rules,
    write_rules=write_rules,
)
