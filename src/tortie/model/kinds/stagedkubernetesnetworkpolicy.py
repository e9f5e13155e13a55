"""StagedKubernetesNetworkPolicy: a network policy of Kubernetes on trial, which decides nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta
from msgspec.structs import replace

from tortie.errors import Problem
from tortie.model.codec import stand_in
from tortie.model.kind import NAME, Kind, column
from tortie.model.names import label_problems
from tortie.model.policy import PolicyStatus, PolicyType, StagedAction, deletion_problems, repeats
from tortie.model.resource import Resource
from tortie.model.schema import PORT_NAME, PortNumber, Prefix, Spec

_PORT_NAME = re.compile(PORT_NAME)


def _read_port(value: object) -> int | str:
    if type(value) is int and 1 <= value <= 65535:
        return value
    if isinstance(value, str) and _PORT_NAME.fullmatch(value):
        return value
    raise ValueError("must be a port from 1 to 65535, or a port's name: at most 15 lower-case letters, digits and -")


if TYPE_CHECKING:
    PortOrName = int | str
else:
    PortOrName = stand_in("PortOrName", int, str, read=_read_port, write=lambda port: port)

MAX_TYPES = 2


class LabelRequirement(Spec, frozen=True, kw_only=True):
    """What one label must be."""

    key: str
    """The label's key."""

    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """In and NotIn compare with values, and NotIn is also true without the label; the others take no values."""

    values: tuple[str, ...] = ()
    """What In and NotIn compare with; at least one."""


class LabelSelector(Spec, frozen=True, kw_only=True):
    """Objects by their labels, as Kubernetes says it; all of it must hold, and nothing set means all objects."""

    match_labels: dict[str, str] = {}
    """Labels that the object has, with these values."""

    match_expressions: tuple[LabelRequirement, ...] = ()
    """What other labels must be."""


class PolicyPort(Spec, frozen=True, kw_only=True):
    """Ports of one protocol."""

    protocol: Literal["TCP", "UDP", "SCTP"] | None = None
    """TCP, UDP or SCTP. Default: TCP."""

    port: PortOrName | None = None
    """A number from 1 to 65535, or the name of a pod's port. Default: all ports."""

    end_port: PortNumber | None = None
    """The last of a range of ports that begins with port, which must be a number and no higher. Default: port alone."""


class IPBlock(Spec, frozen=True, kw_only=True):
    """A prefix with gaps."""

    cidr: Prefix
    """The prefix, with its length, such as 10.65.0.0/16."""

    except_: tuple[Prefix, ...] = ()
    """Smaller prefixes within it that are left out."""


class Peer(Spec, frozen=True, kw_only=True):
    """The other end: pods, or a prefix."""

    pod_selector: LabelSelector | None = None
    """Pods by their labels: of the namespaces that namespaceSelector means, else of the policy's own."""

    namespace_selector: LabelSelector | None = None
    """Namespaces by their labels. Without podSelector: all of their pods."""

    ip_block: IPBlock | None = None
    """Addresses by their prefix. Excludes the selectors."""


class IngressRule(Spec, frozen=True, kw_only=True):
    """Packets to the selected pods that are allowed: both fields must match."""

    ports: tuple[PolicyPort, ...] = ()
    """Any of these ports of the selected pods. Default: all."""

    from_: tuple[Peer, ...] = ()
    """Any of these sources. Default: all."""


class EgressRule(Spec, frozen=True, kw_only=True):
    """Packets from the selected pods that are allowed: both fields must match."""

    ports: tuple[PolicyPort, ...] = ()
    """Any of these ports of the destinations. Default: all."""

    to: tuple[Peer, ...] = ()
    """Any of these destinations. Default: all."""


class StagedKubernetesNetworkPolicySpec(Spec, frozen=True, kw_only=True):
    """A NetworkPolicy of `networking.k8s.io/v1` that is not enforced: what it would change can be watched first.

    Source: api/pkg/apis/projectcalico/v3/stagedkubernetesnetworkpolicy.go
    """

    staged_action: StagedAction = "Set"
    """What is tried. Set: the policy of this name as it stands here. Delete: its removal; every other field must be
    absent. Learn and Ignore: nothing. Default: Set."""

    pod_selector: LabelSelector | None = None
    """The pods of the namespace that the policy applies to, by their labels. Never absent in the store. Default:
    all."""

    ingress: tuple[IngressRule, ...] = ()
    """What may come to the selected pods. Default: nothing."""

    egress: tuple[EgressRule, ...] = ()
    """What may leave the selected pods. Default: nothing."""

    policy_types: Annotated[tuple[PolicyType, ...], Meta(max_length=MAX_TYPES)] = ()
    """Which directions the policy applies to. Default: Ingress, and Egress if there are egress rules."""


