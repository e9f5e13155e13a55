"""What others do to our rows, links and sysctls, and how it comes back; what is theirs stays as it is."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.netns.conftest import NetnsFactory
from tests.netns.kernel.frames import ArpFrame, arp_reply, arp_request
from tests.netns.l3.conftest import HostFactory
from tests.netns.l3.host import GUEST_MAC, Host, TapWire, VethWire, Wire
from tortie.intent.report import EndpointState

NEW_LINK = "ip link add cali1 type veth peer name peer && ip link set peer up && ip link set cali1 up"
V4, V6 = "10.65.0.24", "fd00:65::24"


@pytest.fixture
def up(host: Host) -> Host:
    """A host with one workload `w` on `cali1`, up in both families."""
    host.namespace.run(NEW_LINK)
    host.desire("w", "cali1", V4, V6)
    host.start()
    host.settle_up("w")
    return host


def routes(host: Host) -> list[str]:
    lines = host.namespace.run("ip route show proto 116; ip -6 route show proto 116").splitlines()
    return [" ".join(line.split()) for line in lines]


def gear(host: Host) -> list[str]:
    """Our neighbours and addresses, and the MAC, of the workload's interface."""
    shown = host.namespace.run("ip neigh show dev cali1 proto 116; ip -o addr show cali1; ip -o link show cali1")
    marks = ("proto 116", "169.254.1.1", "fe80::ecee:eeff:feee:eeee", "ee:ee:ee:ee:ee:ee")
    return [
        next(mark for mark in marks if mark in line) for line in shown.splitlines() if any(m in line for m in marks)
    ]


WANTED = [f"{V4} dev cali1 scope link", f"{V6} dev cali1 metric 16 pref medium"]


def state_of_others(host: Host) -> str:
    """All of the kernel's tables, less what is ours and what the kernel derives from our link-local address."""
    run = host.namespace.run
    shown = run("ip route show table all; ip -6 route show table all; ip rule; ip -6 rule; ip neigh; ip -o addr")
    ours = ("proto 116", "169.254.1.1", "fe80::ecee:eeff:feee:eeee", "anycast fe80::", "fe80::/64 dev cali1")
    return "\n".join(sorted(line for line in shown.splitlines() if not any(mark in line for mark in ours)))


@pytest.mark.parametrize(
    "harm",
    [
        "ip route flush proto 116",
        "ip -6 route flush proto 116",
        f"ip neigh del {V4} dev cali1",
        f"ip -6 neigh del {V6} dev cali1",
        "ip addr flush dev cali1",
        "ip link set cali1 address 02:aa:aa:aa:aa:aa",
        "ip link set cali1 down && ip link set cali1 up",
        "ip link set peer down && ip link set peer up",
        "ip link set cali1 name other && ip link set other name cali1",
        f"ip link del cali1 && {NEW_LINK}",
    ],
)
def test_harm_is_repaired_by_events(up: Host, harm: str) -> None:
    before = gear(up)
    assert len(before) == 5
    up.namespace.run(harm)
    up.settle(lambda: up.sink.in_sync and up.report("w").state is EndpointState.UP and routes(up) == WANTED)
    assert gear(up) == before


def test_routes_leave_with_carrier_and_the_wish_stays(up: Host) -> None:
    up.namespace.run("ip link set peer down")
    up.settle(lambda: up.report("w").state is EndpointState.DOWN)
    assert routes(up) == []
    assert "carrier" in up.report("w").reason
    up.namespace.run("ip link set peer up")
    up.settle_up("w")
    assert routes(up) == WANTED


def test_an_interface_that_comes_later_is_governed(host: Host) -> None:
    host.desire("w", "cali1", V4)
    host.start()
    assert host.report("w").state is EndpointState.DOWN
    host.namespace.run(NEW_LINK)
    host.settle_up("w")
    assert routes(host) == WANTED[:1]


def test_a_second_start_writes_nothing(up: Host, l3_host: HostFactory) -> None:
    for _ in range(2):
        after = l3_host(up.namespace)
        after.desire("w", "cali1", V4, V6)
        after.start()
        assert after.report("w").state is EndpointState.UP
        assert after.sink.writes == 0
        assert after.sink.in_sync


