"""How long does a set of 100,000 members hold the agent, and how long do others wait behind twenty of them?

A host with four workloads. To one of them a policy applies whose rule selects network sets of 100,000 addresses each,
or three of 100,000 prefixes; they are put one after the other. Meanwhile somebody asks the agent again and again
whether it lives: the longest answer bounds the longest time in which the loop did nothing else. And another workload's
policy changes back and forth, until ping says so. Then the agent starts again.

Promise of addresses: while one set comes nine of ten answers take at most 100 ms, of several turns of the loop each; a
change behind twenty takes 0.5 s in the median. None of prefixes, where the kernel makes the whole set anew each time.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from bench.turns import percentile, print_table
from tests.netns.agent.conftest import AgentFactory, agent, agents
from tests.netns.agent.running import RunningAgent
from tests.netns.agent.test_life import PREFIX, put
from tests.netns.conftest import Namespace, NetnsFactory, netns
from tortie.datastore import open_datastore
from tortie.datastore.api import Delete

__all__ = ["AgentFactory", "agent", "agents", "netns"]

MEMBERS = 100_000
KEPT = 3  # sets for the next start, which in the kernel are one that is below the limit
CHANGES = 6
ANSWERS = 300  # of an agent that has nothing to do
ASKED_EACH_S = 0.005
PATIENCE_S = 120.0
ANSWER_MS, CHANGE_MS = 100, 500


@pytest.fixture
def host(agents: AgentFactory, netns: NetnsFactory) -> tuple[RunningAgent, Namespace]:
    made = agents("host-a")
    made.start_and_wait()
    spaces = [netns(f"w{number}") for number in range(1, 5)]
    for number, space in enumerate(spaces, 1):
        made.attach(f"w{number}", netns=space.path, addresses=[f"10.65.0.{number}"], labels={"n": f"w{number}"})
    return made, spaces[0]


def put_policy(agent: RunningAgent, workload: str, source: str, action: str) -> int:
    rules = [{"action": action, "source": {"selector": source}}, {"action": "Allow"}]
    spec = {"order": 1, "selector": f"n == '{workload}'", "types": ["Ingress"], "ingress": rules}
    document = {"kind": "GlobalNetworkPolicy", "apiVersion": "projectcalico.org/v3", "spec": spec}
    value = json.dumps({**document, "metadata": {"name": f"default.{workload}"}}).encode()
    return put(agent.store, f"{PREFIX}/globalnetworkpolicies/default.{workload}", value)


def put_set(agent: RunningAgent, number: int, length: int) -> int:
    wide = 1 << 32 - length
    firsts = (each * wide for each in range(MEMBERS))
    nets = [f"{20 + 3 * number + (n >> 24)}.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}/{length}" for n in firsts]
    document = {"kind": "GlobalNetworkSet", "apiVersion": "projectcalico.org/v3", "spec": {"nets": nets}}
    metadata = {"name": f"s{number}", "labels": {"big": "yes"}}
    return put(
        agent.store, f"{PREFIX}/globalnetworksets/s{number}", json.dumps({**document, "metadata": metadata}).encode()
    )


def take_away(agent: RunningAgent, numbers: Iterable[int]) -> int:
    async def write() -> int:
        datastore = open_datastore(f"sqlite://{agent.store}")
        try:
            gone = [Delete(f"{PREFIX}/globalnetworksets/s{number}") for number in numbers]
            return (await datastore.txn([], gone)).revision
        finally:
            await datastore.close()

    return asyncio.run(write())


def until(holds: Callable[[], bool]) -> float:
    began = time.monotonic()
    while time.monotonic() < began + PATIENCE_S:
        with suppress(OSError):
            if holds():
                return (time.monotonic() - began) * 1000
        time.sleep(0.01)
    raise AssertionError("never")


def is_told(first: Namespace, *, passes: bool) -> bool:
    """A ping says of the other's policy that it passes, or does not."""
    return ("1 received" in first.run("ping -c 1 -W 0.05 10.65.0.3", check=False)) == passes


@contextmanager
def asking(agent: RunningAgent) -> Iterator[list[float]]:
    """Milliseconds of every answer to the question whether it lives."""
    taken: list[float] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(ASKED_EACH_S):
            began = time.monotonic()
            with suppress(OSError):
                agent.call("GET", "/v1/health/live")
                taken.append((time.monotonic() - began) * 1000)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield taken
    finally:
        stop.set()
        thread.join()


def peak_mib(agent: RunningAgent) -> int:
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) >> 10


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("sets", "length"), [(20, 32), (3, 28)])
def test_large_sets(host: tuple[RunningAgent, Namespace], sets: int, length: int) -> None:
    agent, first = host
    answers: dict[str, list[float]] = {}
    put_policy(agent, "w4", "big == 'yes'", "Deny")
    with asking(agent) as answers["an answer while nothing happens"]:
        until(lambda: len(answers["an answer while nothing happens"]) >= ANSWERS)
    with asking(agent) as answers["an answer while a set comes"]:
        revision = put_set(agent, 0, length)
        whole = until(lambda: agent.status()["enforced_revision"] >= revision)
    one_mib = peak_mib(agent)
    others: list[float] = []
    with asking(agent) as answers["an answer while the others come"]:
        for number in range(1, sets):
            put_set(agent, number, length)
        for number in range(CHANGES):
            denies = number % 2 == 0
            revision = put_policy(agent, "w3", "n == 'w1'", "Deny" if denies else "Allow")
            others.append(until(partial(is_told, first, passes=not denies)))
        all_of_it = until(lambda: agent.status()["enforced_revision"] >= revision)
    mib = peak_mib(agent)
    if sets > KEPT:
        revision = take_away(agent, range(KEPT, sets))
    until(lambda: agent.status()["enforced_revision"] >= revision)
    agent.stop()
    with asking(agent) as answers["an answer of an agent that starts"]:
        agent.start()
        began = until(lambda: bool(agent.status()["in_sync"]))
    print_table(f"{sets} sets of {MEMBERS} networks of /{length}", {**answers, "another's change behind them": others})
    print(f"one set {whole:.0f} ms and {one_mib} MiB, all {all_of_it:.0f} ms and {mib} MiB, start {began:.0f} ms")
    assert length < 32 or percentile(answers["an answer while a set comes"], 90) <= ANSWER_MS
    assert percentile(others, 50) <= CHANGE_MS
