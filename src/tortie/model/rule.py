"""One rule of a policy or profile: which packets it means, and what happens to them.

All fields of a rule must match; of a list any element, of a negated list none. Shared by every kind that holds
rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from tortie.errors import Problem
from tortie.model.addresses import IPNetwork
from tortie.model.scalars import Port, Protocol
from tortie.model.schema import Name, OptionalName, Spec
from tortie.model.selector import NamespaceSelector, Selector

MAX_RULES = 1024
MAX_PORTS = 50
MAX_NETS = 256

ICMP_VERSIONS = {Protocol.NAMES["ICMP"]: 4, Protocol.NAMES["ICMPv6"]: 6}
PROTOCOLS_WITH_PORTS = tuple(Protocol.NAMES[name] for name in ("TCP", "UDP", "SCTP"))

Ports = Annotated[tuple[Port, ...], Meta(max_length=MAX_PORTS)]
Nets = Annotated[tuple[IPNetwork, ...], Meta(max_length=MAX_NETS)]


class Icmp(Spec, frozen=True, kw_only=True):
    """An ICMP message. A code without type means nothing."""

    type: Annotated[int, Meta(ge=0, le=254)] | None = None
    code: Annotated[int, Meta(ge=0, le=255)] | None = None


class ServiceAccounts(Spec, frozen=True, kw_only=True):
    """Endpoints by service account: any of the names, and its labels selected."""

    names: tuple[Name, ...] = ()
    selector: Selector | None = None


class Service(Spec, frozen=True, kw_only=True):
    """A Kubernetes service; without Kubernetes nothing is known of it."""

    name: OptionalName = ""
    namespace: OptionalName = ""


class Entity(Spec, frozen=True, kw_only=True):
    """One end of a packet's way. Nothing set means any; a selector means known endpoints and network sets only."""

    nets: Nets = ()  # not both families in one rule
    not_nets: Nets = ()  # never everything (0.0.0.0/0, ::/0)
    selector: Selector | None = None
    not_selector: Selector | None = None  # also true of addresses nobody knows
    namespace_selector: NamespaceSelector | None = None  # exactly `global()`: what has no namespace
    ports: Ports = ()  # numbers need a protocol with ports; names may stand alone
    not_ports: Ports = ()
    service_accounts: ServiceAccounts | None = None
    services: Service | None = None  # excludes everything else here


class HttpPath(Spec, frozen=True, kw_only=True):
    """A path or the beginning of one."""

    exact: str = ""
    prefix: str = ""


class Http(Spec, frozen=True, kw_only=True):
    """A request, as a proxy beside the workload sees it."""

    methods: tuple[str, ...] = ()
    paths: tuple[HttpPath, ...] = ()


class RuleMetadata(Spec, frozen=True, kw_only=True):
    """Notes on a rule."""

    annotations: dict[str, str] = {}


class Rule(Spec, frozen=True, kw_only=True):
    """One rule. Direction is that of the list it stands in."""

    action: Literal["Allow", "Deny", "Log", "Pass"]
    ip_version: Literal[4, 6] | None = None  # None: both, unless the rest of the rule decides
    protocol: Protocol | None = None
    not_protocol: Protocol | None = None
    icmp: Icmp | None = None  # needs protocol ICMP or ICMPv6
    not_icmp: Icmp | None = None
    source: Entity = Entity()
    destination: Entity = Entity()
    http: Http | None = None  # only to allow ingress by TCP
    metadata: RuleMetadata | None = None


Rules = Annotated[tuple[Rule, ...], Meta(max_length=MAX_RULES)]


def rule_problems(rules: tuple[Rule, ...], direction: Literal["ingress", "egress"]) -> Iterator[Problem]:
    """What is wrong with the rules at `spec.<direction>`, beyond what each field shows alone."""
    for index, rule in enumerate(rules):
        path = f"spec.{direction}[{index}]"
        yield from _version_problems(rule, path)
        yield from _icmp_problems(rule, path)
        for end, entity in (("source", rule.source), ("destination", rule.destination)):
            yield from _entity_problems(rule, entity, f"{path}.{end}")
        yield from _service_problems(rule, direction, path)
        if rule.http is not None and (
            direction != "ingress" or rule.action != "Allow" or rule.protocol not in (None, Protocol.NAMES["TCP"])
        ):
            yield Problem(f"{path}.http", "", "is allowed only in an ingress rule that allows TCP")


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
            if not port.name and rule.protocol not in PROTOCOLS_WITH_PORTS:
                reason = "a port number needs protocol TCP, UDP or SCTP"
                yield Problem(f"{path}.{field}[{index}]", str(Port.to_json(port)), reason)


def _service_problems(rule: Rule, direction: str, path: str) -> Iterator[Problem]:
    for end, entity in (("source", rule.source), ("destination", rule.destination)):
        if entity.services is None:
            continue
        where = f"{path}.{end}.services"
        if not entity.services.name:
            yield Problem(f"{where}.name", "", "is required")
        if (direction, end) not in (("ingress", "source"), ("egress", "destination")):
            yield Problem(where, "", "is allowed only as source of ingress or destination of egress")
        if entity != Entity(services=entity.services):
            yield Problem(where, "", "excludes every other field beside it")
