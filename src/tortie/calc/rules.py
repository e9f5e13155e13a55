"""Rules as users write them -> rules as this node applies them, and the sets that these look addresses up in.

A peer is said in up to five ways at once (prefixes, selector, its negation, namespaces, service accounts); what
selects by labels becomes one selector, built as a tree, and the set of its members.

Invariants:
* A rule that can match nothing, since its parts contradict each other, is left out; so is what without Kubernetes
  has no meaning, in the safe direction: an Allow, Pass or Log by service or HTTP never matches, a Deny matches
  without regard to them.
* The family of a rule is that of its prefixes or of its protocol, also when the protocol is a number.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from tortie.intent.packet import ICMP_FAMILY, TCP, WITH_PORTS
from tortie.intent.policy import Action, End, Family, Icmp, Network, PortRange, Rule, RuleOrigin, SetId
from tortie.model import rule as written
from tortie.model.names import NAMESPACE_LABEL
from tortie.model.scalars import Port
from tortie.model.selector import Selector, both, either, negated
from tortie.model.selector.ast import (
    All,
    And,
    Comparison,
    Equal,
    Global,
    Has,
    In,
    Membership,
    Node,
    Not,
    Or,
)

SERVICE_ACCOUNT_LABEL: Final = "projectcalico.org/serviceaccount"
NAMESPACE_PREFIX: Final = "pcns."
SERVICE_ACCOUNT_PREFIX: Final = "pcsa."

EVERYBODY: Final = Selector(All())


class NamedPorts(NamedTuple):
    """The ports of a name and protocol at the endpoints of a selector."""

    selector: Selector
    name: str
    protocol: int

    @property
    def id(self) -> SetId:
        text = f"{self.selector.text}\n{self.name}\n{self.protocol}"
        return "p" + hashlib.sha256(text.encode()).hexdigest()[:24]


def set_id(selector: Selector) -> SetId:
    return "s" + selector.id


class Translated(NamedTuple):
    """A rule with the sets that it names."""

    rule: Rule
    selectors: frozenset[Selector]
    named_ports: frozenset[NamedPorts]


def translate(rule: written.Rule, origin: RuleOrigin, namespace: str) -> Translated | None:
    """The rule of a policy of this namespace (empty: of none); None for one that matches nothing here."""
    if _needs_kubernetes(rule) and rule.action != "Deny":
        return None
    families = _families(rule)
    if len(families) > 1 or (rule.protocol is not None and rule.protocol == rule.not_protocol):
        return None
    protocol = None if rule.protocol is None else int(rule.protocol)
    needed = _Needed(namespace, protocol if protocol in WITH_PORTS else TCP)
    return Translated(
        Rule(
            origin=origin,
            action=Action(rule.action),
            family=next(iter(families), None),
            protocol=protocol,
            not_protocol=None if rule.not_protocol is None else int(rule.not_protocol),
            icmp=_icmp(rule.icmp),
            not_icmp=_icmp(rule.not_icmp),
            source=needed.end(rule.source),
            destination=needed.end(rule.destination),
        ),
        frozenset(needed.selectors),
        frozenset(needed.named_ports),
    )


def _needs_kubernetes(rule: written.Rule) -> bool:
    return rule.http is not None or any(end.services is not None for end in (rule.source, rule.destination))


def _families(rule: written.Rule) -> set[Family]:
    """Every family that a part of the rule belongs to."""
    nets: list[Network] = [net for end in (rule.source, rule.destination) for net in (*end.nets, *end.not_nets)]
    families: set[Family] = {net.version for net in nets}
    if rule.ip_version is not None:
        families.add(rule.ip_version)
    if rule.protocol in ICMP_FAMILY:
        families.add(4 if ICMP_FAMILY[rule.protocol] == 4 else 6)
    return families


def _icmp(icmp: written.Icmp | None) -> Icmp | None:
    """A message without a type is any message, which the rule's protocol says already."""
    return None if icmp is None or icmp.type is None else Icmp(icmp.type, icmp.code)


