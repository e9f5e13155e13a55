"""What iptables alone has to promise: other people's rules, flushes, the lock, rules that the kernel refuses."""

from __future__ import annotations

import fcntl
import re
from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
import pytest

from tests.contract import test_hosts, test_translation
from tests.contract.test_hosts import BY_NAME, US, Witness, passes, send_as_host
from tests.contract.test_life import ALL, ALLOWED, DENIED, OPEN, RECEIVER, SENDER, WEB, Host, host
from tests.unit.intent.policy_text import packet, policy, workload
from tortie.dataplane.iptables.rows import set_name
from tortie.intent.policy import AddressSet, BothWays, NamedPort, PortSet
from tortie.intent.state import PolicyChanges, SetDelta
from tortie.kernel.netfilter import conntrack, xtables

__all__ = ["host"]


@pytest.fixture(params=["iptables-legacy", "iptables-nft"])
def backend_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


FRIENDS = AddressSet(id="friends", addresses={ip_address("10.65.0.1")})
BY_SET = policy("web", ingress="Allow tcp source=in:friends destination=80")
ALL_BY_SET = msgspec.structs.replace(ALL, new_sets=(FRIENDS,), policies={OPEN.key: OPEN, BY_SET.key: BY_SET})

# All that there is: workloads, host endpoints, translation.
EVERYTHING = msgspec.structs.replace(
    test_translation.CHANGES,
    policies=test_hosts.CHANGES.policies,
    host_endpoints={BY_NAME.key: BY_NAME},
    settings=test_hosts.CHANGES.settings,
)
NOTHING = PolicyChanges(
    policies=dict.fromkeys(EVERYTHING.policies),
    workloads=dict.fromkeys(EVERYTHING.workloads),
    host_endpoints={BY_NAME.key: None},
    pools=(),
    hosts=frozenset(),
)


def iptables(host: Host, arguments: str, program: str = "iptables") -> str:
    lock = f"XTABLES_LOCKFILE={host.folder}/xtables.lock"
    return host.arena.namespace.run(f"{lock} {host.name.replace('iptables', program)} {arguments}")


def foreign(host: Host) -> list[str]:
    """The rules, chains and sets that are not ours."""
    lines = host.ruleset().splitlines()
    return [line for line in lines if re.match(r"-A|:theirs|create|add", line) and "tortie" not in line]


def ours(host: Host) -> list[str]:
    """All rules, chains and sets but the kernel's own chains, of which a table that was used keeps the empty ones."""
    return [line for line in host.ruleset().splitlines() if re.match(r"-A|:tortie|create|add", line)]


def test_other_peoples_rules_stay_as_they_are(host: Host) -> None:
    host.arena.namespace.run("ipset create theirs hash:ip; ipset add theirs 192.0.2.7")
    for rule in (
        "-N theirs",
        '-A theirs -m set --match-set theirs src -m comment --comment "it\'s \\"theirs\\"" -j RETURN',
        "-A FORWARD -p tcp --dport 22 -j theirs",
        "-A INPUT -i eth0 -m mark --mark 0x1/0x1 -j ACCEPT",
        "-t raw -A PREROUTING -i eth0 -p udp -j ACCEPT",
        "-t nat -A POSTROUTING -o eth0 -j MASQUERADE",
        "-t nat -A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 80",
        "-t mangle -A PREROUTING -i eth0 -j MARK --set-xmark 0x1/0x1",
        "-t mangle -A POSTROUTING -p udp -j ACCEPT",
    ):
        iptables(host, rule)
    before = foreign(host)
    assert len(before) == 11
    host.take(EVERYTHING)
    assert foreign(host) == before
    host.take(NOTHING)
    assert foreign(host) == before
    host.take(ALL_BY_SET)
    assert foreign(host) == before
    host.take(PolicyChanges(policies={WEB.key: WEB}))
    host.take(PolicyChanges(workloads={SENDER.key: None, RECEIVER.key: None}, policies={WEB.key: None}))
    host.take(PolicyChanges(gone_sets=frozenset({"friends"})))
    assert foreign(host) == before
    assert "tortie4friends" not in host.ruleset()


@pytest.mark.parametrize("flushed", ["-F", "-t raw -F", "-F tortie-to-gnp-web", "-D FORWARD 1"])
def test_rules_that_others_flush_come_back(host: Host, flushed: str) -> None:
    host.take(ALL)
    before = host.ruleset()
    iptables(host, flushed)
    assert host.ruleset() != before
    host.driver.run_until(lambda: host.backend.repairs.times > 0)
    assert host.ruleset() == before
    assert host.passes(ALLOWED, DENIED) == [True, False]
    assert host.backend.repairs.open_ms > 0
    writes = host.backend.writes
    iptables(host, "-A INPUT -s 203.0.113.9 -j DROP")  # none of ours
    host.settle()
    assert (host.backend.writes, host.backend.repairs.times) == (writes, 1)


