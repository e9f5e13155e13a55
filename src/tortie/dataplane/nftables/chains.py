"""Chains of policies and of endpoints.

A policy is a chain for each direction and family, called by every endpoint that it applies to. What an endpoint goes
through is a chain too, named by its contents: endpoints with the same policies share it. Everything ends in a verdict:

    Allow  accept, which ends this base chain; the other end of the packet's way has a base chain of its own
    Deny   a chain that counts, tells and drops
    Pass   on to the chain of what comes after the tier: so a policy that passes exists once for each such rest

No mark is needed to remember what was decided, and none is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from tortie.conventions import LOG_GROUP
from tortie.dataplane.naming import comment_of, digest
from tortie.dataplane.nftables.match import (
    ADDRESS,
    HasNetworks,
    interval_of,
    matches,
    side,
)
from tortie.dataplane.nftables.rows import (
    ChainSpec,
    KernelRule,
    Kind,
    MemberKey,
    RowKey,
    Rows,
    SetSpec,
    map_name,
)
from tortie.intent.folding import Field, Lookup, Part, fold
from tortie.intent.policy import Action, Chain, Direction, Family, Network, ObjectKey, Policy, PortRange, Rule
from tortie.kernel.netfilter import expression as nft
from tortie.kernel.netfilter.datatype import PROTOCOL, SERVICE, VERDICT, DataType, concatenate
from tortie.kernel.netfilter.expression import Expression, Meta, MetaKey
from tortie.kernel.netfilter.rule import COMMENT_BYTES, body
from tortie.kernel.netfilter.statement import Counter, Decide, Limit, Log
from tortie.kernel.netfilter.verdict import ACCEPT, RETURN, Verdict, goto, jump

# Chains that count, tell and drop; see `skeleton`.
DENIED = "drop-policy"
TIER_DEFAULT = "drop-tier-default"
NO_PROFILE = "drop-no-profile-matched"
SILENT = "-silent"  # behind these names: chains that answer nobody


# Of the Log action, a second and rule.
LOGS_PER_S = 10


class Place(NamedTuple):
    """Where a chain is gone through."""

    direction: Direction
    family: Family
    ends_open: bool = False  # what nobody decides goes on to the next place instead of being dropped
    allow: Verdict = ACCEPT  # what becomes of a packet that a policy allows
    silent: bool = False  # nobody may be answered there

    def drop(self, chain: str) -> Verdict:
        """The end of a packet that is denied."""
        return goto(chain + SILENT if self.silent else chain)


PolicyChainOf = Callable[[ObjectKey, Place, str], tuple[str, Rows]]
"""`policy_chain` of a policy by its key, at a place and before the chain of what comes after its tier."""


class Compiled(NamedTuple):
    """The rules of a chain, and every row that they need."""

    rules: tuple[KernelRule, ...]
    rows: Rows


def policy_chain(policy: Policy, place: Place, rest: str, has_networks: HasNetworks) -> tuple[str, Rows]:
    """The chain of a policy, and its name. `rest` is the chain of what comes after its tier, empty for a profile."""
    rules = policy.rules(place.direction)
    passes = any(rule.action is Action.PASS for rule in rules) and bool(rest) and not policy.staged
    name = chain_name(policy.key, place, rest if passes else "")
    rows: Rows = {}
    compiled: list[KernelRule] = []
    for step in fold(rules):
        found = _compile(step, policy, place, rest, has_networks)
        compiled += found.rules
        rows |= found.rows
    rows[RowKey(Kind.CHAIN, name)] = ChainSpec(tuple(compiled))
    return name, rows


def endpoint_chain(
    chain: Chain, place: Place, guard: tuple[KernelRule, ...], policy_chain_of: PolicyChainOf
) -> tuple[str, Rows]:
    """The chain that an endpoint's packets go through, behind the rules of `guard`; its name, and all that it needs."""
    rest, rows = _profiles(chain, place, policy_chain_of)
    for number in reversed(range(len(chain.tiers))):
        tier = chain.tiers[number]
        rules: list[KernelRule] = []
        for key in tier.policies:
            name, more = policy_chain_of(key, place, rest)
            rules.append(_call(jump(name)))
            rows |= more
        end = place.drop(TIER_DEFAULT) if tier.default is Action.DENY else goto(rest)
        rules.append(_call(end, f"end of tier {tier.name}"))
        rest = _named(rules, place, rows)
    head = [*guard, _call(goto(rest))]
    return _named(head, place, rows), rows


def _profiles(chain: Chain, place: Place, policy_chain_of: PolicyChainOf) -> tuple[str, Rows]:
    rows: Rows = {}
    rules: list[KernelRule] = []
    for key in chain.profiles:
        name, more = policy_chain_of(key, place, "")
        rules.append(_call(jump(name)))
        rows |= more
    rules.append(_call(ACCEPT) if place.ends_open else _call(place.drop(NO_PROFILE), "no profile matched"))
    return _named(rules, place, rows), rows


def _named(rules: list[KernelRule], place: Place, rows: Rows) -> str:
    """Puts the chain among the rows, by a name that says where it is gone through and stands for its contents."""
    name = f"{'to' if place.direction is Direction.INGRESS else 'from'}{place.family}-{digest(rules)}"
    rows[RowKey(Kind.CHAIN, name)] = ChainSpec(tuple(rules))
    return name


def chain_name(key: ObjectKey, place: Place, rest: str) -> str:
    """Readable as long as the kernel's limit lets it be; the last letters keep names apart that were cut."""
    name = _readable(key, place.direction, place.family)
    if rest:
        name += f"-before-{digest(rest)[:8]}"
    if place.allow != ACCEPT:
        name += f"-{place.allow.chain}"
    if place.silent:
        name += SILENT
    if len(name) > _NAME_LENGTH or not name.isascii():
        name = f"{_cut(name)}-{digest(key, place, rest)}"
    return name