class _Needed:
    """Translates the ends of one rule, and gathers the sets that they name."""

    def __init__(self, namespace: str, protocol: int) -> None:
        self.selectors: set[Selector] = set()
        self.named_ports: set[NamedPorts] = set()
        self._namespace = namespace
        self._protocol = protocol

    def end(self, entity: written.Entity) -> End:
        peers = _peers(entity, self._namespace)
        return End(
            nets=entity.nets,
            not_nets=entity.not_nets,
            sets=() if peers is None else (self._set(peers),),
            not_sets=() if entity.not_selector is None else (self._set(Selector(entity.not_selector.node)),),
            ports=_numbers(entity.ports),
            port_sets=self._names(entity.ports, peers),
            not_ports=_numbers(entity.not_ports),
            not_port_sets=self._names(entity.not_ports, peers),
        )

    def _set(self, selector: Selector) -> SetId:
        self.selectors.add(selector)
        return set_id(selector)

    def _names(self, ports: tuple[Port, ...], peers: Selector | None) -> tuple[SetId, ...]:
        """The members come from the peers that the rule selects, or from all, also for ports that are excluded."""
        found = [NamedPorts(peers or EVERYBODY, port.name, self._protocol) for port in ports if port.name]
        self.named_ports.update(found)
        return tuple(dict.fromkeys(each.id for each in found))


def _numbers(ports: tuple[Port, ...]) -> tuple[PortRange, ...]:
    return tuple(PortRange(port.first, port.last) for port in ports if not port.name)


def _peers(entity: written.Entity, namespace: str) -> Selector | None:
    """The one selector that all of the entity's label matches amount to; None when it has none."""
    accounts = entity.service_accounts
    nodes: list[Node] = []
    if entity.namespace_selector is not None:
        nodes.append(_namespaces(entity.namespace_selector.node))
    elif namespace and (entity.selector is not None or entity.not_selector is not None or accounts is not None):
        nodes.append(Equal(NAMESPACE_LABEL, namespace))
    if entity.selector is not None:
        nodes.append(entity.selector.node)
    if accounts is not None and accounts.names:
        nodes.append(In.of(SERVICE_ACCOUNT_LABEL, accounts.names))
    if accounts is not None and accounts.selector is not None:
        nodes.append(with_prefix(accounts.selector.node, SERVICE_ACCOUNT_PREFIX, Has(SERVICE_ACCOUNT_LABEL)))
    return Selector(both(nodes)) if nodes else None


def _namespaces(node: Node) -> Node:
    if isinstance(node, Global):
        return negated(Has(NAMESPACE_LABEL))
    return with_prefix(node, NAMESPACE_PREFIX, Has(NAMESPACE_LABEL))


def applies_to(
    selector: Selector | None, namespaces: Selector | None, accounts: Selector | None, namespace: str
) -> Selector:
    """Which endpoints a policy applies to: its selectors, all of them, within its own namespace if it has one."""
    nodes: list[Node] = [] if selector is None else [selector.node]
    if namespace:
        nodes.append(Equal(NAMESPACE_LABEL, namespace))
    if namespaces is not None:
        nodes.append(with_prefix(namespaces.node, NAMESPACE_PREFIX, Has(NAMESPACE_LABEL)))
    if accounts is not None:
        nodes.append(with_prefix(accounts.node, SERVICE_ACCOUNT_PREFIX, Has(SERVICE_ACCOUNT_LABEL)))
    return Selector(both(nodes)) if nodes else EVERYBODY


def with_prefix(node: Node, prefix: str, everything: Node) -> Node:
    """The selector over the labels that endpoints inherit under a prefix; `all()` becomes `everything`.

    On the tree: in a text, the literals would be hit as well.
    """
    match node:
        case All():
            return everything
        case Has(label):
            return Has(prefix + label)
        case Comparison(label, value):
            return type(node)(prefix + label, value)
        case Membership(label, values):
            return type(node)(prefix + label, values)
        case Not(operand):
            return negated(with_prefix(operand, prefix, everything))
        case And(operands):
            return both([with_prefix(each, prefix, everything) for each in operands])
        case Or(operands):
            return either([with_prefix(each, prefix, everything) for each in operands])
    raise AssertionError(node)
