"""What every backend promises besides agreement: closed until told, kept without its agent, adopted, changed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from tests.contract.arena import WORLD, A, Arena, B
from tests.contract.driver import Driver
from tests.netns.conftest import NetnsFactory
from tests.unit.intent.policy_text import chain, packet, policy, profile, workload
from tortie.dataplane.contract import Options, PolicyBackend, Repairs, load, names
from tortie.dataplane.nftables.closed import is_closed, open_up
from tortie.intent.policy import PolicySettings
from tortie.intent.state import PolicyChanges
from tortie.intent.verdict import Reason
from tortie.kernel.netfilter import change, table, transaction
from tortie.kernel.netfilter.socket import NetfilterSocket

OPEN = profile("open", ingress="Allow", egress="Allow")
WEB = policy("web", ingress="Allow tcp destination=80")
SENDER = workload("a", "10.65.0.1,fd00:65::1", ingress="| open", egress="| open", mac=A.mac)
RECEIVER = workload("b", "10.65.0.2,fd00:65::2", ingress="default=web", egress="| open", mac=B.mac)
ALL = PolicyChanges(
    policies={each.key: each for each in (OPEN, WEB)},
    workloads={each.key: each for each in (SENDER, RECEIVER)},
)
ALLOWED = "calia 10.65.0.1:9 > 10.65.0.2:80 tcp"
DENIED = "calia 10.65.0.1:9 > 10.65.0.2:81 tcp"
MACS = {port.interface: port.mac for port in (A, B, WORLD)}


class Host:
    """The arena with a backend that comes and goes as its agent does."""

    def __init__(self, arena: Arena, backend_name: str, folder: Path) -> None:
        self.arena = arena
        self.socket = arena.namespace.call(NetfilterSocket)
        self.name = backend_name
        self.folder = folder
        self.start()

    def start(self) -> None:
        self.driver = Driver(self.arena.namespace, self.name, self.folder)

    def stop(self) -> None:
        self.driver.close()

    def remove(self) -> None:
        """What is done when it is wanted no more."""
        self.arena.namespace.call(lambda: load(self.name).remove(self._options))

    def traces(self) -> list[str]:
        """What it says that stands in the kernel."""
        return self.arena.namespace.call(lambda: load(self.name).traces(self._options))

    def drops(self) -> dict[Reason, int]:
        """How many packets were dropped for each reason."""
        return {
            reason: n.packets for reason, n in self.arena.namespace.call(load(self.name).drops).items() if n.packets
        }

    @property
    def _options(self) -> Options:
        return Options(wake=lambda: None, xtables_lock=str(self.folder / "xtables.lock"))

    @property
    def backend(self) -> PolicyBackend:
        return self.driver.backend

    def settle(self) -> None:
        self.driver.resync()

    def take(self, changes: PolicyChanges) -> None:
        self.backend.take(changes)
        self.settle()

    def passes(self, *texts: str) -> list[bool]:
        """Whether each packet, the first of its conversation, comes out at the other end."""
        self.arena.forget_flows(self.socket)
        for number, text in enumerate(texts):
            one = packet(text)
            self.arena.send(msgspec.structs.replace(one, source_mac=MACS[one.interface]), number)
        found = self.arena.received(set())
        return [number in found for number in range(len(texts))]

    def rules(self) -> list[str]:
        """The same without the kernel's own chains, which iptables makes and nobody takes away."""
        listed = self.ruleset().splitlines()
        return [line for line in listed if line.strip() and not re.match(r"\*|:[A-Z]+ ACCEPT|COMMIT", line)]

    def ruleset(self) -> str:
        """What the backend's own tools list, without what was counted, and when."""
        program, _, variant = self.name.partition("-")
        listed = "nft list ruleset"
        if program == "iptables":
            listed = f"iptables-{variant}-save; ip6tables-{variant}-save; ipset save -sorted;"
            listed += f"nft list table inet tortie-fragments-{variant} 2>/dev/null || true"
        noise = r"packets \d+ bytes \d+|\[\d+:\d+\]|initval \w+|^#.*$"
        return re.sub(noise, "", self.arena.namespace.run(listed), flags=re.MULTILINE)


@pytest.fixture
def host(netns: NetnsFactory, backend_name: str, tmp_path: Path) -> Iterator[Host]:
    arena = Arena(netns("host"))
    made = Host(arena, backend_name, tmp_path)
    yield made
    made.stop()
    made.socket.close()
    arena.close()


