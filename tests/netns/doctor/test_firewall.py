"""Chains of others in a real kernel, as the programs write them that people use."""

from __future__ import annotations

import pytest

from tests.netns.conftest import Namespace
from tests.netns.doctor.conftest import AS_NOBODY, Doctor, Examine, needs_readable_checkout
from tortie.doctor.finding import Finding, Severity
from tortie.doctor.firewall.verdicts import check_legacy, check_nftables

# As Docker 24 leaves a host with one network.
DOCKER = """
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
"""

# As firewalld 1.3 cuts it, without its zones.
FIREWALLD = """
table inet firewalld {
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    ct state invalid drop
    ip6 daddr { ::/96, 2002::/24 } reject with icmpv6 addr-unreachable
    jump filter_FORWARD_ZONES
    reject with icmpx admin-prohibited
  }
  chain filter_FORWARD_ZONES {
    iifname "eth0" goto zone_public
    goto zone_public
  }
  chain zone_public { jump zone_public_allow; }
  chain zone_public_allow { oifname "eth0" ip daddr 192.0.2.1 accept; }
}
"""


def forward(*rules: str, policy: str = "drop", chains: str = "") -> str:
    body = "".join(f"    {rule}\n" for rule in rules)
    return (
        f"table inet other {{\n{chains}\n  chain between {{\n"
        f"    type filter hook forward priority 10; policy {policy};\n{body}  }}\n}}\n"
    )


def load(host: Namespace, text: str) -> None:
    host.run(f"nft -f - <<'END'\n{text}\nEND")


def severities(findings: list[Finding]) -> list[Severity]:
    return [finding.severity for finding in findings]


def test_nothing_there_is_nothing_wrong(examine: Examine) -> None:
    assert examine(check_nftables) == []
    assert examine(check_legacy) == []


def test_a_policy_that_drops_names_chain_priority_and_command(host: Namespace, examine: Examine) -> None:
    load(host, forward("ct state established,related accept", 'iif "lo" accept'))
    (found,) = examine(check_nftables)
    assert found.severity is Severity.ERROR
    assert found.what == "a chain of nftables drops packets from workloads, to workloads, between workloads"
    assert found.where == "inet other between (nftables), hook forward, priority 10; by its policy"
    assert "an accept, tortie's too, ends only the chain that it stands in" in found.why
    assert found.do == (
        'nft -a list chain inet other between; nft insert rule inet other between iifname "cali*" accept;'
        ' nft insert rule inet other between oifname "cali*" accept'
    )


@pytest.mark.parametrize(
    "accepts",
    [
        ('iifname "cali*" accept', 'oifname "cali*" accept'),
        ('iifname { "cali1", "cali2" } accept', 'oifname { "cali1", "cali2" } accept'),
        ('iifname vmap { "cali*" : accept }', 'oifname vmap { "cali*" : accept }'),
        ('iif "cali1" accept', 'iif "cali2" accept', 'oif "cali1" accept', 'oif "cali2" accept'),
        ("ip saddr 10.65.0.0/16 accept", "ip daddr 10.65.0.0/16 accept", "meta nfproto ipv6 accept"),
        (
            "ip saddr { 10.0.0.0-10.127.0.0 } accept",
            "ip daddr @pool accept",
            "ip6 version 6 accept",
            "ip6 hoplimit 0-255 accept",
        ),
        ("meta mark 0 accept",),
        ("ct state vmap { established : accept, related : accept, new : jump allowed }",),
        ("meta l4proto { tcp, udp } accept", "counter accept"),
    ],
)
def test_a_policy_that_nothing_of_ours_reaches(host: Namespace, examine: Examine, accepts: tuple[str, ...]) -> None:
    chains = "  set pool { type ipv4_addr; flags interval; elements = { 10.65.0.0/16 }; }\n  chain allowed { accept; }"
    load(host, forward(*accepts, chains=chains))
    assert [found for found in examine(check_nftables) if found.severity is Severity.ERROR] == []


def test_what_the_interface_lets_in_only_is_half(host: Namespace, examine: Examine) -> None:
    load(host, forward('iifname "cali*" accept'))
    (found,) = examine(check_nftables)
    assert found.what == "a chain of nftables drops packets to workloads"


def test_a_condition_that_nobody_knows_leaves_it_open(host: Namespace, examine: Examine) -> None:
    load(host, forward("limit rate 10/second accept"))
    assert severities(examine(check_nftables)) == [Severity.WARNING]


def test_rules_for_some_packets_are_a_note(host: Namespace, examine: Examine) -> None:
    load(host, forward("tcp dport 25 drop", "ct state invalid drop", 'iifname "docker0" drop', policy="accept"))
    (found,) = examine(check_nftables)
    assert found.severity is Severity.NOTE
    assert "more" not in found.where  # the other two drop nothing of ours
    assert found.what.startswith("a chain of nftables may drop packets")


def test_a_rule_that_drops_for_sure(host: Namespace, examine: Examine) -> None:
    load(host, forward('oifname "cali*" reject', policy="accept"))
    (found,) = examine(check_nftables)
    assert (found.severity, found.what) == (
        Severity.ERROR,
        "a chain of nftables drops packets to workloads, between workloads",
    )
    assert "by rule handle" in found.where