@pytest.mark.parametrize("backend_name", ["iptables-nft"])
def test_everything_that_others_flush_comes_back(host: Host) -> None:
    """To nftables the tables of iptables-nft are like any others."""
    host.take(ALL_BY_SET)
    before = host.ruleset()
    host.arena.namespace.run("nft flush ruleset; ipset flush")
    assert host.passes(DENIED) == [True]
    host.driver.run_until(lambda: host.backend.repairs.times > 0)
    assert host.ruleset() == before
    assert host.passes(ALLOWED, DENIED) == [True, False]


def test_nothing_is_left_of_what_is_withdrawn(host: Host) -> None:
    """The kernel's own chains of a table that was used stay, empty, as they do for everybody."""
    host.take(PolicyChanges())
    before = ours(host)
    host.take(EVERYTHING)
    assert len(ours(host)) > len(before)
    host.take(NOTHING)
    assert ours(host) == before


@pytest.mark.parametrize("flushed", ["-t mangle -F", "-t nat -F", "-t raw -F OUTPUT", "-t mangle -F tortie-before"])
def test_the_rules_of_every_table_come_back(host: Host, flushed: str) -> None:
    host.take(EVERYTHING)
    host.stop()
    host.start()
    host.take(EVERYTHING)
    assert host.backend.writes == 0
    before = host.ruleset()
    iptables(host, flushed)
    assert host.ruleset() != before
    host.driver.run_until(lambda: host.ruleset() == before)


def test_members_that_others_flush_come_back(host: Host) -> None:
    host.take(ALL_BY_SET)
    assert host.passes(ALLOWED) == [True]
    host.arena.namespace.run("ipset flush")
    assert host.passes(ALLOWED) == [False]
    host.driver.run_until(lambda: host.passes(ALLOWED) == [True])


def test_the_jump_goes_back_to_the_head(host: Host) -> None:
    host.take(ALL)
    iptables(host, "-I FORWARD -i calia -j ACCEPT")
    assert host.passes(DENIED) == [True]
    host.driver.run_until(lambda: host.passes(DENIED) == [False])
    listed = [line for line in iptables(host, "-S FORWARD").splitlines() if line.startswith("-A")]
    assert ["tortie-forward" in line for line in listed] == [True, False]


def test_a_mark_that_others_set_opens_nothing(host: Host) -> None:
    host.take(ALL)
    iptables(host, "-t mangle -A PREROUTING -j MARK --set-mark 0xffffffff")
    assert host.passes(ALLOWED, DENIED) == [True, False]


def test_a_mark_that_others_set_opens_no_host_endpoint(host: Host) -> None:
    host.take(EVERYTHING)
    for where in ("raw -A PREROUTING", "mangle -A PREROUTING", "raw -A OUTPUT"):
        iptables(host, f"-t {where} -j MARK --set-mark 0xffffffff")
    witness = Witness(host)
    texts = (
        f"eth0 198.51.100.1:9 > {US}:80 tcp",
        f"eth0 198.51.100.1:9 > {US}:443 tcp",
        "eth0 198.51.100.1:9 > 10.65.0.1:80 udp",
        "eth0 198.51.100.1:9 > 192.0.2.7:80 udp",
        f"- {US}:9 > 198.51.100.1:80 udp",
    )
    assert [passes(host, witness, packet(text), n) for n, text in enumerate(texts)] == [False, True, *[False] * 3]


def test_what_is_allowed_untracked_is_not_tracked(host: Host) -> None:
    host.take(EVERYTHING)
    witness = Witness(host)
    host.arena.forget_flows(host.socket)
    for number, (port, tracked) in enumerate(((53, 0), (54, 1))):
        assert passes(host, witness, packet(f"eth0 198.51.100.1:9 > {US}:{port} udp"), number)
        flows = [each for some in conntrack.walk(host.socket) for each in some]
        found = [each for each in flows if each.original.destination_port == port]
        assert len(found) == tracked


def test_a_translated_packet_of_the_host_is_judged_where_it_leaves(host: Host) -> None:
    """The kernel calls its interface by the old name until it is behind its new route."""
    silent = msgspec.structs.replace(BY_NAME, normal=BothWays(), untracked=BothWays())
    host.take(msgspec.structs.replace(EVERYTHING, host_endpoints={silent.key: silent}))
    host.arena.namespace.run("ip link add open up type veth peer name peer; ip link set peer up")
    host.arena.namespace.run("ip route add 192.0.2.7 dev open")
    iptables(host, "-t nat -A OUTPUT -d 192.0.2.7 -j DNAT --to 198.51.100.1")
    for number, to in enumerate(("198.51.100.1", "192.0.2.7", "203.0.113.7")):
        one = packet(f"- {US}:9 > {to}:80 udp")
        host.arena.namespace.call(lambda one=one, number=number: send_as_host(one, number))  # type: ignore[misc]
    assert host.arena.received({2}).keys() == {2}