def test_nothing_passes_an_interface_that_has_no_endpoint(host: Host) -> None:
    to_it = "eth0 192.0.2.1:9 > 10.65.0.2:80 tcp"
    assert host.passes(ALLOWED, to_it) == [True, True]  # nobody has spoken yet
    host.settle()
    assert host.passes(ALLOWED, to_it) == [False, False]
    host.take(ALL)
    assert host.passes(ALLOWED, to_it, DENIED) == [True, True, False]
    host.take(PolicyChanges(workloads={RECEIVER.key: None}))
    assert host.passes(ALLOWED, to_it) == [False, False]


@pytest.mark.parametrize("backend_name", ["nftables"])
@pytest.mark.parametrize("half", ["dispatch", "arrival"])
def test_an_endpoint_of_which_half_is_written_is_closed(host: Host, half: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the kernel refuses the other half."""
    monkeypatch.setattr(f"tortie.dataplane.nftables.sink.{half}", lambda *_: {})
    host.take(ALL)
    assert host.passes(ALLOWED, "calia 10.65.0.1:9 > 192.0.2.1:80 tcp") == [False, False]


@pytest.mark.parametrize("backend_name", ["nftables"])
def test_an_endpoint_that_is_one_too_many_is_closed_until_there_is_room(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sets that every packet asks are of a fixed size."""
    host.stop()
    monkeypatch.setattr("tortie.dataplane.nftables.arrival.SIZE", 1)
    host.start()
    host.take(PolicyChanges(policies=ALL.policies, workloads={RECEIVER.key: RECEIVER}))
    host.backend.take(PolicyChanges(workloads={SENDER.key: SENDER}))
    host.driver.begin()
    assert not host.passes(ALLOWED)[0]
    assert "full" in host.backend.missing(SENDER.key), [
        f"{each.subject}: {each.reason}" for each in host.backend.pending
    ]
    assert host.passes("eth0 192.0.2.1:9 > 10.65.0.2:80 tcp") == [True]
    host.backend.take(PolicyChanges(workloads={RECEIVER.key: None}))
    host.driver.run_until(lambda: not any(host.backend.pending))
    assert host.passes("calia 10.65.0.1:9 > 192.0.2.1:80 tcp") == [True]


@pytest.mark.parametrize("backend_name", ["nftables"])
def test_an_endpoint_with_the_policies_of_another_takes_elements_alone(host: Host) -> None:
    """What leads to a chain makes the kernel walk all of the table."""

    def chains() -> list[str]:
        return [line for line in host.ruleset().splitlines() if line.strip().startswith("chain")]

    host.take(ALL)
    before = chains()
    third = msgspec.structs.replace(
        workload("c", "10.65.0.3", ingress="default=web", egress="| open", mac=B.mac), interface="eth0"
    )
    host.take(PolicyChanges(workloads={third.key: third}))
    assert chains() == before
    assert host.backend.missing(third.key) == ""


def test_the_hosts_own_interface_is_never_closed(host: Host) -> None:
    """Whatever it begins with, and also while an endpoint names it."""
    to_it = "eth0 192.0.2.1:9 > 10.65.0.2:80 tcp"
    denied = "eth0 192.0.2.1:9 > 10.65.0.2:81 tcp"
    spoofed = "calib 192.0.2.2:9 > 10.65.0.1:80 tcp"
    host.backend.exempt(frozenset({"calib"}))
    host.settle()
    assert host.passes(ALLOWED, to_it, spoofed) == [False, True, False], "the other is closed"
    host.take(ALL)
    assert host.passes(ALLOWED, to_it, denied, spoofed) == [True, True, True, True]
    assert "the host's own" in host.backend.missing(RECEIVER.key)
    assert host.backend.missing(SENDER.key) == ""
    host.backend.exempt(frozenset())
    host.settle()
    assert host.passes(ALLOWED, to_it, denied, spoofed) == [True, True, False, False]
    assert host.backend.missing(RECEIVER.key) == ""


def test_an_interface_that_is_renamed_stays_closed_and_opens_under_its_name(host: Host) -> None:
    """Whatever it is called then; only its endpoint's name opens it."""
    back = "calib 10.65.0.2:9 > 10.65.0.1:80 tcp"
    host.take(ALL)
    assert host.passes(ALLOWED, DENIED, back) == [True, False, True]
    host.arena.namespace.run("ip link set calib name other0")
    if host.name == "nftables":  # which knows it by its index: the policy stays in force until the agent looks
        assert host.passes(ALLOWED, DENIED, back) == [True, False, True]
    host.driver.see(governed={"calia", "other0"})
    host.settle()
    assert host.passes(ALLOWED, DENIED, back) == [False, False, False]
    host.arena.namespace.run("ip link set other0 name calib")
    host.driver.see(governed={"calia", "calib"})
    host.settle()
    assert host.passes(ALLOWED, DENIED, back) == [True, False, True]


def test_an_interface_that_begins_like_no_workloads_is_one_while_an_endpoint_has_it(
    host: Host,
) -> None:
    back = "calib 10.65.0.2:9 > 10.65.0.1:80 tcp"
    host.arena.namespace.run("ip link set calib name vm0")
    outsider = msgspec.structs.replace(RECEIVER, interface="vm0")
    host.take(PolicyChanges(policies=ALL.policies, workloads={SENDER.key: SENDER}))
    assert host.passes(DENIED) == [True], "it is the host's own so far"
    host.take(PolicyChanges(workloads={outsider.key: outsider}))
    if host.name == "nftables":
        assert host.passes(ALLOWED, DENIED, back) == [False, False, False], "nobody told of it"
    host.driver.see(governed={"calia", "vm0"})
    host.settle()
    assert host.passes(ALLOWED, DENIED, back) == [True, False, True]
    host.take(PolicyChanges(workloads={outsider.key: None}))
    assert host.passes(ALLOWED, DENIED, back) == [False, False, False]


def test_an_interface_made_anew_is_closed_until_it_is_told_of(host: Host) -> None:
    host.take(ALL)
    host.arena.make_anew(B)
    if host.name == "nftables":
        assert host.passes(ALLOWED, DENIED) == [False, False]
    host.driver.see()
    host.settle()
    assert host.passes(ALLOWED, DENIED) == [True, False]


def test_a_backend_that_is_not_wanted_any_more_leaves_no_trace(host: Host) -> None:
    host.arena.namespace.run("nft add table ip theirs; iptables-legacy -A FORWARD -s 203.0.113.9 -j DROP")
    host.stop()
    host.remove()
    before = host.rules()
    assert host.traces() == []
    host.start()
    host.take(ALL)
    assert host.rules() != before
    host.stop()
    assert host.traces() != []
    for _ in range(2):
        host.remove()
        assert host.rules() == before
        assert host.traces() == []
    host.start()


def test_what_is_in_force_outlives_the_agent_and_is_adopted_without_a_write(host: Host) -> None:
    host.take(ALL)
    host.stop()
    host.start()
    assert host.passes(ALLOWED, DENIED) == [True, False]
    host.take(ALL)
    assert host.backend.writes == 0
    assert host.passes(ALLOWED, DENIED) == [True, False]


def test_where_conversations_may_be_older_than_tracking_policy_judges_their_packets(host: Host) -> None:
    allowed, denied = "calia 10.65.0.1:10 > 10.65.0.2:80 tcp ack", "calia 10.65.0.1:10 > 10.65.0.2:81 tcp ack"
    host.take(ALL)
    assert host.passes(ALLOWED, allowed, denied) == [True, False, False]
    host.take(PolicyChanges(settings=PolicySettings(lenient=True)))
    assert host.passes(ALLOWED, allowed, denied) == [True, True, False]
    host.take(PolicyChanges(settings=PolicySettings()))
    assert host.passes(ALLOWED, allowed, denied) == [True, False, False]


def test_where_it_never_ran_there_is_nothing_to_remove_and_nothing_made_by_looking(netns: NetnsFactory) -> None:
    """A legacy table comes into being when somebody looks at it."""
    host = netns("untouched")
    for name in names():
        assert host.call(partial(load(name).traces, Options(wake=lambda: None))) == []
        host.call(partial(load(name).remove, Options(wake=lambda: None)))
    tables = host.run("cat /proc/thread-self/net/ip_tables_names /proc/thread-self/net/ip6_tables_names", check=False)
    assert (tables, host.run("nft list tables"), host.run("ipset list -n", check=False)) == ("", "", "")


def test_without_nf_tables_there_is_nothing_of_it_to_remove(
    netns: NetnsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subsystem that nobody registered is to the kernel as if it were that."""
    host = netns("no-nf-tables")
    for module in (change, transaction):
        monkeypatch.setattr(module, "NF_TABLES", 12)
    for name in names():
        assert host.call(partial(load(name).traces, Options(wake=lambda: None))) == []
        host.call(partial(load(name).remove, Options(wake=lambda: None)))
    assert not host.call(is_closed)
    host.call(open_up)


def test_without_the_program_of_ip_sets_there_is_none_to_remove(
    netns: NetnsFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = netns("no-ipset")
    for program in [f"{which}-{variant}-save" for which in ("iptables", "ip6tables") for variant in ("nft", "legacy")]:
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    host.run("iptables-legacy -A FORWARD -j ACCEPT; iptables-nft -A FORWARD -j ACCEPT")
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in names():
        assert host.call(partial(load(name).traces, Options(wake=lambda: None))) == []
        host.call(partial(load(name).remove, Options(wake=lambda: None)))


def test_an_agent_that_starts_removes_what_is_wanted_no_more(host: Host) -> None:
    host.take(ALL)
    before = host.ruleset()
    host.stop()
    host.start()
    host.take(PolicyChanges())
    assert "calia" not in host.ruleset()
    assert host.passes(ALLOWED) == [False]
    host.take(ALL)
    assert sorted(host.ruleset().split()) == sorted(before.split())


@pytest.mark.parametrize("backend_name", ["nftables"])
def test_others_cannot_flush_it(host: Host) -> None:
    host.take(ALL)
    host.arena.namespace.run("nft add table ip theirs; nft flush ruleset")
    assert host.passes(ALLOWED, DENIED) == [True, False]
    host.settle()
    assert "theirs" not in host.ruleset()


def test_what_others_flush_comes_back_where_the_kernel_cannot_keep_them_from_it(
    netns: NetnsFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before Linux 6.9."""
    monkeypatch.setattr(table, "can_persist", lambda: False)
    arena = Arena(netns("host"))
    host = Host(arena, "nftables", tmp_path)
    try:
        host.take(ALL)
        assert "owner" not in host.ruleset()
        before = host.ruleset()
        writes = host.backend.writes
        host.driver.run_until(lambda: host.backend.in_sync)
        assert (host.backend.writes, host.backend.repairs) == (writes, Repairs())
        for number, flushed in enumerate(("nft flush ruleset", "nft flush chain inet tortie forward-to")):
            host.arena.namespace.run(flushed)
            assert host.ruleset() != before
            host.driver.run_until(lambda number=number: host.backend.repairs.times > number)  # type: ignore[misc]
            assert sorted(host.ruleset().split()) == sorted(before.split())
            assert host.passes(ALLOWED, DENIED) == [True, False]
            assert host.backend.repairs.open_ms > 0
            assert host.backend.repairs.by.endswith(" (nft)")
    finally:
        host.stop()
        host.socket.close()
        arena.close()


def test_a_policy_that_changes_back_and_forth_loses_and_leaks_nothing(host: Host) -> None:
    """Every change replaces rules that packets are meeting: the allowed and the denied stay what they are."""
    host.take(ALL)
    versions = [
        policy("web", ingress=f"Deny udp\nAllow tcp destination=80,{1000 + number}:{2000 + number}\nDeny icmp")
        for number in range(20)
    ]
    host.arena.forget_flows(host.socket)
    sent = 0
    for number in range(200):
        host.backend.take(PolicyChanges(policies={WEB.key: versions[number % len(versions)]}))
        host.driver.begin()
        for text, offset in ((ALLOWED, 0), (DENIED, 1)):
            one = msgspec.structs.replace(packet(text), source_mac=A.mac, source_port=2000 + number)
            host.arena.send(one, 2 * number + offset)
        sent += 1
        host.driver.settle()
    found = host.arena.received({2 * number for number in range(sent)})
    assert {mark for mark in found if mark % 2} == set()
    assert len(found) == sent


def test_sets_change_by_their_members_and_their_prefixes_may_overlap(host: Host) -> None:
    from ipaddress import ip_address, ip_network

    from tortie.intent.policy import AddressSet
    from tortie.intent.state import SetDelta

    by_set = policy("web", ingress="Allow tcp source=in:friends destination=80")
    empty = AddressSet(id="friends")
    host.take(msgspec.structs.replace(ALL, new_sets=(empty,), policies={OPEN.key: OPEN, WEB.key: by_set}))

    def probe() -> list[bool]:
        return host.passes(
            *(f"eth0 {source}:9 > 10.65.0.2:80 tcp" for source in ("192.0.2.1", "192.0.2.200", "192.1.0.1"))
        )

    def change(added: tuple[str, ...] = (), removed: tuple[str, ...] = ()) -> None:
        def members(texts: tuple[str, ...]) -> frozenset[object]:
            return frozenset(ip_network(text) if "/" in text else ip_address(text) for text in texts)

        delta = SetDelta(added=members(added), removed=members(removed))  # type: ignore[arg-type]  # of addresses
        host.take(PolicyChanges(changed_sets={"friends": delta}))

    assert probe() == [False, False, False]
    change(added=("192.0.2.1",))
    assert probe() == [True, False, False]
    change(added=("192.0.2.128/25",))
    assert probe() == [True, True, False]
    change(added=("192.0.0.0/16", "192.0.2.192/26"))
    assert probe() == [True, True, False]
    change(added=("192.0.0.0/15",), removed=("192.0.0.0/16", "192.0.2.1"))
    assert probe() == [True, True, True]
    change(removed=("192.0.0.0/15",))
    assert probe() == [False, True, False]
    change(removed=("192.0.2.128/25", "192.0.2.192/26"))
    assert probe() == [False, False, False]


def test_prefixes_of_a_length_that_become_many_or_few_lose_and_leak_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They move from one of nftables' sets to another while packets of members, and of others, meet the rule."""
    from ipaddress import ip_network

    from tortie.dataplane.nftables import lengths
    from tortie.intent.policy import AddressSet
    from tortie.intent.state import SetDelta

    monkeypatch.setattr(lengths, "MANY", 8)
    monkeypatch.setattr(lengths, "FEW", 4)
    rules = "Deny tcp source!=in:friends destination=80\nAllow tcp source=in:friends destination=80"
    friends = AddressSet(id="friends", networks={ip_network("192.0.2.0/28")})
    host.take(
        msgspec.structs.replace(
            ALL, new_sets=(friends,), policies={OPEN.key: OPEN, WEB.key: policy("web", ingress=rules)}
        )
    )
    more = frozenset(ip_network((0xC0000300 + 16 * n, 28)) for n in range(10))
    wide = frozenset({ip_network("192.0.4.0/24")})
    for number in range(20):
        expected = number % 2 == 0
        delta = SetDelta(added=more | wide) if expected else SetDelta(removed=more | wide)
        host.arena.forget_flows(host.socket)
        host.backend.take(PolicyChanges(changed_sets={"friends": delta}))
        host.driver.begin()
        for mark, source in ((1000 + number, "192.0.2.1"), (2000 + number, "192.0.2.17")):
            one = packet(f"eth0 {source}:{mark} > 10.65.0.2:80 tcp")
            host.arena.send(msgspec.structs.replace(one, source_mac=MACS[one.interface]), mark)
        host.driver.settle()
        found = host.arena.received({1000 + number})
        assert {mark for mark in found if mark >= 1000} == {1000 + number}
        sources = ("192.0.3.1", "192.0.3.145", "192.0.3.161", "192.0.4.9")
        passed = host.passes(*(f"eth0 {source}:9 > 10.65.0.2:80 tcp" for source in sources))
        assert passed == [expected, expected, False, expected]


def test_there_may_be_many_tiers(host: Host) -> None:
    """The kernel lets no way through nftables' chains be longer than 16."""
    tiers = 40
    passing = [policy(f"p{number}", ingress="Pass tcp destination=80") for number in range(tiers)]
    ingress = chain(" ".join(f"tier{number}=p{number}" for number in range(tiers)) + " default=web")
    receiver = msgspec.structs.replace(RECEIVER, policy=msgspec.structs.replace(RECEIVER.policy, ingress=ingress))
    host.take(
        PolicyChanges(
            policies={each.key: each for each in (*passing, OPEN, WEB)},
            workloads={SENDER.key: SENDER, receiver.key: receiver},
        )
    )
    assert host.passes(ALLOWED, DENIED) == [True, False]
    host.take(PolicyChanges(policies={passing[20].key: policy("p20", ingress="Pass tcp destination=81")}))
    assert host.passes(ALLOWED, DENIED) == [False, False]


def test_every_rule_says_where_it_was_written(host: Host) -> None:
    host.take(ALL)
    assert 'default|GlobalNetworkPolicy(web) ingress rule 0"' in host.ruleset()


def test_a_long_name_is_cut_and_a_hash_stands_for_the_rest(host: Host) -> None:
    name = "x" * 253
    long = policy(name, ingress="Allow tcp destination=80")
    receiver = workload("b", "10.65.0.2", ingress=f"default={name}", egress="| open")
    host.take(
        PolicyChanges(policies={OPEN.key: OPEN, long.key: long}, workloads={SENDER.key: SENDER, receiver.key: receiver})
    )
    comments = [line for line in host.ruleset().splitlines() if "xxx" in line and "comment" in line]
    assert all('ingress rule 0"' in line for line in comments)
    assert comments
    assert host.passes(ALLOWED, DENIED) == [True, False]
