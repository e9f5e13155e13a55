"""The table of nf_tables by which the iptables backend asks of fragments: whose it is, and hosts without it."""

from __future__ import annotations

import re

import msgspec
import pytest

from tests.contract.arena import A, B
from tests.contract.test_fragments import B4, W4, arrives, halves
from tests.contract.test_life import ALL, ALLOWED, DENIED, RECEIVER, SENDER, Host, host
from tests.unit.intent.policy_text import workload
from tortie.dataplane.contract import Repairs
from tortie.dataplane.iptables import fragments
from tortie.intent.state import PolicyChanges
from tortie.intent.verdict import Reason
from tortie.kernel.netfilter import change, table, transaction
from tortie.kernel.netfilter.expression import Exthdr, expression

__all__ = ["host"]


@pytest.fixture(params=["iptables-legacy", "iptables-nft"])
def backend_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def name(host: Host) -> str:
    return f"inet tortie-fragments-{host.name.removeprefix('iptables-')}"


def listed(host: Host, options: str = "") -> str:
    """Without what was counted; nothing where there is no table."""
    found = host.arena.namespace.run(f"nft {options} list table {name(host)}", check=False)
    return re.sub(r"packets \d+ bytes \d+", "", found)


def handles(text: str) -> set[str]:
    return set(re.findall(r"# handle (\d+)", text))


def is_finished_by_another(host: Host, number: int) -> bool:
    first, last = halves(B4, W4, number)
    return arrives(host, number, (A, last), (B, first))


@pytest.mark.skipif(not table.can_persist(), reason="the kernel keeps no owned table without its owner (6.9)")
def test_others_cannot_flush_it(host: Host) -> None:
    host.take(ALL)
    before = listed(host)
    host.arena.namespace.run(f"nft add table ip theirs; nft flush ruleset; nft delete table {name(host)}", check=False)
    assert listed(host) == before != ""
    assert not is_finished_by_another(host, 1)


def test_what_others_change_is_put_right_where_the_kernel_cannot_keep_them_from_it(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Linux 6.9. That others change something else is nothing to repair."""
    monkeypatch.setattr(table, "can_persist", lambda: False)
    host.stop()
    host.start()
    host.take(ALL)
    before = listed(host)
    assert "owner" not in before
    writes = host.backend.writes
    host.arena.namespace.run("nft add table ip theirs")
    host.driver.run_until(lambda: host.backend.in_sync)
    host.take(PolicyChanges(workloads={SENDER.key: SENDER}))
    assert (host.backend.writes, host.backend.repairs) == (writes, Repairs())
    for number, changed in enumerate(
        (
            f"delete table {name(host)}",
            f"flush chain {name(host)} fragments",
            f"delete element {name(host)} senders {{ calib }}",
            f"add element {name(host)} senders {{ calix : goto from-calia }}",
        )
    ):
        host.arena.namespace.run(f"nft '{changed}'")
        assert listed(host) != before
        host.driver.run_until(lambda number=number: host.backend.repairs.times > number)  # type: ignore[misc]
        assert sorted(listed(host).split()) == sorted(before.split())
        assert not is_finished_by_another(host, number)


def test_an_endpoint_among_many_is_written_alone(host: Host) -> None:
    many = {each.key: each for each in (workload(f"x{n}", f"10.66.0.{n}", mac=A.mac) for n in range(100))}
    host.take(msgspec.structs.replace(ALL, workloads=many))
    before = listed(host, "-a")
    host.take(PolicyChanges(workloads={RECEIVER.key: RECEIVER}))
    with_it = listed(host, "-a")
    # A handle is never given again.
    assert handles(before) < handles(with_it)
    assert "chain from-calib" in with_it
    host.take(PolicyChanges(workloads={RECEIVER.key: None}))
    assert handles(listed(host, "-a")) == handles(before)


def test_each_variant_has_its_own(host: Host) -> None:
    """One takes the other's place: nothing is open in between."""
    host.take(ALL)
    mine = listed(host)
    (other,) = {"iptables-legacy", "iptables-nft"} - {host.name}
    second = Host.__new__(Host)
    second.__dict__ |= host.__dict__ | {"name": other}
    second.start()
    second.take(ALL)
    assert listed(host) == mine
    host.stop()
    host.remove()
    assert listed(host) == ""
    assert not is_finished_by_another(second, 1)
    assert second.traces() != []
    second.stop()
    second.remove()
    assert (second.traces(), second.arena.namespace.run("nft list tables | grep fragments", check=False)) == ([], "")
    host.start()


@pytest.mark.parametrize("backend_name", ["iptables-legacy"])
def test_where_there_is_no_nf_tables_all_else_holds_and_it_is_said(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the kernel a subsystem that nobody registered is as good as that."""
    nobodys = 12
    monkeypatch.setattr(change, "NF_TABLES", nobodys)
    monkeypatch.setattr(transaction, "NF_TABLES", nobodys)
    host.take(ALL)
    assert host.passes(ALLOWED, DENIED) == [True, False]
    goes_on_without(host, "Operation not supported")
    assert host.traces() != []
    assert host.drops() == {Reason.TIER_DEFAULT: 1}
    host.stop()
    host.remove()
    assert host.traces() == []
    host.start()


def test_where_nf_tables_lacks_a_part_all_else_holds_and_it_is_said(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unheard(Exthdr):
        def encode(self) -> bytes:
            return expression("unheard-of")

    monkeypatch.setattr(fragments, "Exthdr", Unheard)
    host.stop()
    host.start()
    host.take(ALL)
    assert host.passes(ALLOWED, DENIED) == [True, False]
    goes_on_without(host, "No such file or directory")
    assert listed(host) == ""


def goes_on_without(host: Host, why: str) -> None:
    writes = host.backend.writes
    host.settle()
    assert host.backend.writes == writes
    assert [host.backend.missing(key) for key in (SENDER.key, RECEIVER.key)] == ["", ""]
    (problem,) = host.backend.problems
    assert problem.subject == "fragments"
    assert why in problem.reason
    assert is_finished_by_another(host, 1)
