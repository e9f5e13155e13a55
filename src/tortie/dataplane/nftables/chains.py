"""Chains of policies: the rules of one, for each place where packets are asked.

    Allow  accept, which ends this base chain; the other end of the packet's way has a base chain of its own
    Deny   a chain that counts, tells and drops
    Pass   back to the endpoint's chain, which calls the next tier's

So no mark is needed to remember what was decided. But a chain that was called returns to its caller alone, so the rules
of a policy that passes stand in the chain of the tier itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tortie.conventions import LOG_GROUP
from tortie.dataplane.naming import comment_of, digest
from tortie.dataplane.nftables.drops import SILENT, drop_chain
from tortie.dataplane.nftables.match import (
    ADDRESS,
    PrefixesOf,
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
from tortie.intent.candidates import EVERYTHING, Reach, reach
from tortie.intent.folding import Field, Lookup, Part, fold
from tortie.intent.policy import (
    Action,
    Direction,
    Family,
    Network,
    ObjectKey,
    Policy,
    PortRange,
    Rule,
)
from tortie.intent.verdict import Reason
from tortie.kernel.netfilter import expression as nft
from tortie.kernel.netfilter.datatype import PROTOCOL, SERVICE, VERDICT, DataType, concatenate
from tortie.kernel.netfilter.expression import Expression, Meta, MetaKey
from tortie.kernel.netfilter.rule import COMMENT_BYTES, body
from tortie.kernel.netfilter.statement import Counter, Decide, Limit, Log
from tortie.kernel.netfilter.verdict import ACCEPT, RETURN, Verdict, goto, jump

# Of the Log action, a second and rule.
LOGS_PER_S = 10


class Place(NamedTuple):
    """Where a chain is gone through."""

    direction: Direction
    family: Family
    ends_open: bool = False  # what nobody decides goes on to the next place instead of being dropped
    allow: Verdict = ACCEPT  # what becomes of a packet that a policy allows
    silent: bool = False  # nobody may be answered there

    def drop(self, reason: Reason) -> Verdict:
        """The end of a packet that is denied."""
        return goto(drop_chain(reason) + SILENT if self.silent else drop_chain(reason))


class Compiled(NamedTuple):
    """Rules, and every row that they need."""

    rules: tuple[KernelRule, ...]
    rows: Rows
    chain: str = ""  # that the rules call, if that is all they do
    reach: Reach = EVERYTHING  # of the chain


def ask(policy: Policy, place: Place, prefixes_of: PrefixesOf) -> Compiled:
    """What asks a policy or profile, for the chain of its tier or endpoint: a call of its chain, or its own rules."""
    rules: list[KernelRule] = []
    rows: Rows = {}
    for step in fold(policy.rules(place.direction)):
        found = _compile(step, policy, place, prefixes_of)
        rules += found.rules
        rows |= found.rows
    if passes(policy, place.direction):
        return Compiled(tuple(rules), rows)
    name = chain_name(policy.key, place)
    rows[RowKey(Kind.CHAIN, name)] = ChainSpec(tuple(rules))
    return Compiled((call(jump(name)),), rows, name, reach(policy, place.direction, place.family))


def passes(policy: Policy, direction: Direction) -> bool:
    """It may send packets on to the next tier. Of a profile none comes after it."""
    is_in_tier = policy.key.kind != "Profile" and not policy.staged
    return is_in_tier and any(rule.action is Action.PASS for rule in policy.rules(direction))


def chain_name(key: ObjectKey, place: Place) -> str:
    """Readable as long as the kernel's limit lets it be; the last letters keep names apart that were cut."""
    name = _readable(key, place.direction, place.family)
    if place.allow != ACCEPT:
        name += f"-{place.allow.chain}"
    if place.silent:
        name += SILENT
    if len(name) > _NAME_LENGTH or not name.isascii():
        name = f"{_cut(name)}-{digest(key, place)}"
    return name


def chain_prefix(key: ObjectKey, direction: Direction, family: Family) -> str:
    """What the names of a policy's chains begin with; those of others may too."""
    return _cut(_readable(key, direction, family))


def _readable(key: ObjectKey, direction: Direction, family: Family) -> str:
    return "-".join([str(direction), str(family), *(part for part in key if part)])


def _cut(name: str) -> str:
    return name.encode("ascii", "replace").decode()[: _NAME_LENGTH - 21]


_NAME_LENGTH = 120


def call(verdict: Verdict, comment: str = "") -> KernelRule:
    return KernelRule(body([Decide(verdict)]), comment)


# --- Rules


def _compile(step: Rule | Lookup, policy: Policy, place: Place, prefixes_of: PrefixesOf) -> Compiled:
    if isinstance(step, Lookup):
        return _lookup(step, policy, place, prefixes_of)
    found = matches(step, place.family, prefixes_of)
    tail = tuple(_statements(step, policy, place))
    comment = comment_of(step, COMMENT_BYTES)
    return Compiled(tuple(KernelRule(body((*one, *tail)), comment) for one in found.alternatives), found.sets)


def _statements(rule: Rule, policy: Policy, place: Place) -> Iterator[Expression]:
    if rule.action is Action.LOG:
        yield from (Counter(), Limit(LOGS_PER_S), Log(LOG_GROUP))
        return
    yield from (Counter(), Decide(_verdict(rule, policy, place)))


def _verdict(rule: Rule, policy: Policy, place: Place) -> Verdict:
    if policy.staged:
        return RETURN  # it would have decided here: the next policy is asked
    if rule.action is Action.ALLOW:
        return place.allow
    if rule.action is Action.DENY:
        return place.drop(Reason.POLICY)
    return RETURN  # from the chain of the tier


def _lookup(step: Lookup, policy: Policy, place: Place, prefixes_of: PrefixesOf) -> Compiled:
    """A verdict map: key to verdict, asked once. What counts is its entries, each the packets that it decided."""
    common = matches(step.common, place.family, prefixes_of)
    members = {key: _verdict(rule, policy, place) for key, rule in keys_of(step, place.family).items()}
    if not members or not common.alternatives:
        return Compiled((), {})
    spec = map_spec(step, place.family)
    contents = digest(spec, sorted((key[0], key[1] or b"", str(verdict)) for key, verdict in members.items()))
    # As the chain of the policy: places that share it say the same of it.
    name = map_name(digest(chain_name(policy.key, place), step.fields, step.common), contents)
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
