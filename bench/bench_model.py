"""How long does the model take: to read a store of endpoints, to parse a selector, to ask it about labels?

Everything runs in one process, without a store. The baseline of reading is `json.loads` of the same values, which
validates nothing; that of a question to a selector is a lookup in the labels.

Promises, in the median: 100,000 endpoints decoded and validated in 1.5 s; a selector parsed in 20 us, and asked in
1 us.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import msgspec

from bench.turns import Turn, percentile, print_table, take_turns
from tests.unit.model.documents import document
from tortie.model import Quarantined, ResourceKey, from_store
from tortie.model.selector import parse

ENDPOINTS = 100_000
READ_LIMIT_MS = 1500.0
# Of a thousand, which is the figure of one in microseconds.
PARSE_LIMIT_MS = 20.0
MATCH_LIMIT_MS = 1.0

SELECTORS = (
    "all()",
    "app == 'web'",
    "app == 'web' && env in {'prod', 'test'}",
    "has(app) && !(env == 'dev' || zone not in {'a', 'b'})",
    "role starts with 'front' && tier != 'db' && projectcalico.org/namespace == 'default'",
)
LABELS = {"app": "web", "env": "prod", "role": "frontend", "zone": "a", "projectcalico.org/namespace": "default"}


def endpoints() -> list[tuple[ResourceKey, bytes]]:
    """Endpoints as a cluster has them: other names, addresses and labels each."""
    found = []
    for number in range(ENDPOINTS):
        high, low = divmod(number, 250)
        address = f"10.{65 + high // 250}.{high % 250}.{low}"
        body = document("WorkloadEndpoint", containerID=f"c{number:011x}", ipNetworks=[f"{address}/32"], ipNATs=None)
        body["metadata"]["name"] = f"node--1-cni-c{number:011x}-eth0"
        body["metadata"]["labels"] |= {"app": f"app-{number % 300}", "env": "prod", "zone": "abc"[number % 3]}
        body["spec"]["interfaceName"] = f"cali{number:011x}"
        key = ResourceKey("WorkloadEndpoint", "default", body["metadata"]["name"])
        found.append((key, msgspec.json.encode(body)))
    return found


def test_read_endpoints() -> None:
    values = endpoints()

    def validated() -> None:
        for key, value in values:
            assert not isinstance(from_store(key, value), Quarantined)

    def only_json() -> None:
        for _, value in values:
            json.loads(value)

    taken = take_turns({"json.loads": timed(only_json), "from_store": timed(validated)}, 5, "json.loads")
    print_table(f"{ENDPOINTS} endpoints of {len(values[0][1])} bytes", taken, "json.loads")
    assert percentile(taken["from_store"], 50) <= READ_LIMIT_MS


def test_selectors() -> None:
    parsed = [parse(text) for text in SELECTORS]

    def parse_each() -> None:
        for text in SELECTORS:
            parse(text)

    def ask_each() -> None:
        for selector in parsed:
            selector.matches(LABELS)

    def look_up() -> None:
        for _ in SELECTORS:
            LABELS.get("app")

    variants = {
        "lookups in the labels": timed(look_up, 1000 // len(SELECTORS)),
        "selectors asked": timed(ask_each, 1000 // len(SELECTORS)),
        "selectors parsed": timed(parse_each, 1000 // len(SELECTORS)),
    }
    taken = take_turns(variants, 50, "lookups in the labels")
    print_table("a thousand", taken, "lookups in the labels")
    assert percentile(taken["selectors asked"], 50) <= MATCH_LIMIT_MS
    assert percentile(taken["selectors parsed"], 50) <= PARSE_LIMIT_MS


def timed(work: Callable[[], None], times: int = 1) -> Turn:
    def turn() -> float:
        start = time.perf_counter()
        for _ in range(times):
            work()
        return (time.perf_counter() - start) * 1000

    return turn
