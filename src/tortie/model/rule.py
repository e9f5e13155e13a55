"""One rule of a policy or profile: which packets it means, and what happens to them.

All fields of a rule must match; of a list any element, of a negated list none. Shared by every kind that holds
rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from tortie.errors import Problem
from tortie.model.addresses import parse_network, parse_strict_network
from tortie.model.codec import stand_in
from tortie.model.names import annotation_problems
from tortie.model.scalars import Port, Protocol
from tortie.model.schema import Name, OptionalName, Spec
from tortie.model.selector import NamespaceSelector, Selector

MAX_RULES = 1024
MAX_PORTS = 50
MAX_NETS = 256
MAX_HTTP_ITEMS = 20

ICMP_VERSIONS = {Protocol.NAMES["ICMP"]: 4, Protocol.NAMES["ICMPv6"]: 6}
PROTOCOLS_WITH_PORTS = tuple(Protocol.NAMES[name] for name in ("TCP", "UDP", "SCTP"))

Direction = Literal["ingress", "egress"]


def _has_host_bits(text: object) -> bool:
    try:
        parse_strict_network(text)
    except ValueError:
        return True
    return False


if TYPE_CHECKING:
    RuleNetwork = IPv4Network | IPv6Network
else:
    # Felix takes a policy for absent that holds a prefix with host bits.
    RuleNetwork = stand_in("RuleNetwork", IPv4Network, IPv6Network, read=parse_network, is_tolerated=_has_host_bits)

Ports = Annotated[tuple[Port, ...], Meta(max_length=MAX_PORTS)]
Nets = Annotated[tuple[RuleNetwork, ...], Meta(max_length=MAX_NETS)]


class Icmp(Spec, frozen=True, kw_only=True):
    """An ICMP message. A code without type means nothing."""

    type: Annotated[int, Meta(ge=0, le=254)] | None = None
    """The type, 0 to 254: 8 is an echo request, 128 one of ICMPv6. Default: any."""

    code: Annotated[int, Meta(ge=0, le=255)] | None = None
    """The code, 0 to 255. Needs a type. Default: any."""


class ServiceAccounts(Spec, frozen=True, kw_only=True):
    """Endpoints by service account: both fields must match."""

    names: tuple[Name, ...] = ()
    """Any of these. Default: all."""

    selector: Selector | None = None
    """Those with such labels. Default: all."""


class Service(Spec, frozen=True, kw_only=True):
    """A Kubernetes service; without Kubernetes nothing is known of it."""

    name: OptionalName = ""
    """The service. Required."""

    namespace: OptionalName = ""
    """Its namespace; required in a policy of the whole cluster. Default: that of the policy."""


class Entity(Spec, frozen=True, kw_only=True):
    """One end of a packet's way. Nothing set means any address; a selector means known endpoints and network sets."""

    nets: Nets = ()
    """Any of these prefixes or addresses, at most 256. A rule must not mix IPv4 and IPv6."""

    not_nets: Nets = ()
    """None of these, at most 256. 0.0.0.0/0 and ::/0 are refused: nothing would be left."""

    selector: Selector | None = None
    """Endpoints and network sets by their labels; in a policy of a namespace only those of the namespace, unless
    namespaceSelector says otherwise."""

    not_selector: Selector | None = None
    """Not these, by their labels; matches addresses that nobody knows, which `!` in a selector does not."""

    namespace_selector: NamespaceSelector | None = None
    """Namespaces, by their labels. Exactly `global()`: what has no namespace, which are host endpoints and global
    network sets. Default: the policy's own namespace beside a selector, else all."""

    ports: Ports = ()
    """Any of these, at most 50: numbers, ranges "8000:8080", names of endpoints' ports. Numbers need protocol TCP, UDP
    or SCTP; names may stand without."""

    not_ports: Ports = ()
    """None of these, at most 50; as ports."""

    service_accounts: ServiceAccounts | None = None
    """Endpoints by their service accounts."""

    services: Service | None = None
    """A Kubernetes service, as source of ingress or destination of egress. Excludes everything else here; ports may
    stand beside it in ingress."""


class HttpPath(Spec, frozen=True, kw_only=True):
    """A path or the beginning of one: exactly one of the fields, which begins with `/` and holds no `?`, `#` or
    blank."""

    exact: str = ""
    """The whole path."""

    prefix: str = ""
    """How it begins."""


class Http(Spec, frozen=True, kw_only=True):
    """A request, as a proxy beside the workload sees it: both fields must match."""

    methods: Annotated[tuple[str, ...], Meta(max_length=MAX_HTTP_ITEMS)] = ()
    """Any of these methods, such as GET; at most 20, each once. Default: all."""

    paths: Annotated[tuple[HttpPath, ...], Meta(max_length=MAX_HTTP_ITEMS)] = ()
    """Any of these paths, at most 20. Default: all."""


class RuleMetadata(Spec, frozen=True, kw_only=True):
    """Notes on a rule."""

    annotations: dict[str, str] = {}
    """Notes of any text, by keys as those of an object's annotations."""


