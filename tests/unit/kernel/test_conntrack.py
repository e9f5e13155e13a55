"""Connections as messages of ctnetlink (include/uapi/linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.test_netfilter_expressions import attribute, be32
from tortie.kernel.netfilter import conntrack
from tortie.kernel.netfilter.conntrack import Connection, Filter, Status, Tuple
from tortie.kernel.netlink.message import Message, parse_attributes

NESTED = 0x8000
A4, B4 = ip_address("10.0.0.1").packed, ip_address("10.0.0.2").packed
A6, B6 = ip_address("fd00::1").packed, ip_address("fd00::2").packed


def tuple_of_the_kernel(source: bytes, destination: bytes, transport: bytes) -> bytes:
    first = 1 if len(source) == 4 else 3
    addresses = attribute(first, source) + attribute(first + 1, destination)
    return attribute(1 | NESTED, addresses) + attribute(2 | NESTED, transport)


def ports(protocol: int, source: int, destination: int) -> bytes:
    return attribute(1, bytes((protocol,))) + b"".join(
        attribute(kind, struct.pack(">H", port)) for kind, port in ((2, source), (3, destination))
    )


def icmp(protocol: int, first: int, identifier: int, kind: int, code: int) -> bytes:
    return (
        attribute(1, bytes((protocol,)))
        + attribute(first, struct.pack(">H", identifier))
        + attribute(first + 1, bytes((kind,)))
        + attribute(first + 2, bytes((code,)))
    )


TUPLES = {
    "TCP, IPv4": (tuple_of_the_kernel(A4, B4, ports(6, 1234, 80)), Tuple(A4, B4, 6, 1234, 80)),
    "UDP, IPv6": (tuple_of_the_kernel(A6, B6, ports(17, 1234, 53)), Tuple(A6, B6, 17, 1234, 53)),
    "SCTP": (tuple_of_the_kernel(A4, B4, ports(132, 1, 2)), Tuple(A4, B4, 132, 1, 2)),
    "UDP-Lite": (tuple_of_the_kernel(A6, B6, ports(136, 1, 2)), Tuple(A6, B6, 136, 1, 2)),
    "ICMP": (
        tuple_of_the_kernel(A4, B4, icmp(1, 4, 77, 8, 0)),
        Tuple(A4, B4, 1, icmp_id=77, icmp_type=8),
    ),
    "ICMPv6": (
        tuple_of_the_kernel(A6, B6, icmp(58, 7, 77, 128, 3)),
        Tuple(A6, B6, 58, icmp_id=77, icmp_type=128, icmp_code=3),
    ),
    "no ports": (tuple_of_the_kernel(A4, B4, attribute(1, b"\x59")), Tuple(A4, B4, 89)),
}


@pytest.mark.parametrize(("data", "expected"), TUPLES.values(), ids=TUPLES)
def test_a_tuple_is_parsed(data: bytes, expected: Tuple) -> None:
    assert conntrack.parse_tuple(data) == expected


@pytest.mark.parametrize("name", ["TCP, IPv4", "UDP, IPv6"])
def test_the_quick_way_and_the_careful_one_agree(name: str) -> None:
    data, expected = TUPLES[name]
    unusual = data + attribute(3, b"\0\1")  # a zone of this direction
    assert conntrack.parse_tuple(unusual) == conntrack.parse_tuple(data) == expected


@given(
    st.sampled_from([(A4, B4), (A6, B6)]),
    st.sampled_from([6, 17, 33, 47, 132, 136]),
    st.integers(0, 65535),
    st.integers(0, 65535),
)
def test_a_tuple_with_ports_parses_back(pair: tuple[bytes, bytes], protocol: int, source: int, target: int) -> None:
    wanted = Tuple(*pair, protocol, source, target)
    assert conntrack.parse_tuple(parse_attributes(conntrack.encode_tuple(1, wanted))[1]) == wanted


@given(st.integers(0, 65535), st.integers(0, 255), st.integers(0, 255))
def test_a_tuple_of_icmp_parses_back(identifier: int, kind: int, code: int) -> None:
    for wanted in (Tuple(A4, B4, 1, 0, 0, identifier, kind, code), Tuple(A6, B6, 58, 0, 0, identifier, kind, code)):
        assert conntrack.parse_tuple(parse_attributes(conntrack.encode_tuple(1, wanted))[1]) == wanted


def test_a_connection_is_parsed() -> None:
    original, reply = tuple_of_the_kernel(A4, B4, ports(6, 1234, 80)), tuple_of_the_kernel(B4, A4, ports(6, 80, 1234))
    payload = (
        b"\2\0\0\0"
        + attribute(1 | NESTED, original)
        + attribute(2 | NESTED, reply)
        + be32(3, 0x18E)
        + be32(7, 431999)
        + be32(8, 0xABCD)
        + be32(12, 99)
        + attribute(18, b"\0\7")
    )
    found = conntrack.parse(Message(0x100, 0, 0, payload))
    expected = Connection(Tuple(A4, B4, 6, 1234, 80), Tuple(B4, A4, 6, 80, 1234), 0x18E, 0xABCD, 431999, 99, 7)
    assert found == expected
    assert (
        Status(found.status) & (Status.ASSURED | Status.SEEN_REPLY | Status.DYING) == Status.ASSURED | Status.SEEN_REPLY
    )
    assert str(found) == "10.0.0.1 1234 -> 10.0.0.2 80 proto 6"


def test_an_expected_connection_names_the_one_that_it_belongs_to() -> None:
    control, data = ports(6, 1234, 21), ports(6, 20, 1235)
    payload = (
        b"\2\0\0\0"
        + attribute(1 | NESTED, tuple_of_the_kernel(B4, A4, data))
        + attribute(2 | NESTED, tuple_of_the_kernel(A4, B4, ports(6, 1235, 20)))
        + attribute(14 | NESTED, tuple_of_the_kernel(A4, B4, control))
        + be32(3, Status.EXPECTED)
    )
    assert conntrack.parse(Message(0x100, 0, 0, payload)).master == Tuple(A4, B4, 6, 1234, 21)


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (Filter(), True),
        (Filter(mark=0x10, mark_mask=0xF0), True),
        (Filter(mark=0x20, mark_mask=0xF0), False),
        (Filter(status=Status.ASSURED, status_mask=Status.ASSURED), True),
        (Filter(status_mask=Status.ASSURED), False),
        (Filter(zone=3), True),
        (Filter(zone=0), False),
    ],
)
def test_a_filter_matches_what_the_kernel_would(wanted: Filter, matches: bool) -> None:
    either = Tuple(A4, B4, 6)
    assert wanted.matches(Connection(either, either, status=0x0E, mark=0x15, zone=3)) is matches