def test_a_restart_removes_what_is_no_longer_wanted_and_only_ours(up: Host, l3_host: HostFactory) -> None:
    up.namespace.run(
        "ip route add 10.99.0.1/32 dev cali1 proto static && ip route add 10.99.0.2/32 dev cali1 proto 116"
        " && ip neigh add 10.99.0.1 lladdr 02:00:00:00:00:99 dev cali1 nud permanent"
        " && ip addr add 192.0.2.1/32 dev cali1"
    )
    foreign = state_of_others(up)
    after = l3_host(up.namespace)
    after.start()
    assert routes(after) == []
    assert after.namespace.run("ip neigh show proto 116") == ""
    left = state_of_others(after).splitlines()
    assert left == foreign.splitlines()


def test_foreign_rows_on_our_interface_are_bit_identical(host: Host, l3_host: HostFactory) -> None:
    run = host.namespace.run
    run(NEW_LINK)
    host.desire("w", "cali1", V4, V6)
    host.start()
    host.settle_up("w")
    run(
        "ip route add 10.99.0.1/32 dev cali1 proto static; ip route add 10.99.0.0/24 dev cali1 proto 116 metric 7;"
        "ip -6 route add fd99::1/128 dev cali1 proto static; ip rule add from 10.99.0.1 table 77;"
        "ip route add default dev cali1 table 77; ip addr add 192.0.2.1/32 dev cali1;"
        "ip neigh add 10.99.0.1 lladdr 02:00:00:00:00:99 dev cali1 nud permanent"
    )
    host.settle(lambda: host.sink.in_sync)
    before = state_of_others(host)
    run("ip route flush proto 116 table main scope link root 10.65.0.0/16")
    host.settle(lambda: routes(host)[0] == WANTED[0])
    host.resync()
    host.settle(lambda: host.sink.in_sync)
    after = l3_host(host.namespace)
    after.desire("w", "cali1", V4, V6)
    after.start()
    assert state_of_others(host) == before


@pytest.mark.parametrize(
    ("family", "detour", "rule"),
    [
        ("-4", "ip route add default dev up0 table 77", "lookup 77"),
        ("-6", "ip -6 route add default dev up0 table 77", "lookup 77"),
        ("-4", "true", "prohibit"),
    ],
)
def test_a_rule_that_comes_before_the_main_table_is_named_at_once(
    up: Host, family: str, detour: str, rule: str
) -> None:
    up.namespace.run(f"{detour} && ip {family} rule add pref 100 {rule}")
    up.settle(lambda: up.report("w").state is EndpointState.ERROR)
    assert f"rule `100: from all {rule}`" in up.report("w").reason
    up.namespace.run(f"ip {family} rule del pref 100")
    up.settle_up("w")


def test_a_rule_that_others_packets_meet_is_none_of_ours(up: Host) -> None:
    up.namespace.run("ip rule add pref 100 from 192.0.2.1 lookup 77; ip rule add pref 101 to 192.0.2.0/24 prohibit")
    up.namespace.run("ip link set up0 alias seen")  # told of after the rules
    up.settle(lambda: up.sink.in_sync)
    assert up.report("w").state is EndpointState.UP


@pytest.mark.parametrize(("value", "metric"), [(V4, 0), (V6, 16)])
def test_an_equal_foreign_route_stays_and_is_named(host: Host, value: str, metric: int) -> None:
    family = "-6" if ":" in value else "-4"
    run = host.namespace.run
    run(NEW_LINK)
    run(f"ip {family} route add {value} dev up0 proto static metric {metric}")
    host.desire("w", "cali1", value)
    host.start()
    assert host.report("w").state is EndpointState.ERROR
    assert value in host.report("w").reason
    assert routes(host) == []
    assert "up0 proto static" in run(f"ip {family} route show {value}")
    run(f"ip {family} route del {value} dev up0 proto static")
    host.settle_up("w")


