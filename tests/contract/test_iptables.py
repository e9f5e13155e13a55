"""What iptables alone has to promise: other people's rules, flushes, the lock, rules that the kernel refuses."""

from __future__ import annotations

import fcntl
import re
from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
import pytest

from tests.contract.test_life import ALL, ALLOWED, DENIED, OPEN, RECEIVER, SENDER, WEB, Host, host
from tests.unit.intent.policy_text import policy, workload
from tortie.dataplane.iptables.rows import set_name
from tortie.intent.policy import AddressSet, NamedPort, PortSet
from tortie.intent.state import PolicyChanges, SetDelta
from tortie.kernel.netfilter import xtables

__all__ = ["host"]


@pytest.fixture(params=["iptables-legacy", "iptables-nft"])
def backend_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


FRIENDS = AddressSet(id="friends", addresses={ip_address("10.65.0.1")})
BY_SET = policy("web", ingress="Allow tcp source=in:friends destination=80")
ALL_BY_SET = msgspec.structs.replace(ALL, new_sets=(FRIENDS,), policies={OPEN.key: OPEN, BY_SET.key: BY_SET})


def iptables(host: Host, arguments: str, program: str = "iptables") -> str:
    lock = f"XTABLES_LOCKFILE={host.folder}/xtables.lock"
    return host.arena.namespace.run(f"{lock} {host.name.replace('iptables', program)} {arguments}")


def foreign(host: Host) -> list[str]:
    """The rules, chains and sets that are not ours."""
    lines = host.ruleset().splitlines()
    return [line for line in lines if re.match(r"-A|:theirs|create|add", line) and "tortie" not in line]


def test_other_peoples_rules_stay_as_they_are(host: Host) -> None:
    host.arena.namespace.run("ipset create theirs hash:ip; ipset add theirs 192.0.2.7")
    for rule in (
        "-N theirs",
        '-A theirs -m set --match-set theirs src -m comment --comment "it\'s \\"theirs\\"" -j RETURN',
        "-A FORWARD -p tcp --dport 22 -j theirs",
        "-A INPUT -i eth0 -m mark --mark 0x1/0x1 -j ACCEPT",
        "-t raw -A PREROUTING -i eth0 -p udp -j ACCEPT",
        "-t nat -A POSTROUTING -o eth0 -j MASQUERADE",
    ):
        iptables(host, rule)
    before = foreign(host)
    assert len(before) == 8
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
    host.driver.run_until(lambda: host.ruleset() == before)
    assert host.passes(ALLOWED, DENIED) == [True, False]


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
