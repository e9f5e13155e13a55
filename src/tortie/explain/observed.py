"""What a node's agent says of its kernel, beside what the datastore says: how often rules decided there, and facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tortie.intent.policy import RuleOrigin
from tortie.intent.report import Count

__all__ = ["Count", "Observed", "RuleKey", "rule_key"]

RuleKey = tuple[str, str, int]  # policy, direction, number


class Observed(NamedTuple):
    """The facts as values, and as lines for people."""

    node: str
    counts: Mapping[RuleKey, Count]
    lines: tuple[str, ...]
    facts: Mapping[str, Any]

    def count_of(self, rule: RuleOrigin | None) -> Count | None:
        """None where the agent does not know, and of what is no rule."""
        return None if rule is None else self.counts.get(rule_key(rule))


def rule_key(rule: RuleOrigin) -> RuleKey:
    return str(rule.owner), str(rule.direction), rule.number