def test_a_route_of_ours_taken_over_by_replace_is_an_error_until_it_goes(up: Host) -> None:
    up.namespace.run(f"ip route replace {V4} dev up0 proto static")
    up.settle(lambda: up.report("w").state is EndpointState.ERROR)
    assert up.namespace.run(f"ip route show {V4}").split()[:3] == [V4, "dev", "up0"]
    up.namespace.run(f"ip route del {V4}")
    up.settle_up("w")


def test_a_better_foreign_ipv6_route_is_named(up: Host) -> None:
    up.namespace.run(f"ip -6 route add {V6} dev up0 metric 3")
    up.settle(lambda: up.report("w").state is EndpointState.ERROR)
    assert "stands before ours" in up.report("w").reason
    up.namespace.run(f"ip -6 route del {V6} metric 3")
    up.settle_up("w")


def test_a_permanent_foreign_neighbour_stays_and_is_named(host: Host) -> None:
    run = host.namespace.run
    run(NEW_LINK)
    run(f"ip neigh add {V4} lladdr 02:00:00:00:00:99 dev cali1 nud permanent")
    host.desire("w", "cali1", V4)
    host.start()
    assert host.report("w").state is EndpointState.ERROR
    assert "02:00:00:00:00:99" in run(f"ip neigh show {V4}")
    run(f"ip neigh del {V4} dev cali1")
    host.settle_up("w")
    assert GUEST_MAC in run(f"ip neigh show {V4}")


@pytest.mark.parametrize(
    ("harm", "word"),
    [
        ("ip link add br0 type bridge && ip link set cali1 master br0", "br0"),
        ("ip addr add 192.0.2.9/24 dev cali1", "192.0.2.9"),
        ("ip route add 0.0.0.0/0 dev cali1 metric 50", "default route"),
    ],
)
def test_an_interface_that_is_not_a_workloads_is_left_alone_until_it_is(host: Host, harm: str, word: str) -> None:
    run = host.namespace.run
    run(NEW_LINK)
    run(harm)
    run("sysctl -qw net.ipv4.ip_forward=1")  # the host's own switch, which sets every interface's
    before = run("ip -o addr show cali1; sysctl net.ipv4.conf.cali1; ip link show cali1")
    host.desire("w", "cali1", V4)
    host.start()
    assert host.report("w").state is EndpointState.ERROR
    assert word in host.report("w").reason
    assert run("ip -o addr show cali1; sysctl net.ipv4.conf.cali1; ip link show cali1") == before
    run("ip link set cali1 nomaster; ip addr del 192.0.2.9/24 dev cali1; ip route del default dev cali1; true")
    # The last cause, a route, has no event of its own for the interface: the audit finds it gone.
    host.resync()
    host.settle_up("w")


def test_news_of_an_interface_before_the_first_read_back_do_not_make_it_a_workloads(host: Host) -> None:
    run = host.namespace.run
    run(NEW_LINK)
    run("ip addr add 192.0.2.9/24 dev cali1")
    while host.monitor.read(500):
        pass
    host.desire("w", "cali1", V4)
    run("ip link set cali1 mtu 1400")
    for event in host.monitor.read(500):
        host.sink.observe(event)
    host.start()
    assert host.report("w").state is EndpointState.ERROR
    assert "192.0.2.9" in host.report("w").reason
    assert "169.254.1.1" not in run("ip addr show cali1")


def test_a_governed_interface_stays_governed_when_others_put_things_on_it(up: Host, l3_host: HostFactory) -> None:
    up.namespace.run("ip addr add 192.0.2.9/24 dev cali1")
    up.resync()
    up.settle_up("w")
    after = l3_host(up.namespace)
    after.desire("w", "cali1", V4, V6)
    after.start()
    assert after.report("w").state is EndpointState.UP


def test_without_ebpf_the_kernels_proxy_stands_in_and_it_is_said(netns: NetnsFactory, tmp_path: Path) -> None:
    namespace, guest = netns("host"), netns("guest")
    namespace.run("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up")
    namespace.run("ip addr add 172.18.203.5/24 dev up0 && ip route add default via 172.18.203.1")
    (tmp_path / "bpf").write_text("a file, where no bpffs can be mounted")
    host = Host(namespace, tmp_path / "bpf", tmp_path / "state")
    wire = VethWire(namespace, guest, "cali1")
    try:
        assert host.responder.startswith("proxy ARP of the kernel")
        host.desire("w", "cali1", V4, V6)
        host.start()
        host.settle_up("w")
        for target in ("169.254.1.1", "8.8.8.8"):
            wire.send(arp_request(GUEST_MAC, ip_address(V4), ip_address(target)).packed())
            assert heard_arp(wire) == arp_reply("ee:ee:ee:ee:ee:ee", ip_address(target), GUEST_MAC, ip_address(V4))
    finally:
        wire.close()
        host.close()


