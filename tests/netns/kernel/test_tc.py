"""clsact and its filters in a real kernel, with `tc` as the judge."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.netns.conftest import NetnsFactory
from tests.netns.kernel.oracle import veth
from tests.netns.kernel.responder import loaded
from tortie.errors import Gone, Refused
from tortie.kernel.bpf.program import Program
from tortie.kernel.netlink import tc
from tortie.kernel.netlink.tc import Hook

PRIORITY = 116


@pytest.fixture
def program() -> Iterator[Program]:
    with loaded() as responder:
        yield responder.program


def test_a_program_is_attached_as_tc_shows_it(netns: NetnsFactory, program: Program) -> None:
    namespace = netns("a")
    with namespace.netlink() as sock:
        ifindex = veth(sock).ifindex
        tc.add_clsact(sock, ifindex)
        tc.put_filter(sock, ifindex, Hook.INGRESS, PRIORITY, 1, "responder", program.descriptor)
        info = program.info()
        assert tc.filters(sock, ifindex, Hook.INGRESS) == [
            tc.Filter(ifindex, Hook.INGRESS, PRIORITY, 1, "bpf", "responder", info.id, info.tag)
        ]
        assert tc.filters(sock, ifindex, Hook.EGRESS) == []
    shown = json.loads(namespace.run("tc -json filter show dev host0 ingress"))
    (row,) = [row for row in shown if row.get("options", {}).get("handle")]
    assert (row["pref"], row["protocol"], row["options"]["bpf_name"]) == (PRIORITY, "all", "responder")
    assert row["options"]["direct-action"] is True
    assert row["options"]["prog"]["id"] == info.id
    assert row["options"]["prog"]["tag"] == info.tag


def test_the_program_outlives_its_descriptor_and_is_found_again(netns: NetnsFactory) -> None:
    with netns("a").netlink() as sock:
        ifindex = veth(sock).ifindex
        tc.add_clsact(sock, ifindex)
        with loaded() as responder:
            tc.put_filter(sock, ifindex, Hook.EGRESS, PRIORITY, 1, "responder", responder.program.descriptor)
        (row,) = tc.filters(sock, ifindex, Hook.EGRESS)
        with Program.by_id(row.program_id) as again:
            assert again.info().tag == row.tag
        tc.delete_filter(sock, ifindex, Hook.EGRESS, PRIORITY, 1)
        assert tc.filters(sock, ifindex, Hook.EGRESS) == []


def test_a_program_is_replaced_in_its_place(netns: NetnsFactory, program: Program) -> None:
    with netns("a").netlink() as sock, loaded() as other:
        ifindex = veth(sock).ifindex
        tc.add_clsact(sock, ifindex)
        tc.put_filter(sock, ifindex, Hook.INGRESS, PRIORITY, 1, "old", program.descriptor)
        tc.put_filter(sock, ifindex, Hook.INGRESS, PRIORITY, 1, "new", other.program.descriptor)
        (row,) = tc.filters(sock, ifindex, Hook.INGRESS)
        assert (row.name, row.program_id) == ("new", other.program.info().id)


def test_filters_are_listed_in_the_order_they_run(netns: NetnsFactory, program: Program) -> None:
    namespace = netns("a")
    with namespace.netlink() as sock:
        ifindex = veth(sock).ifindex
        tc.add_clsact(sock, ifindex)
        tc.put_filter(sock, ifindex, Hook.INGRESS, 200, 1, "last", program.descriptor)
        tc.put_filter(sock, ifindex, Hook.INGRESS, 100, 1, "ours", program.descriptor)
        namespace.run("tc filter add dev host0 ingress pref 50 protocol ip u32 match u32 0 0")
        rows = tc.filters(sock, ifindex, Hook.INGRESS)
        # u32 shows its hash table as a row of its own.
        assert list(dict.fromkeys((row.priority, row.kind, row.name) for row in rows)) == [
            (50, "u32", ""),
            (100, "bpf", "ours"),
            (200, "bpf", "last"),
        ]


def test_hooks_that_stand_are_left_alone(netns: NetnsFactory, program: Program) -> None:
    namespace = netns("a")
    with namespace.netlink() as sock:
        ifindex = veth(sock).ifindex
        tc.add_clsact(sock, ifindex)
        tc.put_filter(sock, ifindex, Hook.INGRESS, PRIORITY, 1, "responder", program.descriptor)
        tc.add_clsact(sock, ifindex)
        assert len(tc.filters(sock, ifindex, Hook.INGRESS)) == 1


def test_the_older_ingress_qdisc_serves_as_well(netns: NetnsFactory, program: Program) -> None:
    namespace = netns("a")
    with namespace.netlink() as sock:
        ifindex = veth(sock).ifindex
        namespace.run("tc qdisc add dev host0 ingress")
        tc.add_clsact(sock, ifindex)
        tc.put_filter(sock, ifindex, Hook.INGRESS, PRIORITY, 1, "responder", program.descriptor)
        assert [row.name for row in tc.filters(sock, ifindex, Hook.INGRESS)] == ["responder"]
        tc.delete_filter(sock, ifindex, Hook.INGRESS, PRIORITY, 1)
        assert tc.filters(sock, ifindex, Hook.INGRESS) == []


def test_deletion_may_be_repeated_and_touches_no_other(netns: NetnsFactory, program: Program) -> None:
    with netns("a").netlink() as sock:
        ifindex = veth(sock).ifindex
        tc.delete_filter(sock, ifindex, Hook.INGRESS, PRIORITY, 1)
        tc.delete_clsact(sock, ifindex)
        tc.add_clsact(sock, ifindex)
        tc.delete_filter(sock, ifindex, Hook.INGRESS, PRIORITY, 1)
        tc.put_filter(sock, ifindex, Hook.INGRESS, PRIORITY, 1, "ours", program.descriptor)
        tc.put_filter(sock, ifindex, Hook.INGRESS, PRIORITY, 2, "second", program.descriptor)
        tc.put_filter(sock, ifindex, Hook.INGRESS, 7, 1, "theirs", program.descriptor)
        for _ in range(2):
            tc.delete_filter(sock, ifindex, Hook.INGRESS, PRIORITY, 1)
            assert [row.name for row in tc.filters(sock, ifindex, Hook.INGRESS)] == ["theirs", "second"]
        tc.delete_clsact(sock, ifindex)
        assert tc.filters(sock, ifindex, Hook.INGRESS) == []
        tc.delete_clsact(sock, ifindex)


def test_an_ingress_qdisc_of_somebody_else_is_not_deleted(netns: NetnsFactory) -> None:
    namespace = netns("a")
    with namespace.netlink() as sock:
        ifindex = veth(sock).ifindex
        namespace.run("tc qdisc add dev host0 ingress")
        tc.delete_clsact(sock, ifindex)
        assert "qdisc ingress" in namespace.run("tc qdisc show dev host0")


def test_a_link_that_is_not_there(netns: NetnsFactory, program: Program) -> None:
    with netns("a").netlink() as sock:
        assert tc.filters(sock, 4711, Hook.INGRESS) == []
        with pytest.raises(Gone):
            tc.add_clsact(sock, 4711)
        with pytest.raises(Gone):
            tc.put_filter(sock, 4711, Hook.INGRESS, PRIORITY, 1, "responder", program.descriptor)
        tc.delete_filter(sock, 4711, Hook.INGRESS, PRIORITY, 1)
        tc.delete_clsact(sock, 4711)


def test_no_filter_without_hooks(netns: NetnsFactory, program: Program) -> None:
    with netns("a").netlink() as sock:
        ifindex = veth(sock).ifindex
        with pytest.raises((Refused, Gone), match="attach responder to link"):
            tc.put_filter(sock, ifindex, Hook.INGRESS, PRIORITY, 1, "responder", program.descriptor)


def test_a_descriptor_that_is_no_program_is_refused(netns: NetnsFactory) -> None:
    namespace = netns("a")
    with namespace.netlink() as sock, open(namespace.path) as file:  # noqa: PTH123
        ifindex = veth(sock).ifindex
        tc.add_clsact(sock, ifindex)
        with pytest.raises(Refused):
            tc.put_filter(sock, ifindex, Hook.INGRESS, PRIORITY, 1, "responder", file.fileno())