def fill_in(policy: Resource[StagedKubernetesNetworkPolicySpec]) -> Resource[StagedKubernetesNetworkPolicySpec]:
    if policy.spec.pod_selector is not None:
        return policy
    return replace(policy, spec=replace(policy.spec, pod_selector=LabelSelector()))


def rules(policy: Resource[StagedKubernetesNetworkPolicySpec]) -> Iterator[Problem]:
    spec = policy.spec
    if spec.staged_action == "Delete":
        yield from deletion_problems(spec, ("staged_action",))
    yield from repeats(spec.policy_types, "spec.policyTypes")


def write_rules(policy: Resource[StagedKubernetesNetworkPolicySpec]) -> Iterator[Problem]:
    """What Kubernetes would refuse of the policy, once it is more than a trial."""
    spec = policy.spec
    yield from _selector_rules(spec.pod_selector, "spec.podSelector")
    for index, ingress in enumerate(spec.ingress):
        yield from _rule_rules(ingress.ports, ingress.from_, f"spec.ingress[{index}]", "from")
    for index, egress in enumerate(spec.egress):
        yield from _rule_rules(egress.ports, egress.to, f"spec.egress[{index}]", "to")


def _rule_rules(ports: tuple[PolicyPort, ...], peers: tuple[Peer, ...], path: str, end: str) -> Iterator[Problem]:
    for index, port in enumerate(ports):
        if port.end_port is None:
            continue
        where = f"{path}.ports[{index}].endPort"
        if not isinstance(port.port, int):
            yield Problem(where, str(port.end_port), "needs port, as a number")
        elif port.end_port < port.port:
            yield Problem(where, str(port.end_port), "must not be lower than port")
    for index, peer in enumerate(peers):
        yield from _peer_rules(peer, f"{path}.{end}[{index}]")


def _peer_rules(peer: Peer, path: str) -> Iterator[Problem]:
    selectors = (("podSelector", peer.pod_selector), ("namespaceSelector", peer.namespace_selector))
    present = [name for name, selector in selectors if selector is not None]
    for name, selector in selectors:
        yield from _selector_rules(selector, f"{path}.{name}")
    if peer.ip_block is None:
        if not present:
            yield Problem(path, "", "needs podSelector, namespaceSelector or ipBlock")
        return
    for name in present:
        yield Problem(f"{path}.{name}", "", "must be absent beside ipBlock")
    cidr = peer.ip_block.cidr
    for index, gap in enumerate(peer.ip_block.except_):
        if gap.version != cidr.version or gap.prefixlen <= cidr.prefixlen or not gap.overlaps(cidr):
            yield Problem(f"{path}.ipBlock.except[{index}]", str(gap), f"must be a smaller prefix within {cidr}")


def _selector_rules(selector: LabelSelector | None, path: str) -> Iterator[Problem]:
    if selector is None:
        return
    for problem in label_problems(selector.match_labels):
        yield problem._replace(path=problem.path.replace("metadata.labels", f"{path}.matchLabels", 1))
    for index, requirement in enumerate(selector.match_expressions):
        where = f"{path}.matchExpressions[{index}]"
        compares = requirement.operator in ("In", "NotIn")
        if compares and not requirement.values:
            yield Problem(f"{where}.values", "", f"must have at least one value for operator {requirement.operator}")
        if not compares and requirement.values:
            reason = f"must be absent beside operator {requirement.operator}"
            yield Problem(f"{where}.values", ", ".join(requirement.values), reason)
        for value in requirement.values or ("",):
            for problem in label_problems({requirement.key: value}):
                place = "key" if problem.value == requirement.key else "values"
                yield problem._replace(path=f"{where}.{place}")


def _selector_text(selector: LabelSelector) -> str:
    """The selector as Kubernetes writes it in one line."""
    words = [f"{key}={value}" for key, value in sorted(selector.match_labels.items())]
    for requirement in selector.match_expressions:
        key, values = requirement.key, ",".join(requirement.values)
        words.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }[requirement.operator]
        )
    return ",".join(words) or "<none>"


def _pods(policy: Resource[StagedKubernetesNetworkPolicySpec]) -> str:
    return _selector_text(policy.spec.pod_selector or LabelSelector())


KIND = Kind(
    name="StagedKubernetesNetworkPolicy",
    plural="stagedkubernetesnetworkpolicies",
    aliases=(
        "stagedkubernetesnetworkpolicy",
        "stagedkubernetespolicy",
        "stagedkubernetespolicies",
        "sknp",
        "skpol",
        "skpols",
    ),
    spec=StagedKubernetesNetworkPolicySpec,
    status=PolicyStatus,
    columns=(NAME,),
    wide=(NAME, column("PODSELECTOR", _pods)),
    namespaced=True,
    on_read=fill_in,
    on_write=fill_in,
    rules=rules,
    write_rules=write_rules,
)