def test_a_table_that_sleeps_drops_nothing(host: Namespace, examine: Examine) -> None:
    load(host, forward().replace("{\n", "{\n  flags dormant;\n", 1))
    assert examine(check_nftables) == []


def test_our_own_table_is_not_foreign_and_gives_the_order(host: Namespace, examine: Examine) -> None:
    own = "table inet tortie { chain forward-from { type filter hook forward priority -2; policy drop; }; }"
    load(host, own)
    # Of policy by iptables.
    load(
        host, "table inet tortie-fragments-nft { chain c { type filter hook prerouting priority -401; policy drop; }; }"
    )
    assert examine(check_nftables) == []
    load(host, forward())
    (found,) = examine(check_nftables)
    assert "priority 10 (after tortie's own, -2)" in found.where


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_docker(host: Namespace, examine: Examine, variant: str) -> None:
    host.run(f"iptables-{variant}-restore <<'END'{DOCKER}END")
    check, other = (check_nftables, check_legacy) if variant == "nft" else (check_legacy, check_nftables)
    (found,) = examine(check)
    assert found.severity is Severity.ERROR
    assert found.what == "a chain of Docker drops packets from workloads, to workloads, between workloads"
    assert found.where == f"ip filter FORWARD (iptables-{variant}), hook forward, priority 0; by its policy"
    assert "iptables -I DOCKER-USER -i cali+ -j ACCEPT" in found.do
    assert examine(other) == []
    for option in "io":
        host.run(f"iptables-{variant} -I DOCKER-USER -{option} cali+ -j ACCEPT")
    assert examine(check) == []


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_the_jump_to_our_own_chain_decides(host: Namespace, examine: Examine, variant: str) -> None:
    host.run(
        f"iptables-{variant} -N tortie-forward; iptables-{variant} -A FORWARD -j tortie-forward;"
        f"iptables-{variant} -P FORWARD DROP"
    )
    assert examine(check_nftables if variant == "nft" else check_legacy) == []


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_the_port_of_bgp(host: Namespace, examine: Examine, variant: str) -> None:
    check = check_nftables if variant == "nft" else check_legacy
    program = f"iptables-{variant}"
    host.run(f"{program} -A INPUT -m state --state ESTABLISHED -j ACCEPT; {program} -P INPUT DROP")
    found = examine(check)
    assert severities(found) == [Severity.WARNING]
    assert found[0].what == (
        f"a chain of {program} drops packets of BGP sessions that peers open, from workloads to this host"
    )
    assert found[0].do.endswith(f"{program} -t filter -I INPUT -p tcp --dport 179 -j ACCEPT")
    for ports in ("-m comment --comment bgp -m tcp --dport 170:180", "-m multiport --dports 22,170:180"):
        host.run(f"{program} -I INPUT -p tcp {ports} -j ACCEPT")
        assert severities(examine(check)) == [Severity.NOTE]
        host.run(f"{program} -D INPUT 1")


def test_firewalld(host: Namespace, examine: Examine) -> None:
    load(host, FIREWALLD)
    error, _note = examine(check_nftables)
    assert error.severity is Severity.ERROR
    assert error.what == "a chain of firewalld drops packets from workloads, to workloads, between workloads"
    assert "priority 10; by rule" in error.where


def test_both_families_of_legacy(host: Namespace, examine: Examine) -> None:
    host.run("ip6tables-legacy -t raw -A PREROUTING -s fd00:65::/64 -j DROP")
    (found,) = examine(check_legacy)
    assert (found.severity, found.what) == (Severity.ERROR, "a chain of iptables-legacy drops packets from workloads")
    assert found.do.startswith("ip6tables-legacy -t raw -S PREROUTING; ip6tables-legacy -t raw -I PREROUTING -i cali+")


@needs_readable_checkout
def test_what_only_root_may_see_is_said(host: Namespace, doctor: Doctor) -> None:
    load(host, forward())
    said = doctor(*AS_NOBODY)
    unseen = {each["check"]: each for each in said.report["unseen"]}
    assert "Operation not permitted" in unseen["nftables"]["why"]
    assert unseen["iptables-legacy"]["why"] == "only root may see whether there are any"
    assert said.of("nftables") == []
    assert [finding["what"] for finding in doctor().of("nftables")] != []


def test_looking_makes_no_tables(host: Namespace, doctor: Doctor) -> None:
    doctor()
    assert host.run("cat /proc/net/ip_tables_names /proc/net/ip6_tables_names; nft list ruleset") == ""


def test_the_cure_is_in_the_words_of_who_made_the_chain(host: Namespace, examine: Examine) -> None:
    host.run("ip link set cali2 down; ip link set cali2 name tap2; ip link set tap2 up")
    host.run("ip6tables-nft -N DOCKER-USER; ip6tables-nft -P FORWARD DROP; ip6tables-nft -P INPUT DROP")
    found = {finding.where.split()[2]: finding.do.split("; ")[1:] for finding in examine(check_nftables)}
    assert found == {
        "FORWARD": [f"ip6tables -I DOCKER-USER -{side} {name}+ -j ACCEPT" for name in ("cali", "tap") for side in "io"],
        "INPUT": ["ip6tables-nft -t filter -I INPUT -p tcp --dport 179 -j ACCEPT"],
    }
