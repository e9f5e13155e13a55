"""Objects that another program put into the store past every check: each does what it must, and harms no other."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple

import pytest

from tests.netns.agent.running import RunningAgent
from tests.netns.agent.test_life import PREFIX, Ping, put
from tests.netns.agent.test_policy import answered, store, use, wait_enforced
from tests.netns.conftest import Namespace, NetnsFactory
from tortie.datastore import open_datastore
from tortie.datastore.api import Delete

LONG = "n" * 253
ALLOW = [{"action": "Allow"}]
PING = {"protocol": 1, "icmp": {"type": 8}}  # by number, without ipVersion


class Bad(NamedTuple):
    """An object, whether it leaves the third workload open to pings, and what status says of it."""

    name: str
    document: dict[str, Any]
    open: bool
    said: str = ""
    plural: str = "globalnetworkpolicies"
    kind: str = "GlobalNetworkPolicy"


def ingress(*rules: dict[str, Any], selector: str = "n == 'third'", **spec: Any) -> dict[str, Any]:
    return {"order": 5, "selector": selector, "types": ["Ingress"], "ingress": [*rules, *ALLOW], **spec}


TO_TCP, TO_NETS = {"protocol": "TCP"}, {"destination": {"nets": ["10.65.0.3/32"]}}
OBJECTS = [
    Bad("default.good", ingress(), open=True),
    Bad("ghost.unmatched", ingress(tier="ghost") | {"ingress": []}, open=False),
    Bad("default.selector", ingress(selector="n == 'third' &&", order=1), open=True, said="selector"),
    Bad("default.port", ingress({"action": "Allow", "destination": {"ports": [80]}}), open=False, said="ports"),
    Bad("default.icmp", ingress({"action": "Deny", **PING}), open=False),
    Bad("default.icmp6", ingress({"action": "Deny", "protocol": 58, "icmp": {"type": 128}}), open=True),
    Bad("default.never", ingress({"action": "Deny", **TO_TCP, "notProtocol": "TCP"}), open=True),
    Bad("default.families", ingress({"action": "Deny", "ipVersion": 6, **TO_NETS}), open=False, said="ipVersion"),
    Bad(
        "default.labels",
        ingress({"action": "Deny", "source": {"selector": "n == 'first' && n == 'third'"}}),
        open=True,
    ),
    Bad(
        "default.negated",
        ingress({"action": "Deny", "source": {"nets": ["10.65.0.1/32"], "notNets": ["10.65.0.0/24"]}}),
        open=True,
    ),
    Bad(f"default.{LONG}"[:253], ingress({"action": "Deny", **PING}), open=False),
    Bad("default.\u00fcn\u00efcode-\U0001f431", ingress({"action": "Deny", **PING}), open=False, said="\u00fcn"),
    Bad("default.rule", ingress({"action": "Perhaps"}), open=False, said="Perhaps"),
    Bad("default.fields", ingress(later="than this version"), open=True),
    Bad("default.order", ingress(order="first"), open=False, said="order"),
    Bad("default.list", {"selector": "n == 'third'", "types": ["Ingress"], "ingress": 7}, open=False, said="ingress"),
    Bad("default.nothing", {"selector": 7}, open=True, said="selector"),
    Bad("bad", {"nets": ["10.65.0.0/33"]}, open=True, said="nets", plural="globalnetworksets", kind="GlobalNetworkSet"),
    Bad("bad", {"ingress": [{"action": 7}]}, open=True, said="action", plural="profiles", kind="Profile"),
    Bad("ghost", {"order": "never"}, open=True, said="order", plural="tiers", kind="Tier"),
]


@pytest.fixture
def first(agent: RunningAgent, netns: NetnsFactory, request: pytest.FixtureRequest) -> Namespace:
    """The first of four workloads, which pings the others."""
    spaces = [netns(f"w{number}") for number in range(1, 5)]
    for number, word in enumerate(("first", "second", "third", "fourth"), 1):
        address = f"10.65.0.{number}"
        agent.attach(f"w{number}", netns=spaces[number - 1].path, addresses=[address], labels={"n": word})
    use(agent, getattr(request, "param", "nftables"))
    return spaces[0]


def delete(agent: RunningAgent, bad: Bad) -> int:
    async def write() -> int:
        datastore = open_datastore(f"sqlite://{agent.store}")
        try:
            return (await datastore.txn([], [Delete(f"{PREFIX}/{bad.plural}/{bad.name}")])).revision
        finally:
            await datastore.close()

    return asyncio.run(write())


def raw(agent: RunningAgent, bad: Bad) -> int:
    document = {"kind": bad.kind, "apiVersion": "projectcalico.org/v3", "metadata": {"name": bad.name}}
    return put(agent.store, f"{PREFIX}/{bad.plural}/{bad.name}", json.dumps(document | {"spec": bad.document}).encode())


def others_change(agent: RunningAgent, first: Namespace, action: str) -> None:
    """A policy of the fourth workload takes effect as ever."""
    rules = [{"action": action, "protocol": "ICMP"}, *ALLOW]
    spec = {"order": 1, "selector": "n == 'fourth'", "types": ["Ingress"], "ingress": rules}
    store(agent, "GlobalNetworkPolicy", "globalnetworkpolicies", "default.fourth", spec)
    assert is_open(first, "10.65.0.4", expected=action == "Allow") == (action == "Allow")


def is_open(first: Namespace, address: str, *, expected: bool) -> bool:
    """A silence that is expected is not waited for as long."""
    return (
        answered(first, address) if expected else f"from {address}" in first.run(f"ping -c 1 -W 0.2 {address}", False)
    )


@pytest.mark.parametrize("first", ["nftables", "iptables-legacy"], indirect=True)
def test_a_bad_object_does_what_it_must_and_harms_no_other(agent: RunningAgent, first: Namespace) -> None:
    process, wrong = agent.process.pid, []
    ping = Ping(first, "10.65.0.2", 5000)
    for number, bad in enumerate(OBJECTS):
        wait_enforced(agent, raw(agent, bad))
        if is_open(first, "10.65.0.3", expected=bad.open) != bad.open:
            wrong.append(f"{bad.name[:60]}: open is {not bad.open}")
        said = {each["subject"]: each["reason"] for each in agent.status()["problems"]}
        reason = said.get(f"{bad.kind}({bad.name})", "")
        if bad.said not in f"{bad.name} {reason}" or bool(bad.said) != bool(reason):
            wrong.append(f"{bad.name[:60]}: told as {reason!r}")
        if number % 4 == 0:
            others_change(agent, first, ("Deny", "Allow")[number // 4 % 2])
        wait_enforced(agent, delete(agent, bad))
    assert not wrong, "\n".join(wrong)
    assert answered(first, "10.65.0.3")
    assert ping.lost() == 0
    assert agent.process.pid == process