class Rule(Spec, frozen=True, kw_only=True):
    """One rule. Direction is that of the list it stands in."""

    action: Literal["Allow", "Deny", "Log", "Pass"]
    """Allow and Deny end the matter; Pass goes on with the next tier or, in a profile, with the next profile; Log logs
    and goes on with the next rule."""

    ip_version: Literal[4, 6] | None = None
    """Only packets of this IP version, 4 or 6. Default: both, unless the rule's prefixes or its ICMP are of one."""

    protocol: Protocol | None = None
    """Only this protocol: TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite, or a number from 1 to 255. ICMP and 1 are IPv4, ICMPv6
    and 58 are IPv6. Default: any."""

    not_protocol: Protocol | None = None
    """Any protocol but this one."""

    icmp: Icmp | None = None
    """Only these ICMP messages. Needs protocol ICMP, ICMPv6, 1 or 58."""

    not_icmp: Icmp | None = None
    """Any ICMP message but these. Needs protocol ICMP, ICMPv6, 1 or 58."""

    source: Entity = Entity()
    """Where the packet comes from. Default: anywhere."""

    destination: Entity = Entity()
    """Where the packet goes. Default: anywhere."""

    http: Http | None = None
    """Only these HTTP requests. Only in an ingress rule that allows, with protocol TCP or none."""

    metadata: RuleMetadata | None = None
    """Notes on the rule, without effect."""


Rules = Annotated[tuple[Rule, ...], Meta(max_length=MAX_RULES)]


def rule_problems(rules: tuple[Rule, ...], direction: Direction) -> Iterator[Problem]:
    """What is wrong with the rules at `spec.<direction>`, beyond what each field shows alone."""
    for index, rule in enumerate(rules):
        path = f"spec.{direction}[{index}]"
        yield from _version_problems(rule, path)
        yield from _icmp_problems(rule, path)
        for end, entity in (("source", rule.source), ("destination", rule.destination)):
            yield from _entity_problems(rule, entity, f"{path}.{end}")
        yield from _service_problems(rule, direction, path)
        if rule.http is not None:
            yield from _http_problems(rule, rule.http, direction, f"{path}.http")
        if rule.metadata is not None:
            for problem in annotation_problems(rule.metadata.annotations):
                yield problem._replace(path=f"{path}.{problem.path}")


def _version_problems(rule: Rule, path: str) -> Iterator[Problem]:
    nets = [net for entity in (rule.source, rule.destination) for net in (*entity.nets, *entity.not_nets)]
    versions = {net.version for net in nets}
    if len(versions) > 1:
        yield Problem(path, "", "must not mix IPv4 and IPv6 prefixes")
    elif rule.ip_version is not None and versions - {rule.ip_version}:
        yield Problem(f"{path}.ipVersion", str(rule.ip_version), "must be the version of the rule's prefixes")
    for field, protocol in (("protocol", rule.protocol), ("notProtocol", rule.not_protocol)):
        version = ICMP_VERSIONS.get(protocol or 0)
        if version is not None and rule.ip_version not in (None, version):
            name = Protocol.to_json(Protocol(protocol or 0))
            yield Problem(f"{path}.{field}", str(name), f"needs ipVersion {version}")


def _icmp_problems(rule: Rule, path: str) -> Iterator[Problem]:
    for field, icmp in (("icmp", rule.icmp), ("notICMP", rule.not_icmp)):
        if icmp is None:
            continue
        if rule.protocol not in ICMP_VERSIONS:
            yield Problem(f"{path}.{field}", "", "needs protocol ICMP or ICMPv6")
        if icmp.code is not None and icmp.type is None:
            yield Problem(f"{path}.{field}.code", str(icmp.code), "needs a type beside it")


def _entity_problems(rule: Rule, entity: Entity, path: str) -> Iterator[Problem]:
    for index, net in enumerate(entity.not_nets):
        if net.prefixlen == 0:
            yield Problem(f"{path}.notNets[{index}]", str(net), "must not be everything: the rule would never match")
    for field, ports in (("ports", entity.ports), ("notPorts", entity.not_ports)):
        for index, port in enumerate(ports):
            if port.name:
                continue
            where, text = f"{path}.{field}[{index}]", str(Port.to_json(port))
            if port.first == 0:
                yield Problem(where, text, "must be from 1 to 65535")
            if rule.protocol not in PROTOCOLS_WITH_PORTS:
                yield Problem(where, text, "a port number needs protocol TCP, UDP or SCTP")


def _service_problems(rule: Rule, direction: Direction, path: str) -> Iterator[Problem]:
    for end, entity in (("source", rule.source), ("destination", rule.destination)):
        if entity.services is None:
            continue
        where = f"{path}.{end}.services"
        if not entity.services.name:
            yield Problem(f"{where}.name", "", "is required")
        if (direction, end) not in (("ingress", "source"), ("egress", "destination")):
            yield Problem(where, "", "is allowed only as source of ingress or destination of egress")
        if direction == "ingress":
            alone = Entity(services=entity.services, ports=entity.ports, not_ports=entity.not_ports)
        else:
            alone = Entity(services=entity.services)
        if entity != alone:
            yield Problem(where, "", "excludes every other field beside it")


def _http_problems(rule: Rule, http: Http, direction: Direction, path: str) -> Iterator[Problem]:
    if direction != "ingress" or rule.action != "Allow" or rule.protocol not in (None, Protocol.NAMES["TCP"]):
        yield Problem(path, "", "is allowed only in an ingress rule that allows TCP")
    if len(set(http.methods)) != len(http.methods):
        yield Problem(f"{path}.methods", ", ".join(http.methods), "must hold each method once")
    for index, match in enumerate(http.paths):
        where = f"{path}.paths[{index}]"
        if bool(match.exact) == bool(match.prefix):
            yield Problem(where, "", "must have exactly one of exact, prefix")
        for field, text in (("exact", match.exact), ("prefix", match.prefix)):
            if text and not (text.startswith("/") and not set(text) & set("? #")):
                yield Problem(f"{where}.{field}", text, "must begin with / and hold no ?, # or blank")
