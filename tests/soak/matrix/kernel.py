"""Our rows in the kernel, changed by others, and more news from the kernel than a socket holds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

from tests.soak.matrix.fault import fault
from tests.soak.matrix.scene import Board, Scene

IPTABLES = ("iptables-nft", "iptables-legacy")
FOREIGN_ROUTES = 100_000
OPEN = (
    "the kernel lets anybody flush iptables, and a host without rules is open until the agent has looked, each 0.1 s,"
    " and written them again"
)
EMPTY = "the kernel lets anybody flush IP sets, and what goes by a set's members is undecided until they are back"
BACK = "until BIRD has written them again the host has no way to others' workloads"


def put_back(table: str) -> Callable[[Board], int]:
    """How many rows of a table the agent put back."""
    return lambda board: int(board["repaired"].get(table, 0))


def policy_repairs(board: Board) -> int:
    return int(board["policy_repairs"])


def save_word(scene: Scene) -> str:
    return "iptables-legacy" if scene.backend == "iptables-legacy" else "iptables-nft"


@fault(
    "kernel",
    "our routes flushed",
    cuts="until the route is back the host has no way to the workload",
    felt=put_back("route"),
)
async def routes_flushed(scene: Scene) -> AsyncIterator[None]:
    await scene.run("far", "ip route flush proto 116")
    yield


@fault("kernel", "BIRD's routes flushed", cuts=BACK, felt=put_back("bgp"))
async def bird_routes_flushed(scene: Scene) -> AsyncIterator[None]:
    await scene.run("far", "ip route flush proto bird")
    yield


@fault("kernel", "rules flushed", cuts="without a rule for the main table the host has no route to anywhere")
async def rules_flushed(scene: Scene) -> AsyncIterator[None]:
    left = await scene.run("far", "ip rule flush; ip rule")
    assert "main" not in left, left
    yield
    await scene.run("far", "ip rule add pref 32766 lookup main; ip rule add pref 32767 lookup default")


@fault("kernel", "our neighbours flushed", felt=put_back("neighbour"))
async def neighbours_flushed(scene: Scene) -> AsyncIterator[None]:
    await scene.run("far", f"ip neigh flush nud permanent dev {await scene.host_end()}")
    yield


@fault("kernel", "nft flush ruleset: spares ours, which has an owner", backends=("nftables",))
async def ruleset_flushed(scene: Scene) -> AsyncIterator[None]:
    ours = "nft --stateless --handle list table inet tortie"  # by its handles it is no other one
    before = await scene.run("far", f"nft add table inet other; {ours}")
    after = await scene.run("far", f"nft flush ruleset; {ours}; nft list tables")
    assert after.replace("table inet tortie\n", "") == before
    yield


@fault("kernel", "our nft table deleted, its chains and sets flushed: refused", backends=("nftables",))
async def table_deleted(scene: Scene) -> AsyncIterator[None]:
    listed = json.loads(await scene.run("far", "nft -j list table inet tortie"))["nftables"]
    parts = [(kind, each[kind]["name"]) for each in listed for kind in ("chain", "set", "map") if kind in each]
    assert {"chain", "set", "map"} <= {kind for kind, _ in parts}
    for harm in ("delete table inet tortie", *(f"flush {kind} inet tortie {name}" for kind, name in parts)):
        said = await scene.run("far", f"nft {harm} && echo done", check=False)
        assert "Operation not permitted" in said, (harm, said)
    yield


@fault("kernel", "iptables -F, of all chains", backends=IPTABLES, leaks=OPEN, felt=policy_repairs)
async def chains_flushed(scene: Scene) -> AsyncIterator[None]:
    program = save_word(scene)
    await scene.run("far", "; ".join(f"{program} -t {table} -F" for table in ("raw", "mangle", "filter")))
    yield


@fault("kernel", "iptables -F and -X, of all chains", backends=IPTABLES, leaks=OPEN, felt=policy_repairs)
async def chains_deleted(scene: Scene) -> AsyncIterator[None]:
    program = save_word(scene)
    tables = ("raw", "mangle", "nat", "filter")
    await scene.run("far", "; ".join(f"{program} -t {table} -F; {program} -t {table} -X" for table in tables))
    yield


@fault(
    "kernel", "nft flush ruleset, which holds the chains", backends=("iptables-nft",), leaks=OPEN, felt=policy_repairs
)
async def all_tables_deleted(scene: Scene) -> AsyncIterator[None]:
    await scene.run("far", "nft flush ruleset")
    yield


@fault("kernel", "ipset flush", backends=IPTABLES, loses=EMPTY, leaks=EMPTY, felt=policy_repairs)
async def sets_flushed(scene: Scene) -> AsyncIterator[None]:
    await scene.run("far", "ipset flush")
    yield


@fault("kernel", "100,000 foreign routes come and go", takes_s=25)
async def burst(scene: Scene) -> AsyncIterator[None]:
    numbers = f"seq 0 {FOREIGN_ROUTES - 1}"
    line = '{printf "route %s 172.%d.%d.%d/32 dev lo proto static table 77\\n", word, 16+$1/65536, $1/256%256, $1%256}'
    await scene.run("far", f"{numbers} | awk -v word=add '{line}' | ip -batch -")
    yield
    await scene.run("far", "ip route flush table 77")
