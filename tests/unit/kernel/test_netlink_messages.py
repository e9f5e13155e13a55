"""Netlink messages as bytes: what we send to the letter, and that no answer can hurt."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.errors import KernelError
from tortie.kernel.netlink import address, link, message, neighbour, route, tc
from tortie.kernel.netlink.address import Address
from tortie.kernel.netlink.message import Message
from tortie.kernel.netlink.neighbour import Neighbour
from tortie.kernel.netlink.route import Route

V4 = bytes((10, 65, 0, 24))
V6 = ip_address("fd00::18").packed

packed_v4 = st.binary(min_size=4, max_size=4)
packed_v6 = st.binary(min_size=16, max_size=16)
u8 = st.integers(0, 255)
ifindexes = st.integers(1, 2**31 - 1)
macs = st.binary(min_size=6, max_size=6).map(message.mac_text)


def routes(
    size: int, length: int, ifindex: st.SearchStrategy[int] = ifindexes, plain: bool = False
) -> st.SearchStrategy[Route]:
    """Of one family; `plain` ones differ in destination and interface alone."""
    addresses = st.binary(min_size=size, max_size=size)
    return st.builds(
        Route,
        family=st.just(socket.AF_INET if size == 4 else socket.AF_INET6),
        destination=addresses,
        prefix_length=st.just(length),
        ifindex=ifindex,
        gateway=st.none() if plain else st.none() | addresses,
        metric=st.just(0),
        protocol=st.just(116),
        scope=st.just(253),
        type=st.just(1),
        table=st.just(254) if plain else st.sampled_from([254, 1000]),
        tos=st.just(0),
    )


def body(row: Route) -> bytes:
    whole = route.messages(route.NEW_ROUTE, 0x5, range(7, 8), [row])
    assert message.HEADER.unpack_from(whole) == (len(whole), route.NEW_ROUTE, 0x5, 7, 0)
    return whole[message.HEADER.size :]


def as_message(kind: int, payload: bytes) -> Message:
    return Message(kind, 0, 1, payload)


class TestRoute:
    def test_a_direct_route_is_these_bytes(self) -> None:
        row = Route(socket.AF_INET, V4, 32, ifindex=7, protocol=116, scope=route.SCOPE_LINK)
        assert body(row) == (
            struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 254, 116, 253, 1, 0)
            + struct.pack("=HH4s", 8, 1, V4)
            + struct.pack("=HHI", 8, 6, 0)
            + struct.pack("=HHI", 8, 4, 7)
        )

    def test_gateway_and_a_large_table_are_attributes(self) -> None:
        row = Route(socket.AF_INET6, V6, 128, 7, gateway=V6, metric=32, protocol=12, table=1000)
        assert body(row) == (
            struct.pack("=BBBBBBBBI", 10, 128, 0, 0, 0, 12, 0, 1, 0)
            + struct.pack("=HH16s", 20, 1, V6)
            + struct.pack("=HHI", 8, 6, 32)
            + struct.pack("=HHI", 8, 4, 7)
            + struct.pack("=HH16s", 20, 5, V6)
            + struct.pack("=HHI", 8, 15, 1000)
        )

    @given(
        packed=st.one_of(packed_v4, packed_v6),
        ifindex=ifindexes,
        via=st.booleans(),
        metric=st.integers(0, 2**32 - 1),
        protocol=u8,
        scope=u8,
        kind=u8,
        table=st.integers(1, 2**32 - 1),
        tos=u8,
    )
    def test_what_is_encoded_parses_back(
        self,
        packed: bytes,
        ifindex: int,
        via: bool,
        metric: int,
        protocol: int,
        scope: int,
        kind: int,
        table: int,
        tos: int,
    ) -> None:
        family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
        gateway = packed if via else None
        row = Route(family, packed, 8 * len(packed), ifindex, gateway, metric, protocol, scope, kind, table, tos)
        assert route.parse(as_message(route.NEW_ROUTE, body(row))) == row

    @given(rows=st.lists(st.one_of(routes(4, 32), routes(16, 128), routes(4, 32, ifindex=st.just(0))), max_size=8))
    def test_of_many_each_is_packed_as_by_itself(self, rows: list[Route]) -> None:
        self.compare(rows)

    @given(rows=st.one_of(*(st.lists(routes(*size, plain=True)) for size in ((4, 32), (16, 128)))))
    def test_of_many_that_are_alike_too(self, rows: list[Route]) -> None:
        self.compare(rows)

    @staticmethod
    def compare(rows: list[Route]) -> None:
        numbers = range(2**32 - 1 - len(rows), 2**32 - 1)
        one_by_one = [route.messages(24, 0x5, range(n, n + 1), [row]) for n, row in zip(numbers, rows, strict=True)]
        assert route.messages(24, 0x5, numbers, rows) == b"".join(one_by_one)

    def test_a_default_route_has_no_destination_attribute(self) -> None:
        payload = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0) + struct.pack("=HH4s", 8, 5, V4)
        found = route.parse(as_message(route.NEW_ROUTE, payload))
        assert found == Route(2, bytes(4), 0, 0, V4, protocol=3)

    def test_a_route_of_another_family_is_left_out(self) -> None:
        payload = struct.pack("=BBBBBBBBI", socket.AF_MPLS if hasattr(socket, "AF_MPLS") else 28, *bytes(8))
        assert route.parse(as_message(route.NEW_ROUTE, payload)) is None

    def test_an_address_of_the_wrong_family_is_an_error(self) -> None:
        payload = struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 254, 3, 0, 1, 0) + struct.pack("=HH16s", 20, 1, V6)
        with pytest.raises(KernelError, match="malformed"):
            route.parse(as_message(route.NEW_ROUTE, payload))

    def test_a_route_reads_as_text(self) -> None:
        row = Route(socket.AF_INET, V4, 32, 7, metric=3, protocol=116)
        assert str(row) == "10.65.0.24/32 dev 7 metric 3 proto 116 table 254"


class TestAddress:
    def test_an_address_is_these_bytes(self) -> None:
        row = Address(7, V4, 32, scope=254, flags=address.FLAG_NOPREFIXROUTE, protocol=116)
        assert address.encode(row) == (
            struct.pack("=BBBBI", 2, 32, 0, 254, 7)
            + struct.pack("=HH4s", 8, 2, V4)
            + struct.pack("=HH4s", 8, 1, V4)
            + struct.pack("=HHI", 8, 8, 0x200)
            + struct.pack("=HHB3x", 5, 11, 116)
        )

    @given(st.one_of(packed_v4, packed_v6), ifindexes, u8, st.integers(0, 2**32 - 1), u8)
    def test_what_is_encoded_parses_back(
        self, packed: bytes, ifindex: int, scope: int, flags: int, protocol: int
    ) -> None:
        row = Address(ifindex, packed, 8 * len(packed), scope, flags, protocol)
        assert address.parse(as_message(address.NEW_ADDRESS, address.encode(row))) == row

    def test_with_a_peer_the_local_address_counts(self) -> None:
        peer = bytes((10, 0, 0, 2))
        payload = (
            struct.pack("=BBBBI", 2, 32, 0x80, 0, 7) + struct.pack("=HH4s", 8, 1, peer) + struct.pack("=HH4s", 8, 2, V4)
        )
        found = address.parse(as_message(address.NEW_ADDRESS, payload))
        assert found == Address(7, V4, 32, flags=address.FLAG_PERMANENT)


class TestNeighbour:
    def test_a_permanent_entry_is_these_bytes(self) -> None:
        row = Neighbour(7, V4, "02:00:00:00:00:18", protocol=116)
        assert neighbour.encode(row) == (
            struct.pack("=BBHiHBB", 2, 0, 0, 7, 0x80, 0, 0)
            + struct.pack("=HH4s", 8, 1, V4)
            + struct.pack("=HH6s2x", 10, 2, bytes.fromhex("020000000018"))
            + struct.pack("=HHB3x", 5, 12, 116)
        )

    @given(st.one_of(packed_v4, packed_v6), ifindexes, macs, st.integers(0, 2**16 - 1), u8)
    def test_what_is_encoded_parses_back(
        self, packed: bytes, ifindex: int, mac: str, state: int, protocol: int
    ) -> None:
        row = Neighbour(ifindex, packed, mac, state, protocol)
        assert neighbour.parse(as_message(neighbour.NEW_NEIGHBOUR, neighbour.encode(row))) == row

    def test_a_bridge_forwarding_entry_is_left_out(self) -> None:
        payload = struct.pack("=BBHiHBB", 7, 0, 0, 7, 0x80, 0, 0) + struct.pack("=HH6s2x", 10, 2, bytes(6))
        assert neighbour.parse(as_message(neighbour.NEW_NEIGHBOUR, payload)) is None


class TestLink:
    def test_a_message_about_a_bridge_port_is_no_link(self) -> None:
        payload = struct.pack("=BBHiII", 7, 0, 1, 7, 0, 0) + message.text(3, "port")
        assert link.parse(as_message(link.DELETE_LINK, payload)) is None

    def test_a_name_that_is_no_utf8_survives(self) -> None:
        payload = struct.pack("=BBHiII", 0, 0, 1, 7, 0, 0) + message.attribute(3, b"caf\xe9\0")
        found = link.parse(as_message(link.NEW_LINK, payload))
        assert found is not None
        assert message.text(3, found.name) == message.attribute(3, b"caf\xe9\0")


class TestVerdict:
    HEADER = struct.pack("=IHHII", 44, 24, 5, 1, 0)

    def test_a_bare_error(self) -> None:
        found = message.parse_verdict(Message(message.ERROR, 0, 1, struct.pack("=i", -17) + self.HEADER))
        assert found == (17, "")

    def test_the_kernels_words_follow_the_capped_request(self) -> None:
        payload = struct.pack("=i", -101) + self.HEADER + message.text(1, "Nexthop has invalid gateway")
        flags = message.CAPPED | message.ACK_TLVS
        found = message.parse_verdict(Message(message.ERROR, flags, 1, payload))
        assert found == (101, "Nexthop has invalid gateway")

    def test_or_the_whole_request(self) -> None:
        payload = struct.pack("=i", -22) + self.HEADER + bytes(28) + message.text(1, "no")
        assert message.parse_verdict(Message(message.ERROR, message.ACK_TLVS, 1, payload)) == (22, "no")

    def test_and_the_result_alone_at_the_end_of_a_dump(self) -> None:
        payload = struct.pack("=i", -2) + message.text(1, "FIB table does not exist")
        found = message.parse_verdict(Message(message.DONE, message.ACK_TLVS, 1, payload))
        assert found == (2, "FIB table does not exist")


PARSERS: list[Callable[[Message], object]] = [
    route.parse,
    address.parse,
    neighbour.parse,
    link.parse,
    tc.parse,
    message.parse_verdict,
]


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__module__.rpartition(".")[2])
class TestGarbage:
    @given(payload=st.binary(max_size=200), flags=st.sampled_from((0, 0x200, 0x300)))
    def test_never_raises_anything_but_our_error(
        self, parse: Callable[[Message], object], payload: bytes, flags: int
    ) -> None:
        with contextlib.suppress(KernelError):
            parse(Message(2, flags, 1, payload))

    @given(family=st.sampled_from((0, 2, 10)), rest=st.binary(max_size=100), data=st.data())
    def test_also_behind_a_plausible_head(
        self, parse: Callable[[Message], object], family: int, rest: bytes, data: st.DataObject
    ) -> None:
        attributes = b"".join(
            message.attribute(kind, data.draw(st.binary(max_size=20)))
            for kind in data.draw(st.lists(st.integers(0, 40), max_size=5))
        )
        for head in (8, 12, 16, 20):
            with contextlib.suppress(KernelError):
                parse(Message(24, 0, 1, bytes((family,)).ljust(head, b"\0") + attributes + rest))


@given(st.binary(max_size=300))
def test_a_garbled_datagram_never_raises_anything_but_our_error(datagram: bytes) -> None:
    with contextlib.suppress(KernelError):
        message.parse_messages(datagram)


def test_a_datagram_cut_anywhere_is_an_error_or_whole_messages() -> None:
    one = struct.pack("=IHHII", 20, 24, 2, 5, 0) + b"abcd"
    assert message.parse_messages(one + one) == [Message(24, 2, 5, b"abcd")] * 2
    for cut in range(1, 20):
        with pytest.raises(KernelError):
            message.parse_messages(one + one[:cut])


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=50), max_size=10))
def test_attributes_round_trip(attributes: dict[int, bytes]) -> None:
    packed = b"".join(message.attribute(kind, value) for kind, value in attributes.items())
    assert message.parse_attributes(packed) == attributes
    assert len(packed) % 4 == 0