def heard_arp(wire: Wire) -> ArpFrame:
    while True:
        frame = wire.receive(5)
        assert frame is not None, "no answer"
        if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\x00\x02":
            return ArpFrame.parse(frame)


def test_the_loopback_is_refused(host: Host) -> None:
    host.desire("w", "lo", V4)
    host.start()
    assert "loopback" in host.report("w").reason


def test_release_takes_all_rows_and_the_responder_forgets(up: Host) -> None:
    up.release("w")
    up.settle(lambda: up.sink.in_sync)
    assert routes(up) == []
    shown = up.namespace.run("ip neigh show proto 116; ip addr show cali1; tc filter show dev cali1 ingress")
    assert "116" not in shown
    assert "169.254.1.1" not in shown
    assert up.sink.reports == {}


def test_a_tap_gets_its_own_gateway_mac_and_waits_for_its_guest(host: Host) -> None:
    host.namespace.run("ip tuntap add dev tap1 mode tap && ip link set tap1 up")
    host.desire("w", "tap1", V4)
    host.start()
    assert "carrier" in host.report("w").reason
    wire = TapWire(host.namespace, "tap1")
    host.settle_up("w")
    assert f"fe:{GUEST_MAC[3:]}" in host.namespace.run("ip link show tap1")
    wire.close()
    host.settle(lambda: host.report("w").state is EndpointState.DOWN)
    assert routes(host) == []


def test_original_sysctls_are_recorded_once(up: Host) -> None:
    recorded = dict(line.split("\t") for line in (up.state_dir / "original-sysctls").read_text().splitlines())
    assert recorded["ipv4/ip_forward"] == "0"
    assert recorded["ipv4/conf/cali1/forwarding"] in ("0", "1")
    up.namespace.run("sysctl -qw net.ipv4.ip_forward=0")
    up.resync()
    up.settle(lambda: up.sink.in_sync)
    assert up.namespace.run("sysctl -n net.ipv4.ip_forward").strip() == "1"
    assert "ipv4/ip_forward\t0" in (up.state_dir / "original-sysctls").read_text()


def test_an_uplink_whose_default_route_came_by_advertisement_keeps_it(host: Host) -> None:
    run = host.namespace.run
    run("sysctl -qw net.ipv6.conf.up0.accept_ra=1; ip -6 addr add fd00:1::5/64 dev up0 nodad")
    run("ip -6 route add default via fd00:1::1 dev up0 proto ra")
    host.start()
    assert run("sysctl -n net.ipv6.conf.up0.accept_ra net.ipv6.conf.all.forwarding").split() == ["2", "1"]
    assert "default via fd00:1::1" in run("ip -6 route show default")


def test_rp_filter_of_all_is_reported(host: Host) -> None:
    host.start()
    host.namespace.run("sysctl -qw net.ipv4.conf.all.rp_filter=1")
    host.settle(lambda: [problem.subject for problem in host.sink.problems] == ["net.ipv4.conf.all.rp_filter"])


def test_ten_workloads_on_one_host(host: Host, netns: NetnsFactory) -> None:
    names = [f"cali{i}" for i in range(10)]
    host.namespace.run(
        "; ".join(f"ip link add {n} type veth peer name p{n}; ip link set p{n} up; ip link set {n} up" for n in names)
    )
    for i, name in enumerate(names):
        host.desire(name, name, f"10.65.1.{i}", mac=f"02:00:00:00:01:{i:02x}")
    host.start()
    host.settle(lambda: all(report.state is EndpointState.UP for report in host.sink.reports.values()))
    assert len(routes(host)) == 10
    assert str(ip_address("10.65.1.9")) in routes(host)[9]
