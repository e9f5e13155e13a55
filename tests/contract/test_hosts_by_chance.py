"""Host endpoints and translation by chance: for each packet the kernel does what `verdict` says, to it and with it.

The seed is printed with a disagreement; `TORTIE_CONTRACT_SEED=n` repeats a run.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import msgspec
import pytest

from tests.contract.arena import HOST_ADDRESSES
from tests.contract.generate import NUMBERS, OUTSIDE, Chance, chain_of, changes, packet
from tests.contract.test_hosts import Witness, send_as_host
from tests.contract.test_life import MACS, Host, host
from tortie.intent.packet import ACK, SYN, TCP, UDP, Flow, Packet
from tortie.intent.policy import (
    Address,
    BothWays,
    Chain,
    FailsafePort,
    FloatingAddress,
    HostEndpointPolicy,
    NatPool,
    PolicySettings,
)
from tortie.intent.state import PolicyChanges, PolicyState
from tortie.intent.verdict import Verdict, verdict
from tortie.model.resource import ResourceKey

__all__ = ["host"]

SEED = int(os.environ.get("TORTIE_CONTRACT_SEED") or secrets.randbelow(2**32))
STATES = int(os.environ.get("TORTIE_CONTRACT_STATES") or 5)
PACKETS = 80

FLOATING = tuple(map(ip_address, ("203.0.113.7", "2001:db8:f::7")))
WHERE = (("eth0",), ("",), ("*",), ("*", "eth0"), ("", "*"), ("eth9", "*"))  # "" is found by its address
FAILSAFE = (
    FailsafePort(TCP, 80),
    FailsafePort(UDP, 53),
    FailsafePort(UDP, 81, ip_network("192.0.2.0/25")),
    FailsafePort(TCP, 443, ip_network("2001:db8::/32")),
)


@pytest.mark.timeout(600)
def test_the_kernel_does_what_the_judge_says(host: Host) -> None:
    witness = Witness(host)
    host.driver.see(host.arena.fib.addresses)
    before: list[ResourceKey] = []
    wrong = []
    for number in range(STATES):
        chance = Chance(f"{SEED}/{number}")
        news = _changes(chance)
        state = PolicyState()
        state.take(news)
        host.take(msgspec.structs.replace(news, host_endpoints={**dict.fromkeys(before), **news.host_endpoints}))
        before = list(news.host_endpoints)
        for place, one in enumerate(_packets(chance)):
            host.arena.forget_flows(host.socket)
            judged = verdict(state, one, Flow.NEW, host.arena.fib)
            if _what_happens(host, witness, one, number << 16 | place, judged) != _what_should(judged):
                wrong.append((number, one, judged))
    assert not wrong, f"seed {SEED}: {len(wrong)} packets, the first: {wrong[0]}"
    host.backend.take(PolicyChanges(host_endpoints=dict.fromkeys(before)))
    host.settle()
    writes = host.backend.writes
    host.settle()
    assert host.backend.writes == writes


def _what_should(judged: Verdict) -> tuple[bool, Address | None]:
    passes = judged.action == "accept"
    return passes, judged.translated.source if passes and judged.translated else None


def _what_happens(host: Host, witness: Witness, one: Packet, mark: int, judged: Verdict) -> tuple[bool, Address | None]:
    """Whether it gets anywhere; and where it was to be translated, its source then."""
    before = witness.count()
    if one.interface:
        host.arena.send(one, mark)
    else:
        host.arena.namespace.call(lambda: send_as_host(one, mark))
    found = host.arena.received(set()).get(mark)
    passed = found is not None or witness.count() > before
    return passed, found[1].source if found is not None and judged.translated is not None else None


def _packets(chance: Chance) -> Iterator[Packet]:
    """Those to the host are of protocols that the witness counts."""
    for _ in range(PACKETS):
        one = packet(chance) if chance.often(0.7) else _of_host(chance)
        if one.interface == "eth0":
            one = msgspec.structs.replace(one, source_mac=MACS["eth0"])
            if chance.often(0.3):
                there = (each for each in (*FLOATING, *OUTSIDE) if each.version == one.family)
                one = msgspec.structs.replace(one, destination=chance.choice(tuple(there)))
        if one.tcp_flags == SYN | ACK:
            one = msgspec.structs.replace(one, tcp_flags=SYN)
        if one.destination not in HOST_ADDRESSES or one.protocol in (TCP, UDP):
            yield one


def _of_host(chance: Chance) -> Packet:
    there = chance.choice((*(each for each in (*FLOATING, *OUTSIDE) if each.version == 4), ip_address("10.65.0.1")))
    return Packet(
        source=HOST_ADDRESSES[0],
        destination=there,
        protocol=UDP,
        source_port=chance.choice(NUMBERS),
        destination_port=chance.choice(NUMBERS),
    )


def _changes(chance: Chance) -> PolicyChanges:
    """A state of `generate`, with host endpoints, failsafe ports, pools and an outside address."""
    news = changes(chance)
    workloads = {key: each for key, each in news.workloads.items() if each is not None}
    key, reached = sorted(workloads.items())[1]
    pairs = zip(FLOATING, reached.addresses, strict=True)
    workloads[key] = msgspec.structs.replace(reached, floating=tuple(FloatingAddress(*pair) for pair in pairs))
    endpoints = [_endpoint(chance, news, *pair) for pair in enumerate(chance.choice(WHERE))]
    return msgspec.structs.replace(
        news,
        workloads=workloads,
        host_endpoints={each.key: each for each in endpoints},
        pools=(
            NatPool(ip_network("10.65.0.0/24"), outgoing=True),
            NatPool(ip_network("192.0.2.0/25"), outgoing=False),
            NatPool(ip_network("fd00:65::/64"), outgoing=chance.often(0.5)),
        ),
        settings=PolicySettings(
            endpoint_to_host=chance.choice(("Drop", "Accept", "Return")),
            deny=chance.choice(("Drop", "Reject")),
            failsafe_inbound=chance.some(FAILSAFE, 2),
            failsafe_outbound=chance.some(FAILSAFE, 2),
        ),
    )


def _endpoint(chance: Chance, news: PolicyChanges, number: int, interface: str) -> HostEndpointPolicy:
    policies = [key for key in news.policies if key.kind != "Profile"]
    profiles = [key for key in news.policies if key.kind == "Profile"]

    def chain(*, ends: bool) -> Chain:
        if chance.often(0.35):
            return Chain()
        found = chain_of(chance, policies, profiles)
        return found if ends else msgspec.structs.replace(found, profiles=())

    def both(*, ends: bool) -> BothWays:
        return BothWays(ingress=chain(ends=ends), egress=chain(ends=ends))

    return HostEndpointPolicy(
        key=ResourceKey("HostEndpoint", "", str(number)),
        interface=interface,
        addresses=() if interface else HOST_ADDRESSES[:1],
        normal=both(ends=True),
        forward=both(ends=False),
        untracked=both(ends=False),
        pre_dnat=chain(ends=False),
    )
