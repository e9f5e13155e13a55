"""One endpoint and its link -> rows, as text: what is wanted when, in both families."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tortie.dataplane.l3.render import render_endpoint
from tortie.dataplane.l3.rows import Kind, RowKey, Rows
from tortie.intent.l3 import EndpointKey, LocalEndpoint
from tortie.kernel.netlink.link import FLAG_LOWER_UP, FLAG_RUNNING, FLAG_UP, Link

PROGRAM = 7
KEY = EndpointKey("WorkloadEndpoint", "default", "w")
ENDPOINT = LocalEndpoint(
    key=KEY, interface="cali1", mac="02:00:00:00:00:01", addresses=(ip_address("10.65.0.24"), ip_address("fd00::24"))
)
DOWN, UP, RUNNING = 0, FLAG_UP, FLAG_UP | FLAG_LOWER_UP | FLAG_RUNNING


def link(flags: int, kind: str = "veth") -> Link:
    return Link(
        ifindex=5,
        name="cali1",
        flags=flags,
        mac="02:aa:00:00:00:05",
        mtu=1500,
        master=0,
        kind=kind,
        operstate="UP",
        peer_index=0,
        peer_netns_id=None,
        addr_gen_mode=0,
    )


def table(rows: Rows, kind: Kind) -> list[str]:
    def text(row: RowKey) -> str:
        parts = row.key if isinstance(row.key, tuple) else (row.key,)
        value = rows[row]
        values = value if isinstance(value, tuple) else (value,)
        return " ".join(str(part) for part in (*parts, "=", *values))

    return [text(row) for row in rows if row.table is kind]


def test_a_running_veth() -> None:
    rows = render_endpoint(ENDPOINT, link(RUNNING), ipv6=True, responder=PROGRAM)
    assert table(rows, Kind.MAC) == ["5 = ee:ee:ee:ee:ee:ee"]
    assert table(rows, Kind.ADDRESS) == ["5 169.254.1.1 32 = True", "5 fe80::ecee:eeff:feee:eeee 64 = True"]
    assert table(rows, Kind.ANSWER) == ["5 = ee:ee:ee:ee:ee:ee"]
    assert table(rows, Kind.FILTER) == ["5 = 7"]
    assert table(rows, Kind.ASKED) == ["5 fe80::ecee:eeff:feee:eeee = 2", "5 10.65.0.24 = 1", "5 fd00::24 = 1"]
    assert table(rows, Kind.NEIGHBOUR) == ["5 10.65.0.24 = 02:00:00:00:00:01", "5 fd00::24 = 02:00:00:00:00:01"]
    assert table(rows, Kind.ROUTE) == ["10.65.0.24 0 = 5 116", "fd00::24 16 = 5 116"]
    assert "ipv4/conf/cali1/rp_filter = 0" in table(rows, Kind.SYSCTL)
    assert "ipv6/conf/cali1/accept_ra = 0" in table(rows, Kind.SYSCTL)
    assert "ipv4/conf/cali1/proxy_arp = 0" in table(rows, Kind.SYSCTL)


def test_routes_need_a_running_interface_and_neighbours_one_that_is_up() -> None:
    up = render_endpoint(ENDPOINT, link(UP), ipv6=True, responder=PROGRAM)
    assert (table(up, Kind.ROUTE), len(table(up, Kind.NEIGHBOUR)), len(table(up, Kind.ADDRESS))) == ([], 2, 2)
    down = render_endpoint(ENDPOINT, link(DOWN), ipv6=True, responder=PROGRAM)
    assert [table(down, kind) for kind in (Kind.ROUTE, Kind.NEIGHBOUR, Kind.ADDRESS)] == [[], [], []]
    assert table(down, Kind.SYSCTL) == table(up, Kind.SYSCTL), "sysctls come before any traffic"
    assert table(down, Kind.FILTER) == ["5 = 7"]


def test_a_tap_has_a_mac_of_its_own_derived_from_its_guests() -> None:
    rows = render_endpoint(ENDPOINT, link(RUNNING, kind="tun"), ipv6=True, responder=PROGRAM)
    assert table(rows, Kind.MAC) == table(rows, Kind.ANSWER) == ["5 = fe:00:00:00:00:01"]


def test_without_the_guests_mac_a_tap_keeps_its_own_and_has_no_neighbour() -> None:
    unknown = LocalEndpoint(key=KEY, interface="cali1", mac="", addresses=ENDPOINT.addresses)
    rows = render_endpoint(unknown, link(RUNNING, kind="tun"), ipv6=True, responder=PROGRAM)
    assert table(rows, Kind.MAC) == ["5 = 02:aa:00:00:00:05"]
    assert table(rows, Kind.NEIGHBOUR) == []


def test_without_ebpf_the_kernels_proxy_answers_at_once() -> None:
    rows = render_endpoint(ENDPOINT, link(RUNNING), ipv6=True, responder=0)
    assert [table(rows, kind) for kind in (Kind.ASKED, Kind.ANSWER, Kind.FILTER)] == [[], [], []]
    sysctls = table(rows, Kind.SYSCTL)
    assert {"ipv4/conf/cali1/proxy_arp = 1", "ipv4/neigh/cali1/proxy_delay = 0"} <= set(sysctls)


def test_on_a_host_without_ipv6_its_half_is_left_out() -> None:
    rows = render_endpoint(ENDPOINT, link(RUNNING), ipv6=False, responder=PROGRAM)
    assert table(rows, Kind.ROUTE) == ["10.65.0.24 0 = 5 116"]
    assert not any("ipv6/" in row for row in table(rows, Kind.SYSCTL))
    assert table(rows, Kind.ADDRESS) == ["5 169.254.1.1 32 = True"]


@pytest.mark.parametrize(
    ("flags", "running"),
    [
        (RUNNING, True),
        (FLAG_UP | FLAG_LOWER_UP, True),  # carrier, and the link watch has not run yet
        (FLAG_UP | FLAG_RUNNING, True),
        (FLAG_UP, False),
        (FLAG_LOWER_UP, False),
        (FLAG_UP | FLAG_LOWER_UP | 0x20000, False),  # dormant
    ],
)
def test_when_an_interface_runs(flags: int, running: bool) -> None:
    assert link(flags).running is running
