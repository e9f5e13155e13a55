"""Transactions on a real kernel: all or nothing, who failed and why, whose table it is, and who else changes things."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest

from tests.netns.conftest import Namespace
from tests.netns.kernel.netfilter.nft import INET, TABLE, connected, ip, listed, rules
from tortie.errors import Busy, Exists, Gone, KernelError, Refused, Unsupported
from tortie.kernel.netfilter import chain, change, elements, rule, sets, table, transaction
from tortie.kernel.netfilter.chain import Chain, Hook, InetHook
from tortie.kernel.netfilter.change import Change
from tortie.kernel.netfilter.datatype import IPV4
from tortie.kernel.netfilter.elements import Element
from tortie.kernel.netfilter.expression import Base, Cmp, Lookup, Meta, MetaKey, Payload
from tortie.kernel.netfilter.message import Family
from tortie.kernel.netfilter.monitor import Changed, RulesetMonitor
from tortie.kernel.netfilter.rule import Rule, body
from tortie.kernel.netfilter.sets import Set
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.statement import Counter, Decide
from tortie.kernel.netfilter.table import OWNED, Table, TableFlag
from tortie.kernel.netfilter.transaction import TransactionFailed, commit, generation
from tortie.kernel.netfilter.verdict import ACCEPT, Code, jump
from tortie.kernel.netlink.monitor import Overflow

C, D = Chain(INET, TABLE, "c"), Chain(INET, TABLE, "d")
MEMBERS = Set(INET, TABLE, "members", (IPV4,))


def says(number: int) -> Rule:
    """A rule that can be told from others."""
    return Rule(INET, TABLE, "c", body([Meta(MetaKey.MARK), Cmp(number.to_bytes(4, "little"))]), f"rule {number}")


def comments(sock: NetfilterSocket) -> list[str]:
    return [found.comment for found in rule.dump(sock, INET, TABLE, "c")]


class TestAllOrNothing:
    def test_one_bad_change_undoes_all_and_is_named(self, host: Namespace, sock: NetfilterSocket) -> None:
        before = listed(host)
        bad = rule.append(says(1)._replace(chain="nowhere"))
        with pytest.raises(TransactionFailed) as caught:
            commit(sock, [chain.add(C), sets.add(MEMBERS), rule.append(says(1)), bad, chain.add(D)])
        assert listed(host) == before
        (failure,) = caught.value.failures
        assert (failure.change, type(failure.error)) == (3, Gone)
        assert str(caught.value) == ("change 4 of 5: new rule inet tortie nowhere: No such file or directory (nowhere)")

    def test_all_bad_changes_are_named(self, sock: NetfilterSocket) -> None:
        commit(sock, [chain.add(C)])
        names = ["c" if number % 3 == 0 else f"n{number}" for number in range(300)]
        changes = [chain.add(Chain(INET, TABLE, name)) for name in names]
        with pytest.raises(TransactionFailed) as caught:
            commit(sock, changes)
        assert [failure.change for failure in caught.value.failures] == list(range(0, 300, 3))
        assert {type(failure.error) for failure in caught.value.failures} == {Exists}
        rest = [change for number, change in enumerate(changes) if number % 3]
        commit(sock, rest)
        assert len(chain.dump(sock, INET, TABLE)) == 201

    def test_the_socket_goes_on_after_a_failure(self, sock: NetfilterSocket) -> None:
        for _ in range(3):
            with pytest.raises(TransactionFailed):
                commit(sock, [chain.delete(C), chain.delete(D)])
        commit(sock, [chain.add(C)])
        assert [found.name for found in chain.dump(sock, INET, TABLE)] == ["c"]

    def test_ten_thousand_failures_are_all_told(self, sock: NetfilterSocket) -> None:
        with pytest.raises(TransactionFailed) as caught:
            commit(sock, [rule.append(says(number)) for number in range(10_000)])
        assert len(caught.value.failures) == 10_000


REFUSALS: dict[str, tuple[Change, type[KernelError], str]] = {
    "a chain that is there": (chain.add(C), Exists, "new chain inet tortie c: File exists (c)"),
    "a chain that is not there": (chain.delete(D), Gone, "delete chain inet tortie d: No such file or directory (d)"),
    "a rule that is not there": (
        rule.delete(says(1)._replace(handle=999)),
        Gone,
        "delete rule inet tortie c handle 999: No such file or directory",
    ),
    "a set that is in use": (
        sets.delete(MEMBERS),
        Busy,
        "delete set inet tortie members: Device or resource busy (members)",
    ),
    "a set that no rule can find": (
        rule.append(Rule(INET, TABLE, "c", body([Payload(Base.NETWORK, 12, 4), Lookup("nosuch")]))),
        Gone,
        "new rule inet tortie c: No such file or directory",
    ),
    "a register that nothing was loaded into": (
        rule.append(Rule(INET, TABLE, "c", body([Cmp(b"\1")]))),
        Refused,
        "new rule inet tortie c: No data available",
    ),
    "chains that call each other": (
        rule.append(Rule(INET, TABLE, "c", body([Decide(jump("c"))]))),
        Refused,
        "new rule inet tortie c: Too many links",
    ),
    "a table of a family nobody has": (
        table.put(Table(INET, TABLE, TableFlag(64))),
        Unsupported,
        "new table inet tortie: Operation not supported",
    ),
}


@pytest.mark.parametrize(("change", "kind", "words"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_says_what_and_why(
    sock: NetfilterSocket, change: Change, kind: type[KernelError], words: str
) -> None:
    user = Rule(INET, TABLE, "c", body([Payload(Base.NETWORK, 12, 4), Lookup("members")]))
    base = Chain(INET, TABLE, "base", Hook(InetHook.INPUT))  # what no packet can reach is not looked at so closely
    into_c = Rule(INET, TABLE, "base", body([Decide(jump("c"))]))
    commit(sock, [chain.add(C), sets.add(MEMBERS), rule.append(user), chain.add(base), rule.append(into_c)])
    with pytest.raises(TransactionFailed) as caught:
        commit(sock, [change])
    (failure,) = caught.value.failures
    assert (type(failure.error), str(failure.error)) == (kind, words)


class TestGeneration:
    def test_every_transaction_makes_a_new_one(self, sock: NetfilterSocket) -> None:
        before = generation(sock)
        commit(sock, [chain.add(C)])
        assert generation(sock) == before + 1

    def test_a_change_at_the_generation_that_was_read(self, sock: NetfilterSocket) -> None:
        commit(sock, [chain.add(C)], at_generation=generation(sock))
        assert [found.name for found in chain.dump(sock, INET, TABLE)] == ["c"]

    def test_somebody_came_first(self, host: Namespace, sock: NetfilterSocket) -> None:
        read_at = generation(sock)
        host.run("nft add table inet other")
        with pytest.raises(Busy):
            commit(sock, [chain.add(C)], at_generation=read_at)
        assert chain.dump(sock, INET, TABLE) == []


class TestRules:
    @pytest.fixture(autouse=True)
    def three(self, sock: NetfilterSocket) -> dict[int, int]:
        """Rules 1 to 3; their handles."""
        commit(sock, [chain.add(C)])
        handles = commit(sock, [rule.append(says(number)) for number in (1, 2, 3)], want_handles=True)
        return {change + 1: handle for change, handle in handles.items()}

    def test_handles_are_those_that_are_read(self, sock: NetfilterSocket, three: dict[int, int]) -> None:
        assert {int(found.comment[-1]): found.handle for found in rule.dump(sock, INET, TABLE)} == three

    def test_positions(self, sock: NetfilterSocket, three: dict[int, int]) -> None:
        commit(sock, [rule.append(says(4)), rule.insert(says(5))])
        commit(sock, [rule.append(says(6), after=three[1]), rule.insert(says(7), before=three[1])])
        assert comments(sock) == [f"rule {number}" for number in (5, 7, 1, 6, 2, 3, 4)]

    def test_a_rule_is_replaced_in_its_place(self, sock: NetfilterSocket, three: dict[int, int]) -> None:
        (new,) = commit(sock, [rule.replace(says(9)._replace(handle=three[2]))], want_handles=True).values()
        assert comments(sock) == ["rule 1", "rule 9", "rule 3"]
        assert new == rule.dump(sock, INET, TABLE)[1].handle

    def test_rules_go_one_by_one_or_all_at_once(self, sock: NetfilterSocket, three: dict[int, int]) -> None:
        commit(sock, [rule.delete(says(2)._replace(handle=three[2]))])
        assert comments(sock) == ["rule 1", "rule 3"]
        commit(sock, [chain.flush(C), rule.append(says(8))])
        assert comments(sock) == ["rule 8"]

    def test_only_the_chain_that_was_asked_for(self, sock: NetfilterSocket) -> None:
        commit(sock, [chain.add(D), rule.append(says(7)._replace(chain="d"))])
        assert [found.comment for found in rule.dump(sock, INET, TABLE, "d")] == ["rule 7"]
        assert len(rule.dump(sock, INET, TABLE)) == 4


def test_a_policy_changes_in_place(host: Namespace, sock: NetfilterSocket) -> None:
    base = C._replace(hook=Hook(InetHook.FORWARD))
    commit(sock, [chain.add(base), rule.append(says(1))])
    assert base.hook
    closed = base._replace(hook=base.hook._replace(policy=Code.DROP))
    commit(sock, [chain.put(closed)])
    assert [found._replace(handle=0) for found in chain.dump(sock, INET, TABLE)] == [closed]
    assert comments(sock) == ["rule 1"]


def test_a_table_goes_with_all_that_is_in_it(host: Namespace, sock: NetfilterSocket) -> None:
    commit(sock, [chain.add(C), rule.append(says(1)), sets.add(MEMBERS)])
    commit(sock, [table.delete(INET, TABLE)])
    assert listed(host) == []


class TestOwner:
    @pytest.fixture
    def owner(self, host: Namespace) -> Iterator[NetfilterSocket]:
        """The socket that owns the table, with a chain and a rule in it."""
        with NetfilterSocket.open_in(host.path) as owner:
            commit(owner, [table.put(Table(INET, TABLE, OWNED)), chain.add(C), rule.append(says(1))])
            yield owner

    def test_this_kernel_can_persist(self) -> None:
        assert table.can_persist()

    def test_the_owner_is_named(self, owner: NetfilterSocket) -> None:
        assert table.dump(owner) == [Table(INET, TABLE, OWNED, owner.port)]

    def test_others_cannot_change_it(self, host: Namespace, owner: NetfilterSocket) -> None:
        host.run("nft flush ruleset")
        host.run(f"! nft delete table inet {TABLE}")
        with NetfilterSocket.open_in(host.path) as other, pytest.raises(TransactionFailed) as caught:
            commit(other, [chain.flush(C)])
        assert isinstance(caught.value.failures[0].error, Refused)
        assert comments(owner) == ["rule 1"]

    def test_it_outlives_its_owner_and_is_adopted_with_its_contents(
        self, host: Namespace, owner: NetfilterSocket
    ) -> None:
        owner.close()
        with NetfilterSocket.open_in(host.path) as heir:
            assert table.dump(heir) == [Table(INET, TABLE, TableFlag.PERSIST)]
            commit(heir, [table.put(Table(INET, TABLE, OWNED)), rule.append(says(2))])
            assert table.dump(heir) == [Table(INET, TABLE, OWNED, heir.port)]
            assert comments(heir) == ["rule 1", "rule 2"]
            host.run("nft flush ruleset")
            assert comments(heir) == ["rule 1", "rule 2"]

    def test_a_table_of_a_living_owner_is_not_adopted(self, host: Namespace, owner: NetfilterSocket) -> None:
        with NetfilterSocket.open_in(host.path) as other, pytest.raises(TransactionFailed) as caught:
            commit(other, [table.put(Table(INET, TABLE, OWNED))])
        assert isinstance(caught.value.failures[0].error, Refused)
        assert table.dump(owner) == [Table(INET, TABLE, OWNED, owner.port)]


class TestMonitor:
    @pytest.fixture
    def monitor(self, host: Namespace, sock: NetfilterSocket) -> Iterator[RulesetMonitor]:
        with host.call(RulesetMonitor) as monitor:
            yield monitor

    @staticmethod
    def next_of(monitor: RulesetMonitor) -> Changed:
        readable, _, _ = select.select([monitor.fileno()], [], [], 5)
        assert readable
        (event,) = monitor.read(100)
        assert isinstance(event, Changed)
        return event

    def test_a_quiet_kernel_has_no_events(self, monitor: RulesetMonitor) -> None:
        assert monitor.read(100) == []

    def test_our_own_changes_carry_our_port(self, sock: NetfilterSocket, monitor: RulesetMonitor) -> None:
        commit(sock, [chain.add(C), rule.append(says(1))])
        event = self.next_of(monitor)
        assert (event.port, event.generation) == (sock.port, generation(sock))
        assert event.tables == {(INET, TABLE)}

    def test_others_are_told_by_name(self, host: Namespace, sock: NetfilterSocket, monitor: RulesetMonitor) -> None:
        host.run(f"nft 'add table ip x; add chain inet {TABLE} theirs'")
        event = self.next_of(monitor)
        assert event.port != sock.port
        assert event.program == "nft"
        assert event.tables == {(INET, TABLE), (Family.IP, "x")}
        assert event.process > 0

    def test_a_failed_transaction_is_no_event(self, sock: NetfilterSocket, monitor: RulesetMonitor) -> None:
        with pytest.raises(TransactionFailed):
            commit(sock, [chain.add(C), chain.add(C)])
        assert monitor.read(100) == []

    def test_what_was_lost_is_told_after_what_was_queued(self, host: Namespace, sock: NetfilterSocket) -> None:
        commit(sock, [sets.add(MEMBERS)])
        with host.call(lambda: RulesetMonitor(buffer_bytes=4096)) as monitor:
            for number in range(200):
                commit(sock, elements.add(MEMBERS, [Element(ip(f"10.0.0.{number}"))]))
            assert monitor.read(1000) == [Overflow()]
            commit(sock, [chain.add(C)])
            assert self.next_of(monitor).generation == generation(sock)


def test_a_large_transaction_makes_its_own_room(host: Namespace, sock: NetfilterSocket) -> None:
    pieces = body([Meta(MetaKey.MARK), Cmp(b"\1\0\0\0"), Counter(), Decide(ACCEPT)])
    wanted = [Rule(INET, TABLE, "c", pieces) for _ in range(5000)]
    handles = commit(sock, [chain.add(C), *map(rule.append, wanted)], want_handles=True)
    assert len(handles) == 5000
    assert [found.handle for found in rule.dump(sock, INET, TABLE, "c")] == list(handles.values())
    assert len(rules(host, "c")) == 5000


def test_connections_to_one_namespace_do_not_see_another(host: Namespace, sock: NetfilterSocket) -> None:
    commit(sock, [chain.add(C)])
    with NetfilterSocket() as ours:
        assert (INET, TABLE) not in [(found.family, found.name) for found in table.dump(ours)]
    with connected(host) as second:
        assert [found.name for found in chain.dump(second, INET, TABLE)] == ["c"]


def test_a_kernel_without_nf_tables_is_known(sock: NetfilterSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subsystem that nobody registered is to the kernel as if it were that."""
    nobodys = 12
    monkeypatch.setattr(change, "NF_TABLES", nobodys)
    monkeypatch.setattr(transaction, "NF_TABLES", nobodys)
    with pytest.raises(Unsupported, match="the kernel has no nf_tables"):
        table.dump(sock)
    with pytest.raises(Unsupported):
        commit(sock, [table.put(Table(INET, TABLE))])
