"""What `tortie drops` and `tortie logs` say of what the agent tells."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.cli.conftest import FakeAgent, Tortie

DROP: dict[str, Any] = {
    "number": 7,
    "time_s": 1767323045.25,
    "kind": "drop",
    "reason": "policy",
    "source": "10.65.0.1",
    "source_port": 49152,
    "destination": "10.65.0.2",
    "destination_port": 5432,
    "protocol": 6,
    "sender": "WorkloadEndpoint(default/web)",
    "receiver": "WorkloadEndpoint(default/db)",
    "endpoint": "WorkloadEndpoint(default/db)",
    "tier": "default",
    "policy": "GlobalNetworkPolicy(default.db)",
    "rule": "GlobalNetworkPolicy(default.db) ingress rule 0",
}


def page(*events: dict[str, Any]) -> dict[str, Any]:
    return {"events": list(events), "missed": 0, "number": 7, "counter": "a"}


def test_a_drop_in_one_line(tortie: Tortie, agent: FakeAgent) -> None:
    agent.answer("/v1/packets?kind=drop", page(DROP))
    assert tortie("drops") == (
        0,
        "2026-01-02T03:04:05.250Z TCP 10.65.0.1:49152 WorkloadEndpoint(default/web) -> "
        "10.65.0.2:5432 WorkloadEndpoint(default/db): GlobalNetworkPolicy(default.db) ingress rule 0, "
        "at WorkloadEndpoint(default/db)\n",
        "",
    )


def test_what_is_not_known_is_left_out(tortie: Tortie, agent: FakeAgent) -> None:
    short = {"time_s": 0, "kind": "drop", "reason": "of a newer agent", "source": "fd00::1", "protocol": 58}
    icmp = {**short, "icmp_type": 134, "reason": "router-advertisement", "untold": 3}
    ending = {**short, "protocol": 89, "reason": "tier-default", "tier": "web"}
    agent.answer("/v1/packets?kind=drop", page(short, icmp, ending, {**short, "source_port": 1}))
    assert [line.partition(" ")[2] for line in tortie("drops").stdout.splitlines()] == [
        "ICMPv6 fd00::1 -> ?: of a newer agent",
        "ICMPv6/134/0 fd00::1 -> ?: workloads may not send router advertisements (after 3 like it that were not told)",
        "89 fd00::1 -> ?: the end of tier web",
        "ICMPv6 [fd00::1]:1 -> ?: of a newer agent",
    ]


def test_what_a_rule_logs(tortie: Tortie, agent: FakeAgent) -> None:
    rules = ["GlobalNetworkPolicy(default.db) ingress rule 0", "Profile(open) egress rule 1"]
    agent.answer("/v1/packets?kind=log", page({**DROP, "kind": "log", "logged_by": rules}))
    assert f": logged by {', '.join(rules)}\n" in tortie("logs").stdout


def test_for_programs(tortie: Tortie, agent: FakeAgent) -> None:
    agent.answer("/v1/packets?kind=drop", page(DROP, DROP))
    assert [json.loads(line) for line in tortie("drops", "-o", "json").stdout.splitlines()] == [DROP, DROP]


def test_nothing_was_dropped(tortie: Tortie, agent: FakeAgent) -> None:
    agent.answer("/v1/packets?kind=drop", page())
    assert tortie("drops") == (0, "", "")
