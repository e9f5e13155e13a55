"""Every kind of set and map: listed by nft as it is meant, and read back as it was made."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from sys import byteorder
from typing import Any

import pytest

from tests.netns.conftest import Namespace
from tests.netns.kernel.netfilter.nft import INET, TABLE, ip
from tests.netns.kernel.netfilter.nft import elements as listed
from tortie.errors import Exists, Gone, KernelError, Refused
from tortie.kernel.netfilter import chain, elements, sets
from tortie.kernel.netfilter.chain import Chain
from tortie.kernel.netfilter.datatype import (
    ETHER,
    IFINDEX,
    IFNAME,
    IPV4,
    IPV6,
    MARK,
    PROTOCOL,
    SERVICE,
    VERDICT,
    concatenate,
    ifname,
)
from tortie.kernel.netfilter.elements import Element
from tortie.kernel.netfilter.rule import Figures
from tortie.kernel.netfilter.sets import Set
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.transaction import TransactionFailed, commit
from tortie.kernel.netfilter.verdict import ACCEPT, DROP, goto, jump

MAC = bytes.fromhex("020000000018")

Case = tuple[Set, Sequence[Element], Sequence[Any]]


def port(number: int) -> bytes:
    return struct.pack(">H", number)


def mark(number: int) -> bytes:
    return number.to_bytes(4, byteorder)


def made(*key: Any, data: Any = (), interval: bool = False, size: int = 0) -> Set:
    return Set(INET, TABLE, "s", key, data, interval, size)


def prefix(address: str, length: int) -> dict[str, Any]:
    return {"prefix": {"addr": address, "len": length}}


CASES: dict[str, Case] = {
    "IPv4": (made(IPV4, size=100), [Element(ip("10.0.0.1")), Element(ip("10.0.0.2"))], ["10.0.0.1", "10.0.0.2"]),
    "IPv6": (made(IPV6), [Element(ip("fd00::1"))], ["fd00::1"]),
    "ports": (made(SERVICE), [Element(port(80)), Element(port(443))], [80, 443]),
    "protocols": (made(PROTOCOL), [Element(b"\6"), Element(b"\x11")], ["tcp", "udp"]),
    "MACs": (made(ETHER), [Element(MAC)], ["02:00:00:00:00:18"]),
    "names": (made(IFNAME), [Element(ifname("cali1"))], ["cali1"]),
    "marks": (made(MARK), [Element(mark(7))], [7]),
    "concatenation": (
        made(IFNAME, ETHER, IPV4),
        [Element(concatenate(ifname("cali1"), MAC, ip("10.0.0.1")))],
        [{"concat": ["cali1", "02:00:00:00:00:18", "10.0.0.1"]}],
    ),
    "concatenation of IPv6": (
        made(IPV6, PROTOCOL, SERVICE),
        [Element(concatenate(ip("fd00::1"), b"\6", port(80)))],
        [{"concat": ["fd00::1", "tcp", 80]}],
    ),
    "prefixes": (
        made(IPV4, interval=True),
        [
            Element(ip("1.2.3.4"), ip("1.2.3.4")),
            Element(ip("10.0.0.0"), ip("10.255.255.255")),
            Element(ip("11.0.0.0"), ip("11.0.0.255")),
            Element(ip("12.0.0.1"), ip("12.0.0.9")),
        ],
        ["1.2.3.4", prefix("10.0.0.0", 8), prefix("11.0.0.0", 24), {"range": ["12.0.0.1", "12.0.0.9"]}],
    ),
    "everything": (made(IPV4, interval=True), [Element(bytes(4), b"\xff" * 4)], [prefix("0.0.0.0", 0)]),
    "prefixes up to the last address": (
        made(IPV6, interval=True),
        [Element(ip("fe80::"), ip("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff")), Element(ip("ff00::"), b"\xff" * 16)],
        [prefix("fe80::", 10), prefix("ff00::", 8)],
    ),
    "ranges of ports": (made(SERVICE, interval=True), [Element(port(80), port(90))], [{"range": [80, 90]}]),
    "concatenated intervals": (
        made(IPV4, SERVICE, interval=True),
        [Element(concatenate(ip("10.0.0.0"), port(80)), concatenate(ip("10.0.0.255"), port(90)))],
        [{"concat": [prefix("10.0.0.0", 24), {"range": [80, 90]}]}],
    ),
    "names to verdicts": (
        made(IFNAME, data=(VERDICT,)),
        [Element(ifname("cali1"), data=goto("other")), Element(ifname("cali2"), data=DROP)],
        [["cali1", {"goto": {"target": "other"}}], ["cali2", {"drop": None}]],
    ),
    "indexes to verdicts": (
        made(IFINDEX, data=(VERDICT,)),
        [Element(mark(1), data=jump("other"))],
        [["lo", {"jump": {"target": "other"}}]],
    ),
    "prefixes to verdicts": (
        made(IPV4, data=(VERDICT,), interval=True),
        [Element(ip("10.0.0.0"), ip("10.0.0.255"), ACCEPT)],
        [[prefix("10.0.0.0", 24), {"accept": None}]],
    ),
    "concatenated intervals to verdicts": (
        made(IPV4, SERVICE, data=(VERDICT,), interval=True),
        [Element(concatenate(ip("10.0.0.0"), port(80)), concatenate(ip("10.0.0.255"), port(80)), DROP)],
        [[{"concat": [prefix("10.0.0.0", 24), 80]}, {"drop": None}]],
    ),
    "counted ports to verdicts": (
        made(SERVICE, data=(VERDICT,), interval=True),
        [Element(port(80), port(90), ACCEPT, Figures(3, 300))],
        [[{"elem": {"val": {"range": [80, 90]}, "counter": {"packets": 3, "bytes": 300}}}, {"accept": None}]],
    ),
    "ports to addresses": (made(SERVICE, data=(IPV4,)), [Element(port(80), data=ip("10.0.0.9"))], [[80, "10.0.0.9"]]),
    "ports to addresses and ports": (
        made(SERVICE, data=(IPV4, SERVICE)),
        [Element(port(80), data=concatenate(ip("10.0.0.9"), port(8080)))],
        [[80, {"concat": ["10.0.0.9", 8080]}]],
    ),
}


@pytest.mark.parametrize(("wanted", "members", "expected"), CASES.values(), ids=CASES)
def test_a_set(
    host: Namespace, sock: NetfilterSocket, wanted: Set, members: Sequence[Element], expected: Sequence[Any]
) -> None:
    commit(sock, [chain.add(Chain(INET, TABLE, "other")), sets.add(wanted)])
    commit(sock, elements.add(wanted, members))
    assert ordered(listed(host, "s", "map" if wanted.data else "set")) == ordered(expected)
    assert sets.dump(sock, INET, TABLE) == [wanted]
    assert sorted(elements.dump(sock, wanted)) == sorted(members)

    commit(sock, elements.delete(wanted, members[:1]))
    assert sorted(elements.dump(sock, wanted)) == sorted(members[1:])
    commit(sock, [sets.flush(wanted)])
    assert elements.dump(sock, wanted) == []
    commit(sock, [sets.delete(wanted)])
    assert sets.dump(sock, INET, TABLE) == []


def ordered(members: Sequence[Any]) -> list[str]:
    """A hash lists in any order."""
    return sorted(json.dumps(member) for member in members)


def refused(sock: NetfilterSocket, wanted: Set, *members: Element) -> KernelError:
    before = elements.dump(sock, wanted)
    with pytest.raises(TransactionFailed) as caught:
        commit(sock, elements.add(wanted, members))
    assert elements.dump(sock, wanted) == before
    return caught.value.failures[0].error


class TestWhatTheKernelRefuses:
    @pytest.fixture
    def nets(self, sock: NetfilterSocket) -> Set:
        nets = made(IPV4, interval=True)
        commit(sock, [sets.add(nets), *elements.add(nets, [Element(ip("10.0.0.0"), ip("10.0.255.255"))])])
        return nets

    @pytest.mark.parametrize(
        ("first", "last"),
        [("10.0.128.0", "10.1.0.255"), ("9.0.0.0", "10.0.0.255"), ("10.0.1.0", "10.0.1.255")],
        ids=["over the end", "over the beginning", "within"],
    )
    def test_intervals_that_overlap(self, sock: NetfilterSocket, nets: Set, first: str, last: str) -> None:
        assert isinstance(refused(sock, nets, Element(ip(first), ip(last))), Exists | Refused)

    def test_concatenated_intervals_that_overlap(self, sock: NetfilterSocket) -> None:
        pairs = made(IPV4, SERVICE, interval=True)
        one = Element(concatenate(ip("10.0.0.0"), port(1)), concatenate(ip("10.0.0.255"), port(9)))
        other = Element(concatenate(ip("10.0.0.128"), port(5)), concatenate(ip("10.0.1.0"), port(20)))
        commit(sock, [sets.add(pairs)])
        commit(sock, elements.add(pairs, [one]))
        assert isinstance(refused(sock, pairs, other), Exists | Refused)

    def test_the_same_interval_again_is_nothing_new(self, sock: NetfilterSocket, nets: Set) -> None:
        before = elements.dump(sock, nets)
        commit(sock, elements.add(nets, before))
        assert elements.dump(sock, nets) == before

    def test_another_verdict_for_a_key(self, sock: NetfilterSocket) -> None:
        verdicts = made(IFNAME, data=(VERDICT,))
        commit(sock, [sets.add(verdicts), *elements.add(verdicts, [Element(ifname("a"), data=DROP)])])
        assert isinstance(refused(sock, verdicts, Element(ifname("a"), data=ACCEPT)), Exists)

    def test_a_verdict_changes_by_delete_and_add_in_one_transaction(self, sock: NetfilterSocket) -> None:
        verdicts = made(IFNAME, data=(VERDICT,))
        old, new = Element(ifname("a"), data=DROP), Element(ifname("a"), data=ACCEPT)
        commit(sock, [sets.add(verdicts), *elements.add(verdicts, [old])])
        commit(sock, [*elements.delete(verdicts, [old]), *elements.add(verdicts, [new])])
        assert elements.dump(sock, verdicts) == [new]

    def test_a_delete_of_what_is_not_there(self, sock: NetfilterSocket) -> None:
        plain = made(IPV4)
        commit(sock, [sets.add(plain)])
        with pytest.raises(TransactionFailed) as caught:
            commit(sock, elements.delete(plain, [Element(ip("10.0.0.1"))]))
        assert isinstance(caught.value.failures[0].error, Gone)

    def test_more_than_the_size(self, sock: NetfilterSocket) -> None:
        small = made(IPV4, size=2)
        commit(sock, [sets.add(small)])
        error = refused(sock, small, *(Element(ip(f"10.0.0.{last}")) for last in range(9)))
        assert isinstance(error, Refused)


def test_100_000_elements(host: Namespace, sock: NetfilterSocket) -> None:
    plain = made(IPV4, size=100_000)
    members = [Element(struct.pack(">I", 0x0A000000 + number)) for number in range(100_000)]
    commit(sock, [sets.add(plain), *elements.add(plain, members)])
    assert sorted(elements.dump(sock, plain)) == members
    assert len(listed(host, "s")) == 100_000
    commit(sock, elements.delete(plain, members[1:]))
    assert elements.dump(sock, plain) == members[:1]


@pytest.mark.parametrize("interval", [False, True])
def test_a_large_set_is_listed_in_small_steps(sock: NetfilterSocket, interval: bool) -> None:
    wanted = made(IPV4, interval=interval)
    many = [Element((0x0A000000 + 16 * n).to_bytes(4, "big")) for n in range(5000)]
    if interval:
        many = [one._replace(last=(int.from_bytes(one.key, "big") + 7).to_bytes(4, "big")) for one in many]
    commit(sock, [sets.add(wanted), *elements.add(wanted, many)])
    pieces = list(elements.walk(sock, wanted))
    assert sorted(one for piece in pieces for one in piece) == many
    assert max(map(len, pieces)) <= 0x10000 // 32  # a message, whose list of elements has 64 KiB
