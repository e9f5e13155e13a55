"""Tables, chains, rules, sets and elements: as bytes, and parsed back."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.test_netfilter_expressions import attribute, be32, be64, value
from tortie.errors import KernelError
from tortie.kernel.netfilter import chain, conntrack, datatype, elements, nflog, rule, sets, table
from tortie.kernel.netfilter.chain import Chain, Hook, InetHook, NetdevHook
from tortie.kernel.netfilter.change import Change
from tortie.kernel.netfilter.datatype import ETHER, IFNAME, IPV4, IPV6, MARK, PROTOCOL, SERVICE, VERDICT, DataType
from tortie.kernel.netfilter.elements import Element
from tortie.kernel.netfilter.expression import VERDICT_REGISTER, Lookup, Meta, MetaKey
from tortie.kernel.netfilter.message import Family, parse_list
from tortie.kernel.netfilter.rule import Figures, Rule
from tortie.kernel.netfilter.sets import Set
from tortie.kernel.netfilter.statement import Counter, Decide
from tortie.kernel.netfilter.table import OWNED, Table, TableFlag
from tortie.kernel.netfilter.verdict import DROP, Code, Verdict, goto, jump
from tortie.kernel.netlink.message import Message, parse_attributes

INET = b"\1\0\0\0"  # family, version, resource
NAME = attribute(1, b"t\0")
BODY = rule.body([Meta(MetaKey.MARK), Decide(DROP)])

names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
families = st.sampled_from([Family.INET, Family.IP, Family.IP6, Family.ARP, Family.NETDEV])


def v4(text: str) -> bytes:
    return ip_address(text).packed


def message(change: Change) -> Message:
    return Message(0, 0, 0, change.payload)


class TestTable:
    def test_an_owned_table_is_these_bytes(self) -> None:
        assert table.put(Table(Family.INET, "t", OWNED)) == (0, 0x400, INET + NAME + be32(2, 6))

    @given(families, names, st.sampled_from([TableFlag(0), OWNED, TableFlag.DORMANT]))
    def test_parses_back(self, family: Family, name: str, flags: TableFlag) -> None:
        assert table.parse(message(table.put(Table(family, name, flags)))) == Table(family, name, flags)


class TestChain:
    def test_a_base_chain_is_these_bytes(self) -> None:
        wanted = Chain(Family.INET, "t", "c", Hook(InetHook.FORWARD, -5, Code.DROP))
        assert chain.add(wanted) == (
            3,
            0x600,
            INET
            + NAME
            + attribute(3, b"c\0")
            + attribute(4, be32(1, 2) + be32(2, -5))
            + be32(5, 0)
            + attribute(7, b"filter\0"),
        )

    def test_a_chain_of_a_device_names_it(self) -> None:
        wanted = Chain(Family.NETDEV, "t", "c", Hook(NetdevHook.INGRESS, device="eth0"))
        assert attribute(4, be32(1, 0) + be32(2, 0) + attribute(3, b"eth0\0")) in chain.add(wanted).payload

    @given(
        families,
        names,
        st.none()
        | st.builds(
            Hook,
            st.integers(0, 5),
            st.integers(-(2**31), 2**31 - 1),
            st.sampled_from([Code.ACCEPT, Code.DROP]),
            st.sampled_from(["filter", "nat"]),
            st.just("") | names,
        ),
    )
    def test_parses_back(self, family: Family, name: str, hook: Hook | None) -> None:
        wanted = Chain(family, "t", name, hook)
        assert chain.parse(message(chain.add(wanted))) == wanted

    def test_flush_names_no_rule(self) -> None:
        assert chain.flush(Chain(Family.INET, "t", "c")) == (8, 0, INET + NAME + attribute(2, b"c\0"))


class TestRule:
    RULE = Rule(Family.INET, "t", "c", BODY)
    HEAD = INET + NAME + attribute(2, b"c\0")

    @pytest.mark.parametrize(
        ("change", "flags", "where"),
        [
            (rule.append(RULE), 0xC00, b""),
            (rule.append(RULE, after=7), 0xC00, be64(6, 7)),
            (rule.insert(RULE), 0x400, b""),
            (rule.insert(RULE, before=7), 0x400, be64(6, 7)),
            (rule.replace(RULE._replace(handle=7)), 0x100, be64(3, 7)),
        ],
        ids=["append", "after", "insert", "before", "replace"],
    )
    def test_where_a_rule_goes(self, change: Change, flags: int, where: bytes) -> None:
        assert change == (6, flags, self.HEAD + where + attribute(4, BODY))

    def test_a_comment_is_userdata_of_nft(self) -> None:
        comment = attribute(7, b"\0\3hi\0")
        assert rule.append(self.RULE._replace(comment="hi")).payload == self.HEAD + attribute(4, BODY) + comment

    def test_a_comment_has_128_bytes(self) -> None:
        assert rule.append(self.RULE._replace(comment="\u00e9" * 64))
        with pytest.raises(ValueError, match="130 bytes"):
            rule.append(self.RULE._replace(comment="\u00e9" * 65))

    def test_delete_names_the_handle(self) -> None:
        assert rule.delete(self.RULE._replace(handle=9)) == (8, 0, self.HEAD + be64(3, 9))

    @given(families, names, st.text(st.characters(blacklist_characters="\0", codec="utf-8"), max_size=30))
    def test_parses_back(self, family: Family, name: str, comment: str) -> None:
        wanted = Rule(family, "t", name, BODY, comment)
        assert rule.parse(message(rule.append(wanted))) == wanted

    def test_counters_go_on_from_what_they_counted(self) -> None:
        expressions = rule.body([Counter(), Meta(MetaKey.MARK), Counter(9, 900)])
        counted = [Figures(3, 300), Figures(4, 400)]
        assert rule.figures(rule.resumed(expressions, counted)) == counted
        assert rule.zeroed(rule.resumed(expressions, counted)) == rule.zeroed(expressions)
        assert rule.resumed(BODY, []) == BODY

    def test_the_sets_that_it_asks(self) -> None:
        expressions = rule.body([Meta(MetaKey.MARK), Lookup("a"), Counter(), Lookup("b", into=VERDICT_REGISTER)])
        assert list(rule.lookups(expressions)) == ["a", "b"]
        assert list(rule.lookups(BODY)) == []


SETS = {
    "hash": Set(Family.INET, "t", "s", (IPV4,), size=65536),
    "interval": Set(Family.INET, "t", "s", (IPV6,), interval=True),
    "concatenation": Set(Family.INET, "t", "s", (IFNAME, ETHER, IPV4)),
    "concatenated intervals": Set(Family.INET, "t", "s", (IPV4, SERVICE), interval=True),
    "verdict map": Set(Family.IP, "t", "s", (IFNAME,), (VERDICT,), size=9),
    "data map": Set(Family.INET, "t", "s", (PROTOCOL,), (MARK,)),
    "map to a concatenation": Set(Family.INET, "t", "s", (SERVICE,), (IPV4, SERVICE)),
}


class TestSet:
    def test_a_hash_of_addresses_is_these_bytes(self) -> None:
        body = INET + NAME + attribute(2, b"s\0") + be32(3, 0) + be32(4, 7) + be32(5, 4) + be32(10, 1)
        order = attribute(13, b"\0\4" + struct.pack("=I", 2))
        assert sets.add(SETS["hash"]) == (9, 0x600, body + attribute(9, be32(1, 65536)) + order)

    def test_concatenated_intervals_describe_their_fields(self) -> None:
        payload = sets.add(SETS["concatenated intervals"]).payload
        fields = attribute(1, be32(1, 4)) + attribute(1, be32(1, 2))
        assert be32(3, 0x84) + be32(4, 7 << 6 | 13) + be32(5, 8) in payload
        assert attribute(9, attribute(2, fields)) in payload

    def test_a_verdict_map_has_the_type_of_verdicts(self) -> None:
        payload = sets.add(SETS["verdict map"]).payload
        assert be32(3, 8) + be32(4, 41) + be32(5, 16) in payload
        assert be32(6, 0xFFFFFF00) + be32(7, 0) in payload
        # A name is in the order of the host, a verdict in none.
        assert attribute(13, b"\0\4" + struct.pack("=I", 1) + b"\1\4" + struct.pack("=I", 0)) in payload

    @pytest.mark.parametrize("wanted", SETS.values(), ids=SETS)
    def test_parses_back(self, wanted: Set) -> None:
        assert sets.parse(message(sets.add(wanted))) == wanted

    def test_an_unknown_type_stands_for_itself(self) -> None:
        foreign = Set(Family.INET, "t", "s", (DataType(26, 4),))
        assert sets.parse(message(sets.add(foreign))) == foreign
        mixed = datatype.from_number(7 << 6 | 26, 8)
        assert mixed == (DataType(7 << 6 | 26, 8),)


class TestElements:
    def test_an_address_is_these_bytes(self) -> None:
        (change,) = elements.add(SETS["hash"], [Element(v4("10.0.0.1"))])
        entry = attribute(1, value(1, v4("10.0.0.1")))
        assert change == (12, 0x400, INET + NAME + attribute(2, b"s\0") + attribute(3, entry))

    def test_an_interval_is_its_begin_and_what_comes_behind_its_end(self) -> None:
        wanted = Set(Family.INET, "t", "s", (IPV4,), interval=True)
        assert elements.encode(wanted, Element(v4("10.0.0.0"), v4("10.0.0.255"))) == (
            attribute(1, value(1, v4("10.0.0.0"))) + attribute(1, value(1, v4("10.0.1.0")) + be32(3, 1))
        )

    def test_one_address_is_an_interval_too(self) -> None:
        wanted = Set(Family.INET, "t", "s", (IPV4,), interval=True)
        one = v4("10.0.0.9")
        assert elements.encode(wanted, Element(one)) == elements.encode(wanted, Element(one, one))

    def test_an_interval_up_to_the_last_key_has_no_end(self) -> None:
        wanted = Set(Family.INET, "t", "s", (IPV4,), interval=True)
        packed = elements.encode(wanted, Element(v4("224.0.0.0"), v4("255.255.255.255")))
        assert packed == attribute(1, value(1, v4("224.0.0.0")) + attribute(6, b"\1\4" + struct.pack("=I", 1)))

    def test_concatenated_intervals_have_both_ends(self) -> None:
        first, last = b"\x0a\0\0\0\0\x50\0\0", b"\x0a\0\0\xff\0\x5a\0\0"
        packed = elements.encode(SETS["concatenated intervals"], Element(first, last))
        assert packed == attribute(1, value(1, first) + value(10, last))

    def test_the_data_of_a_map(self) -> None:
        key = datatype.ifname("eth0")
        packed = elements.encode(SETS["verdict map"], Element(key, data=jump("c")))
        assert packed == attribute(1, value(1, key) + attribute(2, attribute(2, be32(1, -3) + attribute(2, b"c\0"))))
        packed = elements.encode(SETS["data map"], Element(b"\6", data=b"\0\0\0\1"))
        assert packed == attribute(1, value(1, b"\6") + value(2, b"\0\0\0\1"))

    def test_a_delete_has_no_data(self) -> None:
        (change,) = elements.delete(SETS["data map"], [Element(b"\6", data=b"\0\0\0\1")])
        assert change.operation == 14
        assert change.payload.endswith(attribute(3, attribute(1, value(1, b"\6"))))

    @pytest.mark.parametrize("name", ["hash", "interval"])
    def test_many_are_split_into_messages_that_hold_them(self, name: str) -> None:
        wanted = SETS[name]._replace(key=(IPV4,))
        many = [Element(struct.pack(">I", 2 * number)) for number in range(10_000)]
        changes = elements.add(wanted, many)
        assert all(len(change.payload) < 0x10000 + 20 for change in changes)
        lists = [parse_attributes(change.payload, 4)[3] for change in changes]
        packed = b"".join(elements.encode(wanted, one) for one in many)
        assert b"".join(lists) == packed

    @given(st.sampled_from([IPV4, PROTOCOL, SERVICE, ETHER, IPV6]), st.data())
    def test_parse_back(self, kind: DataType, data: st.DataObject) -> None:
        keys = data.draw(st.lists(st.binary(min_size=kind.length, max_size=kind.length), unique=True, min_size=1))
        verdicts = st.sampled_from([None, DROP, goto("chain"), b"abcd"])
        many = [Element(key, data=data.draw(verdicts)) for key in keys]
        wanted = Set(Family.INET, "t", "s", (kind,), (VERDICT,))
        (change,) = elements.add(wanted, many)
        assert elements._parse(message(change)) == many

    @given(st.lists(st.integers(0, 255), unique=True, min_size=2).map(sorted))
    def test_intervals_parse_back(self, edges: list[int]) -> None:
        pairs = zip(edges[::2], edges[1::2], strict=False)
        many = [Element(bytes((first,)), bytes((last,)), DROP) for first, last in pairs]
        wanted = Set(Family.INET, "t", "s", (PROTOCOL,), (VERDICT,), interval=True)
        (change,) = elements.add(wanted, many)
        pieces = elements._intervals([elements._parse_ends(message(change))])
        assert [one for piece in pieces for one in piece] == many

    def test_adjacent_intervals_stay_two(self) -> None:
        many = [Element(b"\0", b"\x0f"), Element(b"\x10", b"\xff")]
        wanted = Set(Family.INET, "t", "s", (PROTOCOL,), interval=True)
        (change,) = elements.add(wanted, many)
        pieces = elements._intervals([elements._parse_ends(message(change))])
        assert [one for piece in pieces for one in piece] == many


def test_a_verdict_reads_as_text() -> None:
    assert [str(verdict) for verdict in (DROP, Verdict(Code.JUMP, "c"))] == ["drop", "jump c"]


PARSERS = [
    *(table.parse, chain.parse, rule.parse, sets.parse, elements._parse, elements._parse_ends),
    *(conntrack.parse, nflog.parse),
]


@pytest.mark.parametrize("parse", PARSERS)
@given(st.binary(max_size=60), st.integers(0, 12), st.binary(max_size=40))
def test_no_message_is_worse_than_an_error(
    parse: Callable[[Message], object], head: bytes, kind: int, content: bytes
) -> None:
    for payload in (head, INET + attribute(kind, content), INET + attribute(kind, attribute(kind, content))):
        with contextlib.suppress(KernelError):
            parse(Message(0, 0, 0, payload))


@given(st.binary(max_size=60))
def test_no_list_is_worse_than_an_error(data: bytes) -> None:
    with contextlib.suppress(KernelError):
        list(parse_list(data))
