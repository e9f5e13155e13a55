"""Policy as rules of iptables: what a rule becomes, what an endpoint goes through, which way an interface leads, and
what host endpoints and translation add to it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from tests.unit.intent.policy_text import chain, key, policy, rule
from tortie.dataplane.hosts import Hosts, resolve
from tortie.dataplane.iptables.chains import Marks, endpoint_chain, policy_chain, policy_rows
from tortie.dataplane.iptables.dispatch import Ours
from tortie.dataplane.iptables.hooks import hooks
from tortie.dataplane.iptables.hosts import host_rows, places_of, policies_of
from tortie.dataplane.iptables.match import matches
from tortie.dataplane.iptables.rows import (
    CHAIN_CHARACTERS,
    ChainKey,
    ChainSpec,
    Kind,
    MemberKey,
    RowKey,
    Rows,
)
from tortie.dataplane.iptables.skeleton import dispatch
from tortie.dataplane.iptables.translation import Translation, translation_rows
from tortie.errors import UsageError
from tortie.intent.interface import Interface
from tortie.intent.policy import (
    BothWays,
    Direction,
    FailsafePort,
    Family,
    FloatingAddress,
    HostEndpointPolicy,
    NatPool,
    PolicySettings,
    RuleOrigin,
)
from tortie.model.resource import ResourceKey

ORIGIN = RuleOrigin("default", key("p"), Direction.INGRESS, 0)
MARKS = Marks.within(0xFFFF0000)


def arguments(rows: Rows, family: Family, table: str, name: str) -> list[str]:
    spec = rows[RowKey(Kind.CHAIN, ChainKey(family, table, name))]
    assert isinstance(spec, ChainSpec)
    return [each.arguments for each in spec.rules]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Allow", [""]),
        ("Allow v6", []),
        ("Allow tcp", ["-p 6"]),
        ("Allow not-tcp", ["! -p 6"]),
        ("Allow udplite source=10.0.0.0/8", ["-p 136 -s 10.0.0.0/8"]),
        ("Allow source=fd00::/8", []),
        ("Allow source=0.0.0.0/0", [""]),
        ("Allow source!=0.0.0.0/0", []),
        ("Allow source!=10.0.0.0/8", ["! -s 10.0.0.0/8"]),
        ("Allow source!=fd00::/8", [""]),
        (
            "Allow source=in:a source!=in:b destination=in:c",
            ["-m set --match-set tortie4a src -m set ! --match-set tortie4b src -m set --match-set tortie4c dst"],
        ),
        ("Allow tcp destination=80", ["-p 6 -m multiport --dports 80"]),
        ("Allow sctp source=80,81,90:95", ["-p 132 -m multiport --sports 80:81,90:95"]),
        ("Allow tcp destination!=80,443", ["-p 6 -m multiport ! --dports 80,443"]),
        (
            "Allow tcp destination=80,named:http",
            ["-p 6 -m set --match-set tortie4http dst,dst", "-p 6 -m multiport --dports 80"],
        ),
        ("Allow tcp destination!=named:http", ["-p 6 -m set ! --match-set tortie4http dst,dst"]),
        ("Allow gre destination=80", []),
        ("Allow gre destination!=80", ["-p 47"]),
        ("Allow icmp icmp=8/0", ["-p 1 -m icmp --icmp-type 8/0"]),
        ("Allow icmp icmp!=3/4", ["-p 1 -m icmp ! --icmp-type 3/4"]),
        ("Allow icmpv6 icmp=128", []),
    ],
)
def test_a_rule_of_ipv4(text: str, expected: list[str]) -> None:
    assert list(matches(rule(text, ORIGIN), 4).alternatives) == expected


def test_a_rule_of_ipv6() -> None:
    found = matches(rule("Allow icmpv6 icmp=128/0 icmp!=128/1 source=fd00::/8", ORIGIN), 6)
    assert list(found.alternatives) == ["-p 58 -m icmp6 --icmpv6-type 128/0 -m icmp6 ! --icmpv6-type 128/1 -s fd00::/8"]


def test_more_ports_than_a_multiport_has_slots() -> None:
    """A range takes two of the fifteen; any of the lists may match, but none of those that are excluded."""
    ranges = ",".join(f"{n}:{n + 1}" for n in range(100, 120, 4))  # 5 ranges
    single = ",".join(str(n) for n in range(1, 19, 2))  # 9 numbers
    wanted = matches(rule(f"Allow tcp destination={single},{ranges}", ORIGIN), 4)
    assert list(wanted.alternatives) == [
        "-p 6 -m multiport --dports 1,3,5,7,9,11,13,15,17,100:101,104:105,108:109",
        "-p 6 -m multiport --dports 112:113,116:117",
    ]
    excluded = matches(rule(f"Allow tcp destination!={single},{ranges}", ORIGIN), 4)
    assert list(excluded.alternatives) == [
        "-p 6 -m multiport ! --dports 1,3,5,7,9,11,13,15,17,100:101,104:105,108:109 "
        "-m multiport ! --dports 112:113,116:117"
    ]


def test_a_list_of_prefixes_is_a_set_named_by_its_contents() -> None:
    one = matches(rule("Allow source=10.0.0.0/9,10.128.0.0/9,192.0.2.1/32,198.51.100.0/24", ORIGIN), 4)
    other = matches(rule("Deny udp destination=198.51.100.0/24,192.0.2.1/32,10.0.0.0/8", ORIGIN), 4)
    assert one.sets == other.sets
    members = {row.key.member for row in one.sets if isinstance(row.key, MemberKey)}
    assert members == {"10.0.0.0/8", "192.0.2.1", "198.51.100.0/24"}


def test_what_must_not_match_beside_what_must_is_a_set_too() -> None:
    """A rule takes one address argument for each end."""
    found = matches(rule("Allow source=10.0.0.0/8 source!=10.1.0.0/16", ORIGIN), 4)
    (name,) = (row.key for row in found.sets if row.kind is Kind.SET)
    assert list(found.alternatives) == [f"-s 10.0.0.0/8 -m set ! --match-set {name} src"]


def test_actions_and_staged_policies() -> None:
    text = "Allow\nDeny\nPass\nLog"
    acts = policy_rows(policy("p", ingress=text))
    log = "-m limit --limit 10/second -j NFLOG --nflog-group 1161"
    name = policy_chain(key("p"), Direction.INGRESS)
    assert arguments(acts, 4, "filter", name) == ["-g tortie-allow", "-g tortie-policy", "-g tortie-pass", log]
    staged = policy_rows(policy("p", ingress=text, staged=True))
    assert arguments(staged, 6, "filter", name) == ["-j RETURN", "-j RETURN", "-j RETURN", log]


def test_an_endpoint_goes_through_its_tiers_and_profiles() -> None:
    applies = chain("ops:pass=a,b default=c | open")
    name, rows = endpoint_chain(applies, Direction.INGRESS, MARKS)
    assert arguments(rows, 4, "filter", name) == [
        "-j tortie-tracked",
        "-m mark --mark 0x10000/0x10000 -j RETURN",
        "-m mark --mark 0x0/0x30000 -j tortie-to-gnp-a",
        "-m mark --mark 0x0/0x30000 -j tortie-to-gnp-b",
        "-m mark --mark 0x10000/0x10000 -j RETURN",
        "-j MARK --set-xmark 0x0/0x20000",
        "-m mark --mark 0x0/0x30000 -j tortie-to-gnp-c",
        "-m mark --mark 0x10000/0x10000 -j RETURN",
        "-m mark --mark 0x0/0x20000 -g tortie-tier-default",
        "-m mark --mark 0x0/0x10000 -j tortie-to-p-open",
        "-m mark --mark 0x10000/0x10000 -j RETURN",
        "-g tortie-no-profile-matched",
    ]
    same, _ = endpoint_chain(applies, Direction.INGRESS, MARKS)
    other, _ = endpoint_chain(chain("ops:pass=b,a default=c | open"), Direction.INGRESS, MARKS)
    assert (name == same, name == other) == (True, False)


def test_names_fit_and_objects_of_one_name_are_told_apart() -> None:
    long = "x" * 253
    names = [
        policy_chain(ResourceKey(kind, namespace, name), direction)
        for kind in ("GlobalNetworkPolicy", "NetworkPolicy", "StagedNetworkPolicy", "Profile")
        for namespace, name in (("", "a-b"), ("a", "b"), ("", long), ("", long + "y"))
        for direction in Direction
    ]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) == CHAIN_CHARACTERS


def test_marks_lie_within_the_mask() -> None:
    assert Marks.within(0x1100) == (0x100, 0x1000)
    with pytest.raises(UsageError, match="IptablesMarkMask 0x8 has less than two bits"):
        Marks.within(0x8)


def walk(rows: Rows, kind: str, option: str, interface: str) -> str:
    """Where a packet of the interface is led, from chain to chain."""
    table = "raw" if kind == "at" else "filter"
    name, steps = f"tortie-by-{kind}-", 0
    while name.startswith("tortie-by-"):
        steps += 1
        for line in arguments(rows, 4, table, name):
            flag, pattern, _, target = line.split()
            assert flag == option
            if interface == pattern or (pattern.endswith("+") and interface.startswith(pattern[:-1])):
                name = target
                break
        else:
            return f"nowhere after {steps}"
    return f"{name} after {steps}"


def test_many_interfaces_are_parted_by_the_letters_of_their_names() -> None:
    names = ["cali", "tap0", "veth9", *(f"cali{n:03x}" for n in range(600))]
    rows = dispatch({name: (f"from-{name}", f"to-{name}") for name in names}, ("cali", "tap"))
    for name in names:
        assert walk(rows, "from", "-i", name).startswith(f"from-{name} after")
        assert walk(rows, "to", "-o", name).startswith(f"to-{name} after")
        assert walk(rows, "known", "-o", name).startswith("RETURN after")
        assert walk(rows, "at", "-i", name).startswith(f"tortie-at-{name} after")
    assert walk(rows, "from", "-i", "cali3ff0").startswith("tortie-unknown-interface")
    assert walk(rows, "to", "-o", "tap1").startswith("tortie-unknown-interface")
    assert walk(rows, "at", "-i", "eth0").startswith("nowhere")
    longest = max(len(arguments(rows, 4, row.key.table, row.key.name)) for row in rows if isinstance(row.key, ChainKey))
    assert longest <= 20
    assert walk(rows, "from", "-i", "cali111").endswith("after 4")


# --- Host endpoints

PREFIXES = ("cali", "tap")
OURS = Ours(PREFIXES)


def host_endpoint(name: str, interface: str, **fields: BothWays) -> HostEndpointPolicy:
    return HostEndpointPolicy(key=ResourceKey("HostEndpoint", "", name), interface=interface, **fields)  # type: ignore[arg-type]  # as in the class


def jumps(rows: Rows) -> list[str]:
    return [f"{row.key.table} {row.key.name}" for row in rows if row.kind is Kind.JUMP and row.key.family == 4]  # type: ignore[union-attr]  # of a jump


def test_an_interface_has_the_endpoint_that_names_it_or_has_its_address_or_the_one_of_all_others() -> None:
    held = {name: frozenset({ip_address(f"192.0.2.{n}")}) for n, name in enumerate(("lo", "eth0", "eth1", "cali1"))}
    named, other = host_endpoint("b", "eth0"), host_endpoint("c", "eth7")
    by_address = HostEndpointPolicy(
        key=ResourceKey("HostEndpoint", "", "a"), interface="", addresses=(*held["eth0"], *held["eth1"])
    )
    rest = host_endpoint("d", "*")
    closed = [host_endpoint("e", "lo"), host_endpoint("f", "cali1")]  # that are nobody's to govern
    interfaces = {name: Interface(number, addresses) for number, (name, addresses) in enumerate(held.items(), 1)}
    found = resolve([named, other, by_address, rest, *closed], interfaces, OURS.begins)
    assert found == Hosts({"eth0": named, "eth1": by_address, "eth7": other}, rest)
    assert resolve([by_address], {}, OURS.begins) == Hosts({}, None)


def test_without_host_endpoints_nothing_is_asked_of_them() -> None:
    rows = hooks((), MARKS, Ours(PREFIXES))
    where = ["raw PREROUTING", "filter FORWARD", "filter INPUT", "filter OUTPUT", "mangle POSTROUTING"]
    assert jumps(rows) == where
    assert arguments(rows, 4, "mangle", "tortie-leave") == ["-m conntrack --ctstate DNAT -j tortie-by-known-"]
    assert arguments(rows, 4, "filter", "tortie-forward") == [
        "-j MARK --set-xmark 0x0/0x30000",
        "-j tortie-by-from-",
        "-j tortie-by-to-",
        "-m mark --mark 0x10000/0x10000 -j ACCEPT",
    ]


def test_a_host_endpoint_is_asked_where_it_has_something_to_say() -> None:
    silent = host_endpoint("a", "eth0")
    through = host_endpoint("a", "eth0", forward=BothWays(ingress=chain("default=p")))
    untracked = host_endpoint("a", "eth0", untracked=BothWays(ingress=chain("default=p")))
    everywhere = host_endpoint("a", "*", untracked=BothWays(ingress=chain("default=p")))
    always = ["host-in", "host-out", "host-leaving"]
    for endpoint, more in (
        (silent, []),
        (through, ["host-through-in"]),
        (untracked, ["host-raw-in"]),
        (everywhere, []),
    ):
        hosts = Hosts({}, endpoint) if endpoint.interface == "*" else Hosts({"eth0": endpoint}, None)
        assert [place.name for place in places_of(hosts)] == [*more, *always]
        assert policies_of(hosts, "raw") == ({key("p")} if endpoint is untracked else set())


def test_the_rest_is_neither_a_workload_nor_who_has_an_endpoint() -> None:
    hosts = Hosts({"eth0": host_endpoint("a", "eth0")}, host_endpoint("b", "*", forward=BothWays(ingress=chain("t=p"))))
    rows = host_rows(hosts, PolicySettings(), MARKS, Ours(PREFIXES, ("veth9",)))
    *lines, last = arguments(rows, 4, "filter", "tortie-by-host-through-in-")
    assert lines == [f"-i {name} -j RETURN" for name in ("eth0", "veth9", "cali+", "tap+", "lo")]
    assert arguments(rows, 4, "filter", last.removeprefix("-g ")) == [
        "-j tortie-host-tracked",
        "-m mark ! --mark 0x0/0x30000 -j RETURN",
        "-m mark --mark 0x0/0x30000 -j tortie-to-gnp-p",
        "-m mark --mark 0x10000/0x10000 -j RETURN",
        "-m mark --mark 0x0/0x20000 -g tortie-tier-default",
        "-g tortie-allow",
    ]


def test_failsafe_ports_by_family_and_in_the_raw_table_their_answers() -> None:
    settings = PolicySettings(
        failsafe_inbound=(FailsafePort(6, 22), FailsafePort(6, 179, ip_network("10.0.0.0/8")), FailsafePort(47, 1)),
        failsafe_outbound=(FailsafePort(17, 67),),
    )
    hosts = Hosts({"eth0": host_endpoint("a", "eth0", untracked=BothWays(ingress=chain("t=p")))}, None)
    rows = host_rows(hosts, settings, MARKS, Ours(PREFIXES))
    name = "tortie-host-failsafe-in"
    ssh, bgp = "-p 6 -m multiport --dports 22", "-p 6 -s 10.0.0.0/8 -m multiport --dports 179"
    answer = "-p 17 -m multiport --sports 67 -g tortie-pass"
    assert arguments(rows, 4, "filter", name) == [f"{ssh} -g tortie-allow", f"{bgp} -g tortie-allow"]
    assert arguments(rows, 4, "raw", name) == [f"{ssh} -g tortie-pass", f"{bgp} -g tortie-pass", answer]
    assert arguments(rows, 6, "raw", name) == [f"{ssh} -g tortie-pass", answer]


def test_only_the_filter_table_rejects() -> None:
    hosts = Hosts({"eth0": host_endpoint("a", "eth0", untracked=BothWays(ingress=chain("t=p")))}, None)
    rows = host_rows(hosts, PolicySettings(deny="Reject"), MARKS, Ours(PREFIXES))
    for table in ("raw", "mangle"):
        assert arguments(rows, 4, table, "tortie-policy")[1:] == ["-j DROP"]


# --- Translation


def translated(**fields: object) -> Rows:
    nothing = Translation((), (), frozenset(), PolicySettings(), Ours(PREFIXES))
    return translation_rows(nothing._replace(**fields))  # type: ignore[arg-type]  # as in the class


def test_without_translation_there_is_no_table_for_it() -> None:
    assert translated(pools=(NatPool(ip_network("10.65.0.0/16"), outgoing=False),)) == {}


def test_of_outside_addresses_that_meet_the_first_counts() -> None:
    pairs = (("192.0.2.1", "10.65.0.9"), ("192.0.2.1", "10.65.0.1"), ("192.0.2.0", "10.65.0.9"))
    rows = translated(floating=tuple(FloatingAddress(*map(ip_address, pair)) for pair in pairs))
    assert jumps(rows) == ["nat PREROUTING", "nat OUTPUT", "nat POSTROUTING"]
    assert arguments(rows, 4, "nat", "tortie-inward") == [
        "-d 192.0.2.0 -j DNAT --to-destination 10.65.0.9",
        "-d 192.0.2.1 -j DNAT --to-destination 10.65.0.9",
    ]
    assert arguments(rows, 4, "nat", "tortie-outward") == [
        "-s 10.65.0.1 -d 10.65.0.1 -j SNAT --to-source 192.0.2.1",
        "-s 10.65.0.9 -d 10.65.0.9 -j SNAT --to-source 192.0.2.1",
    ]


def test_what_leaves_the_pools() -> None:
    pools = (NatPool(ip_network("10.65.0.0/16"), outgoing=True), NatPool(ip_network("fd00::/64"), outgoing=True))
    settings = PolicySettings(nat_address=IPv4Address("192.0.2.7"), nat_excludes_hosts=True)
    rows = translated(
        pools=pools,
        settings=settings,
        hosts=frozenset({ip_address("192.0.2.9")}),
        ours=Ours(PREFIXES, ("veth9",), ("tapvpn",)),
    )
    assert jumps(rows) == ["nat POSTROUTING"]
    stays = [f"-o {name} -j RETURN" for name in ("veth9", "cali+", "tap+")]
    for family, target in ((4, "SNAT --to-source 192.0.2.7"), (6, "MASQUERADE")):
        matches = f"-m set --match-set tortie{family}nat-from src -m set ! --match-set tortie{family}nat-pools dst"
        hosts = f"-m set ! --match-set tortie{family}nat-hosts dst"
        assert arguments(rows, family, "nat", "tortie-by-pools-") == [  # type: ignore[arg-type]  # a family
            f"-o tapvpn {matches} {hosts} -j {target}",
            *stays,
            f"{matches} {hosts} -j {target}",
        ]
