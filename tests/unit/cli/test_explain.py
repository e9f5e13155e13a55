"""`tortie explain`, on a store."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.unit.cli.conftest import FakeAgent, Tortie
from tests.unit.explain.scene import OBJECTS


@pytest.fixture(autouse=True)
def objects(tortie: Tortie) -> None:
    tortie.write("objects.yaml", "---\n".join(yaml.safe_dump(each.document) for each in OBJECTS))
    said = tortie("apply", "-f", "objects.yaml")
    assert said.code == 0, said.stderr


def test_the_answer_comes_first(tortie: Tortie) -> None:
    said = tortie("explain", "web", "db", "tcp/pg")
    assert (said.code, said.stdout.splitlines()[0]) == (
        0,
        "web -> db tcp/pg: allowed: everybody who has a say allows it",
    )
    assert said.stderr == ""
    assert tortie("explain", "probe", "db", "tcp/pg").stdout.startswith("probe -> db tcp/pg: DENIED: the end of tier")


def test_a_ping_is_meant_by_nothing(tortie: Tortie) -> None:
    assert tortie("explain", "web", "probe").stdout.startswith("web -> probe icmp/8/0: allowed")
    assert tortie("explain", "web", "a", "-6").stdout.startswith("web -> a icmpv6/128/0: DENIED")


def test_for_programs(tortie: Tortie) -> None:
    said = json.loads(tortie("explain", "web", "db", "tcp/80", "-o", "json").stdout)
    assert (said["allowed"], said["reason"], len(said["nodes"])) == (False, "tier-default", 2)


def test_a_broken_object_is_told_of(tortie: Tortie) -> None:
    (policy,) = (each for each in OBJECTS if each.key.kind == "GlobalNetworkPolicy")
    document = {**policy.document, "spec": {**policy.document["spec"], "ingress": [{"action": "Perhaps"}]}}
    tortie.put(policy.key, document)
    said = tortie("explain", "web", "db", "tcp/pg")
    assert "Warning: GlobalNetworkPolicy(default.db) breaks the rules of its kind: " in said.stderr
    assert "DENIED: GlobalNetworkPolicy(default.db) as a whole" in said.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["wbe", "db"], "there is no endpoint, workload or node called 'wbe'"),
        (["web", "db", "tcp"], "'tcp': TCP needs one port, such as tcp/443"),
        (["probe", "fd00:65::1"], "there is no family of addresses for both: probe has 10.65.0.3, "),
        (["192.0.2.1", "192.0.2.2"], "neither 192.0.2.1 nor 192.0.2.2 is of this cluster"),
    ],
)
def test_mistakes(tortie: Tortie, words: list[str], sentence: str) -> None:
    said = tortie("explain", *words)
    assert (said.code, said.stdout) == (2, "")
    assert sentence in said.stderr


DB = "GlobalNetworkPolicy(default.db)"
OPEN = "Profile(open)"


def counters(**counts: list[tuple[str, int, int, int]]) -> dict[str, Any]:
    policies = {
        name: [
            {"direction": direction, "rule": n, "packets": packets, "bytes": octets}
            for direction, n, packets, octets in rules
        ]
        for name, rules in ((DB, counts.get("db", [])), (OPEN, counts.get("open", [])))
    }
    return {"node": "b", "backend": "nftables", "dropped": {}, "policies": {k: v for k, v in policies.items() if v}}


COUNTED = counters(db=[("ingress", 0, 3, 180)], open=[("ingress", 0, 0, 0), ("egress", 0, 12, 900)])
ASKED = f"/v1/counters?policy={quote(DB)}&policy={quote(OPEN)}"
MEANING = (
    "\nPACKETS and BYTES: what each rule decided on b since it was written there, for all its endpoints together. "
    "A connection counts with its first packet, what is not tracked with each.\n"
)


def test_the_policies_of_an_endpoint(tortie: Tortie) -> None:
    """Of another host: nobody is asked."""
    said = tortie("endpoint", "policies", "db")
    assert (said.code, said.stderr) == (0, "")
    lines = [line.split() for line in said.stdout.splitlines()]
    assert lines[0] == ["CHAIN", "PLACE", "TIER", "POLICY", "THEN", "RULE", "SAYS", "PACKETS", "BYTES"]
    assert lines[1][:7] == ["ingress", "1", "default", DB, "Deny", "ingress", "0"]
    assert lines[2:] == [
        ["ingress", "2", "-", OPEN, "ingress", "0", "Allow", "-", "-"],
        ["egress", "1", "-", OPEN, "egress", "0", "Allow", "-", "-"],
    ]
    (first, *_) = json.loads(tortie("endpoint", "policies", "db", "-o", "json").stdout)
    assert (first["policy"], first["tierDefault"]) == ("default.db", "Deny")
    assert first["rules"][0]["packets"] is None


def test_what_rules_counted_on_this_host(tortie: Tortie, agent: FakeAgent) -> None:
    tortie.environment["TORTIE_NODE"] = "b"
    agent.answer(ASKED, COUNTED)
    said = tortie("endpoint", "policies", "db")
    assert [line.split()[-2:] for line in said.stdout.splitlines()[1:4]] == [["3", "180"], ["0", "0"], ["12", "900"]]
    assert said.stdout.endswith(MEANING)
    listed = json.loads(tortie("endpoint", "policies", "db", "-o", "json").stdout)
    assert [(rule["direction"], rule["packets"], rule["bytes"]) for each in listed for rule in each["rules"]] == [
        ("ingress", 3, 180),
        ("ingress", 0, 0),
        ("egress", 12, 900),
    ]


def test_without_an_agent_the_rest_is_shown(tortie: Tortie) -> None:
    tortie.environment["TORTIE_NODE"] = "b"
    said = tortie("endpoint", "policies", "db")
    assert said.code == 0
    assert said.stderr.startswith("without counters: no agent answers on ")
    assert [line.split()[-2:] for line in said.stdout.splitlines()[1:]] == [["-", "-"]] * 3


def test_the_endpoints_of_a_policy(tortie: Tortie, agent: FakeAgent) -> None:
    assert [line.split()[:5] for line in tortie("policy", "endpoints", "default.db").stdout.splitlines()][:2] == [
        ["ENDPOINT", "NODE", "CHAIN", "TIER", "PLACE"],
        ["default/b-tortie-db-eth0", "b", "ingress", "default", "1"],
    ]
    said = tortie("policy", "endpoints", "projectcalico-default-allow")
    assert said.stdout == "Profile(projectcalico-default-allow) applies to nobody\n"
    tortie.environment["TORTIE_NODE"] = "b"
    agent.answer(f"/v1/counters?policy={quote(DB)}", COUNTED)
    lines = tortie("policy", "endpoints", "default.db").stdout.splitlines()
    assert lines[3].split() == ["RULE", "SAYS", "PACKETS", "BYTES"]
    assert (lines[4].split()[:2], lines[4].split()[-2:]) == (["ingress", "0"], ["3", "180"])
    assert lines[5:] == MEANING.splitlines()


FACTS: dict[str, Any] = {
    "node": "b",
    "revision": 7,
    "enforced_revision": 6,
    "ends": [
        {
            "endpoint": "default/b-tortie-db-eth0",
            "address": "10.65.0.2",
            "interface": "calidb",
            "exists": True,
            "up": False,
            "state": "down",
            "reason": "interface calidb is waiting for carrier",
            "lacking": "chain x: not written yet",
        }
    ],
    "hops": [
        {
            "to": "10.65.0.1",
            "routed": True,
            "local": False,
            "interface": "eth0",
            "gateway": "172.18.203.125",
            "by": "BIRD",
            "neighbour": "",
            "neighbour_state": "failed",
        },
        {
            "to": "10.65.0.2",
            "routed": True,
            "local": False,
            "interface": "calidb",
            "gateway": "",
            "by": "tortie",
            "neighbour": "02:00:00:00:00:02",
            "neighbour_state": "permanent",
        },
    ],
    "connections": [
        {
            "protocol": 6,
            "source": "10.65.0.1",
            "source_port": 1000,
            "destination": "10.65.0.2",
            "destination_port": 5432,
            "answered": True,
            "expires_s": 60,
        }
    ],
    "more_connections": True,
    "drops": [
        {"time_s": 0, "source": "10.65.0.1", "destination": "10.65.0.2", "protocol": 1, "reason": "policy", "rule": "r"}
    ],
}


def test_what_the_kernel_of_this_host_holds(tortie: Tortie, agent: FakeAgent) -> None:
    tortie.environment["TORTIE_NODE"] = "b"
    agent.answer("/v1/facts?source=10.65.0.1&destination=10.65.0.2", FACTS)
    agent.answer(f"/v1/counters?policy={quote(DB)}", COUNTED)
    said = tortie("explain", "web", "db", "tcp/pg")
    assert said.code == 0
    assert "rule 0: Allow (3 packets, 180 bytes so far)" in said.stdout
    assert said.stdout.splitlines()[-7:] == [
        "  policy       in force up to revision 6, taken up to 7",
        "  interface    calidb of default/b-tortie-db-eth0 has no carrier, or is down; interface calidb is waiting for "
        "carrier; its policy is not in force: chain x: not written yet",
        "  route        to 10.65.0.1 via 172.18.203.125 dev eth0, by BIRD; 172.18.203.125 does not answer",
        "  route        to 10.65.0.2 dev calidb, by tortie; 10.65.0.2 has 02:00:00:00:00:02, permanent",
        "  tracked      TCP 10.65.0.1:1000 -> 10.65.0.2:5432, answered: its packets pass without a look at policy",
        "  tracked      and more",
        "  dropped      1970-01-01T00:00:00.000Z ICMP 10.65.0.1 -> 10.65.0.2: r",
    ]
    first, second = json.loads(tortie("explain", "web", "db", "tcp/pg", "-o", "json").stdout)["nodes"]
    assert (first["kernel"], second["kernel"]) == (None, FACTS)
    assert [each["packets"] for each in second["steps"]] == [3]
    assert {each["packets"] for each in first["steps"]} == {None}


def test_an_explanation_without_an_agent(tortie: Tortie) -> None:
    tortie.environment["TORTIE_NODE"] = "b"
    said = tortie("explain", "web", "db", "tcp/pg")
    assert (said.code, said.stdout.splitlines()[0]) == (
        0,
        "web -> db tcp/pg: allowed: everybody who has a say allows it",
    )
    assert said.stderr.startswith("without counters and what the kernel holds: no agent answers on ")
