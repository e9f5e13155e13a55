"""How long does a change of the firewall take?

By one transaction on a socket that stays open, against `nft -f` with a file that is written already: one endpoint's
chain rewritten where 1000 such chains of 10 rules stand, 100,000 members put into a hash set, and one member more.

Promise: the chain and the one member take at most a quarter of what nft takes, in the median.

Without a rival, and so in processor time: 100,000 members listed, 100,000 tracked connections listed and deleted.
"""

from __future__ import annotations

import itertools
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.turns import Turn, percentile, print_table, take_turns
from tests.netns.conftest import Namespace, NetnsFactory
from tests.netns.kernel.netfilter.nft import INET, TABLE, connected
from tortie.kernel import netns as kernel_netns
from tortie.kernel.netfilter import chain, conntrack, elements, rule, sets
from tortie.kernel.netfilter.chain import Chain, Hook, InetHook
from tortie.kernel.netfilter.change import CREATE, EXCLUSIVE, Change
from tortie.kernel.netfilter.conntrack import Connection, Tuple
from tortie.kernel.netfilter.datatype import IFNAME, IPV4, VERDICT, ifname
from tortie.kernel.netfilter.elements import Element
from tortie.kernel.netfilter.expression import VERDICT_REGISTER, Base, Cmp, Lookup, Meta, MetaKey, Payload
from tortie.kernel.netfilter.message import CONNTRACK, GENERIC, be32, message_type
from tortie.kernel.netfilter.monitor import RulesetMonitor
from tortie.kernel.netfilter.rule import Rule
from tortie.kernel.netfilter.sets import Set
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.statement import Counter, Decide
from tortie.kernel.netfilter.transaction import commit
from tortie.kernel.netfilter.verdict import ACCEPT, goto
from tortie.kernel.netlink.socket import one_by_one

BASELINE = "nft -f"
CHAINS = 1000
RULES = 10
MEMBERS = 100_000
SHARE = 0.25

SOURCE = Payload(Base.NETWORK, 12, 4)
PORT = Payload(Base.TRANSPORT, 2, 2)
PLAIN = Set(INET, TABLE, "plain", (IPV4,), size=2 * MEMBERS)


def of_endpoint(number: int, first_port: int) -> Iterator[Change]:
    """The rules of one endpoint: TCP from an address to a port, counted."""
    for offset in range(RULES):
        pieces = (
            *(Meta(MetaKey.NFPROTO), Cmp(b"\2"), SOURCE, Cmp(struct.pack(">I", 0x0A000000 + number))),
            *(Meta(MetaKey.L4PROTO), Cmp(b"\6"), PORT, Cmp(struct.pack(">H", first_port + offset))),
            *(Counter(), Decide(ACCEPT)),
        )
        yield rule.append(Rule(INET, TABLE, f"ep{number}", rule.body(pieces)))


def as_text(number: int, first_port: int) -> str:
    address = f"10.0.{number >> 8}.{number & 255}"
    lines = [f"flush chain inet {TABLE} ep{number}"]
    for offset in range(RULES):
        match = f"ip saddr {address} tcp dport {first_port + offset} counter accept"
        lines.append(f"add rule inet {TABLE} ep{number} {match}")
    return "\n".join(lines) + "\n"


def install(sock: NetfilterSocket) -> None:
    dispatch = Set(INET, TABLE, "dispatch", (IFNAME,), (VERDICT,), size=CHAINS)
    names = [f"ep{number}" for number in range(CHAINS)]
    members = [Element(ifname(f"cali{number}"), data=goto(name)) for number, name in enumerate(names)]
    lead = rule.body([Meta(MetaKey.IIFNAME), Lookup("dispatch", into=VERDICT_REGISTER)])
    commit(
        sock,
        [
            sets.add(dispatch),
            *(chain.add(Chain(INET, TABLE, name)) for name in names),
            *itertools.chain.from_iterable(of_endpoint(number, 1000) for number in range(CHAINS)),
            *elements.add(dispatch, members),
            chain.add(Chain(INET, TABLE, "forward", Hook(InetHook.FORWARD))),
            rule.append(Rule(INET, TABLE, "forward", lead)),
        ],
    )


def nft(host: Namespace, file: Path) -> None:
    kernel_netns.run_in(host.path, lambda: subprocess.run(["nft", "-f", str(file)], check=True))


def timed(act: Callable[[], object], undo: Callable[[], object] = lambda: None) -> Turn:
    def turn() -> float:
        start = time.perf_counter()
        act()
        took_ms = (time.perf_counter() - start) * 1000
        undo()
        return took_ms

    return turn


def keep_promise(taken: dict[str, list[float]], ours: str) -> None:
    assert percentile(taken[ours], 50) <= SHARE * percentile(taken[BASELINE], 50)


