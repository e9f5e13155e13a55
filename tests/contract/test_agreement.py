"""Every backend against the judge: for policies and packets by chance the kernel does what `verdict` says.

The seed is printed with a disagreement; `TORTIE_CONTRACT_SEED=n` repeats a run.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.contract.arena import Arena
from tests.contract.driver import Driver
from tests.contract.generate import Chance, changes, many_policies, packet
from tests.netns.conftest import NetnsFactory
from tortie.intent.packet import Flow, Packet
from tortie.intent.state import PolicyState
from tortie.intent.verdict import verdict
from tortie.kernel.netfilter.socket import NetfilterSocket

SEED = int(os.environ.get("TORTIE_CONTRACT_SEED") or secrets.randbelow(2**32))
POLICIES = 100
PACKETS = 100

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


@pytest.fixture
def arena(netns: NetnsFactory) -> Iterator[Arena]:
    made = Arena(netns("host"))
    yield made
    made.close()


@pytest.fixture
def socket(arena: Arena) -> Iterator[NetfilterSocket]:
    sock = arena.namespace.call(NetfilterSocket)
    yield sock
    sock.close()


def one_way(packets: Iterable[Packet]) -> list[Packet]:
    """Without those that connection tracking would take for an answer to one before."""
    kept: list[Packet] = []
    known = set()
    for one in packets:
        ends = (one.source, one.source_port), (one.destination, one.destination_port)
        if (one.protocol, *ends[::-1]) not in known:
            known.add((one.protocol, *ends))
            kept.append(one)
    return kept


@pytest.mark.timeout(600)
def test_the_kernel_does_what_the_judge_says(
    arena: Arena, socket: NetfilterSocket, backend_name: str, tmp_path: Path
) -> None:
    driver = Driver(arena.namespace, backend_name, tmp_path)
    try:
        compare(driver, arena, socket)
    finally:
        driver.close()


def compare(driver: Driver, arena: Arena, socket: NetfilterSocket) -> None:
    driver.resync()
    compared = {"accept": 0, "drop": 0}
    for round_ in range(POLICIES):
        chance = Chance(f"{SEED}/{round_}")
        # Everything of the round before goes in the moment in which this one's comes.
        state = PolicyState()
        news = many_policies(chance) if round_ % 2 else changes(chance)
        driver.backend.take(news)
        state.take(news)
        driver.settle()
        expected = {}
        packets = one_way(packet(chance) for _ in range(PACKETS))
        arena.forget_flows(socket)
        for number, one in enumerate(packets):
            expected[number] = verdict(state, one, Flow.NEW, arena.fib)
            arena.send(one, round_ << 16 | number)
        forwarded = {
            number
            for number, judged in expected.items()
            if judged.action == "accept" and arena.fib.route(packets[number].destination).interface  # type: ignore[union-attr]  # all have one
        }
        found = arena.received({round_ << 16 | number for number in forwarded})
        seen = {
            mark & 0xFFFF
            for mark, (_, frame) in found.items()
            # Else it is the host's answer, which carries what was asked.
            if mark >> 16 == round_ and frame.destination == packets[mark & 0xFFFF].destination
        }
        wrong = seen ^ forwarded
        assert not wrong, "\n".join(
            f"TORTIE_CONTRACT_SEED={SEED}, round {round_}: {packets[number]}\n"
            f"{found.get(round_ << 16 | number, 'did not pass')}, but: {expected[number]}"
            for number in sorted(wrong)[:3]
        )
        for judged in expected.values():
            compared[judged.action] += 1
    assert min(compared.values()) > POLICIES * PACKETS // 20, compared