def chain_prefix(key: ObjectKey, direction: Direction, family: Family) -> str:
    """What the names of a policy's chains begin with; those of others may too."""
    return _cut(_readable(key, direction, family))


def _readable(key: ObjectKey, direction: Direction, family: Family) -> str:
    return "-".join([str(direction), str(family), *(part for part in key if part)])


def _cut(name: str) -> str:
    return name.encode("ascii", "replace").decode()[: _NAME_LENGTH - 21]


_NAME_LENGTH = 120


def _call(verdict: Verdict, comment: str = "") -> KernelRule:
    return KernelRule(body([Decide(verdict)]), comment)


# --- Rules


def _compile(step: Rule | Lookup, policy: Policy, place: Place, rest: str, has_networks: HasNetworks) -> Compiled:
    if isinstance(step, Lookup):
        return _lookup(step, policy, place, rest, has_networks)
    found = matches(step, place.family, has_networks)
    tail = tuple(_statements(step, policy, place, rest))
    comment = comment_of(step, COMMENT_BYTES)
    return Compiled(tuple(KernelRule(body((*one, *tail)), comment) for one in found.alternatives), found.sets)


def _statements(rule: Rule, policy: Policy, place: Place, rest: str) -> Iterator[Expression]:
    if rule.action is Action.LOG:
        yield from (Counter(), Limit(LOGS_PER_S), Log(LOG_GROUP))
        return
    yield from (Counter(), Decide(_verdict(rule, policy, place, rest)))


def _verdict(rule: Rule, policy: Policy, place: Place, rest: str) -> Verdict:
    if policy.staged:
        return RETURN  # it would have decided here: the next policy is asked
    if rule.action is Action.ALLOW:
        return place.allow
    if rule.action is Action.DENY:
        return place.drop(DENIED)
    return goto(rest) if rest else RETURN


def _lookup(step: Lookup, policy: Policy, place: Place, rest: str, has_networks: HasNetworks) -> Compiled:
    """A verdict map: key to verdict, asked once. What counts is its entries, each the packets that it decided."""
    common = matches(step.common, place.family, has_networks)
    members = {key: _verdict(rule, policy, place, rest) for key, rule in keys_of(step, place.family).items()}
    if not members or not common.alternatives:
        return Compiled((), {})
    spec = map_spec(step, place.family)
    contents = digest(spec, sorted((key[0], key[1] or b"", str(verdict)) for key, verdict in members.items()))
    name = map_name(digest(policy.key, place, step.fields, step.common), contents)
    rows: Rows = {**common.sets, RowKey(Kind.SET, name): spec}
    for (first_key, last_key), verdict in members.items():
        rows[RowKey(Kind.ENTRY, MemberKey(name, first_key, last_key))] = verdict
    loads = tuple(_loads(step.fields, place.family))
    ask = nft.Lookup(name, into=nft.VERDICT_REGISTER)
    comment = comment_of_many(step)
    return Compiled(tuple(KernelRule(body((*one, *loads, ask)), comment) for one in common.alternatives), rows)


def map_spec(step: Lookup, family: Family) -> SetSpec:
    return SetSpec(tuple(_type(field, family) for field in step.fields), (VERDICT,), not step.exact)


def keys_of(step: Lookup, family: Family) -> dict[tuple[bytes, bytes | None], Rule]:
    """The keys of the map for a family, each the first and the last value of an interval, and whose they are."""
    members: dict[tuple[bytes, bytes | None], Rule] = {}
    exact = step.exact
    for entry in step.entries:
        if any(_version(part) not in (None, family) for part in entry.key):
            continue
        first, last = zip(*(_bounds(part) for part in entry.key), strict=True)
        members.setdefault((_joined(first), None if exact else _joined(last)), entry.rule)
    return members


def comment_of_many(step: Lookup) -> str:
    """Of the rule that asks the map: the first and the last of those that it stands for."""
    last = f" to {step.entries[-1].rule.origin.number}"
    return comment_of(step.entries[0].rule, COMMENT_BYTES - len(last)) + last


def _loads(fields: Iterable[Field], family: Family) -> Iterator[Expression]:
    """The parts of the key side by side, each from a register of its own on."""
    register = 0
    source, destination = side(family, source=True), side(family, source=False)
    for field in fields:
        match field:
            case Field.PROTOCOL:
                yield Meta(MetaKey.L4PROTO, register)
            case Field.SOURCE:
                yield source.address._replace(register=register)
            case Field.DESTINATION:
                yield destination.address._replace(register=register)
            case Field.SOURCE_PORT:
                yield source.port._replace(register=register)
            case Field.DESTINATION_PORT:
                yield destination.port._replace(register=register)
        register += (_type(field, family).length + 3) // 4


def _type(field: Field, family: Family) -> DataType:
    if field is Field.PROTOCOL:
        return PROTOCOL
    return ADDRESS[family] if field in (Field.SOURCE, Field.DESTINATION) else SERVICE


def _version(part: Part) -> int | None:
    return part.version if isinstance(part, Network) else None


def _bounds(part: Part) -> tuple[bytes, bytes]:
    if isinstance(part, Network):
        return interval_of(part)
    if isinstance(part, PortRange):
        return part.first.to_bytes(2, "big"), part.last.to_bytes(2, "big")
    return bytes([part]), bytes([part])


def _joined(parts: tuple[bytes, ...]) -> bytes:
    return parts[0] if len(parts) == 1 else concatenate(*parts)