def test_one_chain(netns: NetnsFactory, tmp_path: Path) -> None:
    host = netns("host")
    file = tmp_path / "change"
    file.write_text(as_text(7, 3000))
    ports = itertools.count(2000)
    with connected(host) as sock:
        install(sock)

        def change(by: NetfilterSocket) -> None:
            first_port = 2000 + next(ports) % 1000
            commit(by, [chain.flush(Chain(INET, TABLE, "ep7")), *of_endpoint(7, first_port)])

        def with_a_new_socket() -> None:
            with NetfilterSocket.open_in(host.path) as once:
                change(once)

        variants = {
            BASELINE: timed(lambda: nft(host, file)),
            "a transaction": timed(lambda: change(sock)),
            "a socket for each": timed(with_a_new_socket),
        }
        taken = take_turns(variants, 100, BASELINE)
        assert len(rule.dump(sock, INET, TABLE, "ep7")) == RULES
    print_table(f"one chain of {RULES} rules among {CHAINS} rewritten", taken, BASELINE)
    keep_promise(taken, "a transaction")


@pytest.fixture
def members() -> list[Element]:
    return [Element(struct.pack(">I", 0x0A000000 + number)) for number in range(MEMBERS)]


def test_many_members(netns: NetnsFactory, tmp_path: Path, members: list[Element]) -> None:
    host = netns("host")
    file = tmp_path / "members"
    written = ", ".join(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(MEMBERS))
    file.write_text(f"add element inet {TABLE} plain {{ {written} }}\n")
    with connected(host) as sock:
        commit(sock, [sets.add(PLAIN)])

        def put() -> None:
            commit(sock, elements.add(PLAIN, members))

        def put_watched() -> None:
            with host.call(RulesetMonitor):
                put()

        def undo() -> None:
            commit(sock, [sets.flush(PLAIN)])

        variants = {
            BASELINE: timed(lambda: nft(host, file), undo),
            "a transaction": timed(put, undo),
            "while somebody monitors": timed(put_watched, undo),
        }
        taken = take_turns(variants, 7, BASELINE)
        put()
        listing = []
        for _ in range(7):
            start = time.process_time()
            assert len(elements.dump(sock, PLAIN)) == MEMBERS
            listing.append((time.process_time() - start) * 1000)
    print_table(f"{MEMBERS} members put into a hash set", taken, BASELINE)
    print_table(f"{MEMBERS} members listed, processor time", {"elements.dump": listing})


def test_one_member(netns: NetnsFactory, tmp_path: Path, members: list[Element]) -> None:
    host = netns("host")
    file = tmp_path / "member"
    file.write_text(f"add element inet {TABLE} plain {{ 11.0.0.1 }}\n")
    one = [Element(bytes((11, 0, 0, 1)))]
    with connected(host) as sock:
        commit(sock, [sets.add(PLAIN)])
        commit(sock, elements.add(PLAIN, members))

        def undo() -> None:
            commit(sock, elements.delete(PLAIN, one))

        variants = {
            BASELINE: timed(lambda: nft(host, file), undo),
            "a transaction": timed(lambda: commit(sock, elements.add(PLAIN, one)), undo),
        }
        taken = take_turns(variants, 100, BASELINE)
    print_table(f"one member more among {MEMBERS}", taken, BASELINE)
    keep_promise(taken, "a transaction")


def test_connections(netns: NetnsFactory) -> None:
    def encode(wanted: Connection) -> bytes:
        tuples = conntrack.encode_tuple(1, wanted.original) + conntrack.encode_tuple(2, wanted.reply)
        return GENERIC.pack(2, 0, 0) + tuples + be32(7, 3600)

    addresses = [struct.pack(">I", 0x0A000000 + number) for number in range(100)]
    server = bytes((10, 1, 0, 1))
    wanted = [
        Connection(Tuple(address, server, 17, port, 53), Tuple(server, address, 17, 53, port))
        for address in addresses
        for port in range(1000, 1000 + MEMBERS // len(addresses))
    ]
    taken: dict[str, list[float]] = {"listed": [], "longest step of it": [], "deleted": []}
    with connected(netns("host")) as sock:
        for _ in range(5):
            put = message_type(CONNTRACK, 0)
            assert sock.batch(put, CREATE | EXCLUSIVE, wanted, one_by_one(encode), "put connection") == {}
            steps = [time.process_time()]
            seen = 0
            for piece in conntrack.walk(sock):
                seen += len(piece)
                steps.append(time.process_time())
            assert seen == MEMBERS
            taken["listed"].append((steps[-1] - steps[0]) * 1000)
            taken["longest step of it"].append(max(b - a for a, b in itertools.pairwise(steps)) * 1000)
            start = time.process_time()
            assert conntrack.delete(sock, wanted) == {}
            taken["deleted"].append((time.process_time() - start) * 1000)
            assert conntrack.count(sock) == 0
    print_table(f"{MEMBERS} connections, processor time", taken)
