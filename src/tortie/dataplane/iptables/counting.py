"""What rules of policy have counted. A rule is known by the digest at the head of its comment, as in `table`."""

from __future__ import annotations

from collections.abc import Iterable

from tortie.dataplane.iptables.chains import policy_rows
from tortie.dataplane.iptables.rows import COMMENT_BYTES, DIGEST_CHARACTERS, ChainKey, ChainSpec
from tortie.dataplane.naming import comment_of
from tortie.intent.policy import Direction, Family, Policy, RuleOrigin
from tortie.intent.report import Count
from tortie.kernel.netfilter.xtables import Xtables


def count(xtables: Xtables, policies: Iterable[tuple[Policy, str]]) -> dict[RuleOrigin, Count]:
    """Of each rule that stands in the kernel; a policy comes with a table that it is in. Raises KernelError."""
    owners: dict[tuple[ChainKey, str], RuleOrigin] = {}
    chains: dict[tuple[Family, str], list[str]] = {}
    for policy, table in policies:
        origins = {comment_of(rule, COMMENT_BYTES): rule.origin for way in Direction for rule in policy.rules(way)}
        for row, spec in policy_rows(policy, table).items():
            if isinstance(row.key, ChainKey) and isinstance(spec, ChainSpec):
                chains.setdefault((row.key.family, table), []).append(row.key.name)
                owners |= {(row.key, rule.digest): origins[rule.comment] for rule in spec.rules}
    found: dict[RuleOrigin, Count] = {}
    for (family, table), names in chains.items():
        for each in xtables.counted(family, table, names):
            owner = owners.get((ChainKey(family, table, each.chain), each.comment[:DIGEST_CHARACTERS]))
            if owner is not None:
                found[owner] = found.get(owner, Count(0, 0)) + Count(*each.figures)
    return found