def test_a_policy_of_host_endpoints_changes_alone(host: Host) -> None:
    """Its chain in each table that asks it: of two directions and two families the one that changed."""
    host.take(EVERYTHING)
    before = host.backend.writes
    host.take(PolicyChanges(policies={each.key: each for each in [policy("through", ingress="Allow", egress="Allow")]}))
    assert host.backend.writes - before == 4
    before = host.backend.writes
    host.take(PolicyChanges(policies={each.key: each for each in [policy("before", ingress="Allow")]}))
    assert host.backend.writes - before == 4
    raw = policy("raw", ingress="Allow udp destination=53", egress="Allow udp source=53\nAllow udp source=54")
    before = host.backend.writes
    host.take(PolicyChanges(policies={raw.key: raw}))
    assert host.backend.writes - before == 8


def test_one_member_is_one_write(host: Host) -> None:
    host.take(ALL_BY_SET)
    before = host.backend.writes
    delta = SetDelta(added=frozenset({ip_address("192.0.2.1")}), removed=frozenset({ip_address("10.65.0.1")}))
    host.take(PolicyChanges(changed_sets={"friends": delta}))
    assert host.backend.writes - before == 2
    assert host.passes(ALLOWED, "eth0 192.0.2.1:9 > 10.65.0.2:80 tcp") == [False, True]


def test_odd_members_are_read_back_as_they_were_written(host: Host) -> None:
    odd = AddressSet(
        id="o" * 40,
        addresses={ip_address(text) for text in ("::ffff:10.0.0.1", "::1", "::10.0.0.1", "2001:db8::", "10.0.0.1")},
        networks={
            ip_network(text) for text in ("::/0", "0.0.0.0/0", "10.0.0.1/32", "::ffff:10.0.0.0/120", "128.0.0.0/1")
        },
    )
    ports = PortSet(
        id="named",
        members={NamedPort(protocol, ip_address(f"::ffff:10.0.0.{protocol}"), 80) for protocol in (6, 17, 132, 136)},
    )
    host.take(PolicyChanges(new_sets=(odd, ports)))
    before = host.backend.writes
    host.settle()
    assert host.backend.writes == before
    assert [line for line in host.ruleset().splitlines() if line.startswith("add tortie4")] == [
        f"add {set_name(odd.id, 4)} {member}" for member in ("0.0.0.0/1", "10.0.0.1", "128.0.0.0/1")
    ]
    gone = SetDelta(removed=frozenset({ip_address("10.0.0.1"), ip_network("0.0.0.0/0")}))
    host.take(PolicyChanges(changed_sets={odd.id: gone}))
    assert [line for line in host.ruleset().splitlines() if line.startswith("add tortie4")] == [
        f"add {set_name(odd.id, 4)} {member}" for member in ("10.0.0.1", "128.0.0.0/1")
    ]


def test_named_ports_are_read_back_as_they_were_written(host: Host) -> None:
    addresses = [ip_address(text) for text in ("10.0.0.1", "::ffff:10.0.0.1", "fd00::1")]
    ports = PortSet(id="named", members={NamedPort(n, each, 80) for n in (6, 17, 132, 136) for each in addresses})
    host.take(PolicyChanges(new_sets=(ports,)))
    before = host.backend.writes
    host.settle()
    assert host.backend.writes == before


def test_a_chain_that_is_refused_closes_and_the_rest_goes_in(host: Host) -> None:
    host.take(ALL)
    refused = policy("web", ingress="Allow tcp destination=80\nAllow udp source=in:nowhere")
    other = policy("other", ingress="Allow tcp destination=81")
    sender = workload("a", "10.65.0.1,fd00:65::1", ingress="default=other", egress="| open", mac=SENDER.mac)
    back = "calib 10.65.0.2:9 > 10.65.0.1:81 tcp"
    host.backend.take(PolicyChanges(policies={WEB.key: refused, other.key: other}, workloads={SENDER.key: sender}))
    host.driver.begin()
    host.driver.finish()
    reasons = [f"{each.subject}: {each.reason}" for each in host.backend.pending]
    assert len(reasons) == 2
    assert all("tortie-to-gnp-web" in each and "doesn't exist" in each for each in reasons)
    assert (host.backend.missing(SENDER.key), "tortie-to-gnp-web" in host.backend.missing(RECEIVER.key)) == ("", True)
    assert host.passes(ALLOWED, back) == [False, True]
    host.take(PolicyChanges(policies={WEB.key: WEB}))
    assert host.passes(ALLOWED, DENIED, back) == [True, False, True]


@pytest.mark.parametrize("backend_name", ["iptables-legacy"])
def test_the_lock_of_others_is_waited_for_elsewhere(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The other variant knows no lock."""
    monkeypatch.setattr(xtables, "LOCK_WAIT_S", 1)
    host.take(ALL)
    with (tmp_path / "xtables.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        host.backend.take(PolicyChanges(policies={WEB.key: policy("web", ingress="Allow tcp destination=81")}))
        host.driver.begin()
        assert host.backend.busy
        host.driver.run_until(lambda: any(host.backend.pending))
        reasons = {each.reason for each in host.backend.pending}
        assert reasons == {"another program holds the lock of iptables for more than 1 s"}
        assert host.passes(ALLOWED, DENIED) == [True, False]
    host.driver.run_until(lambda: host.backend.in_sync)
    assert host.passes(ALLOWED, DENIED) == [False, True]
