"""What the agent measures of itself, and what it reads of the kernel's counters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

import pytest

from tortie.agent import counting
from tortie.agent.counting import Counting
from tortie.agent.vitals import Measurements
from tortie.dataplane import contract
from tortie.errors import KernelError, UsageError
from tortie.intent.policy import Direction, RuleOrigin
from tortie.intent.report import Count
from tortie.intent.verdict import DROPPING, Reason
from tortie.kernel import no_routes
from tortie.model.resource import ResourceKey

WEB = ResourceKey("NetworkPolicy", "blue", "default.web")


def test_a_change_takes_from_the_first_that_is_under_way_to_the_end_of_all() -> None:
    measured = Measurements(100.0)
    measured.end("policy", 100.0)  # nothing was to be done
    measured.begin("policy", 101.0)
    measured.begin("policy", 102.0)
    measured.end("policy", 103.5)
    measured.end("policy", 104.0)
    measured.begin("policy", 105.0)
    measured.end("policy", 105.01)
    taken = measured.vitals(110.0, 0, {}).applied["policy"]
    assert (taken.count, round(taken.sum_s, 3), round(taken.last_s, 3)) == (2, 2.51, 0.01)
    assert taken.within == (0, 1, 1, 1, 1, 2, 2)


def test_the_state_grows_old_while_the_datastore_does_not_answer() -> None:
    measured = Measurements(100.0)
    assert measured.vitals(103.0, 0, {}).datastore_stale_s == 3.0, "it has not answered yet"
    measured.hear(answers=True, now=104.0)
    assert measured.vitals(200.0, 0, {}).datastore_stale_s == 0.0
    measured.hear(answers=False, now=205.0)
    measured.hear(answers=False, now=206.0)
    assert measured.vitals(207.5, 0, {}).datastore_stale_s == 2.5
    assert measured.vitals(207.5, 0, {}).resident_bytes > 1 << 20


class Backend:
    name = "fake"

    def counts(self, policies: Collection[ResourceKey]) -> Callable[[], Mapping[RuleOrigin, Count]]:
        origins = (RuleOrigin("t", key, Direction.INGRESS, n) for key in policies for n in (1, 0))
        return lambda: {origin: Count(origin.number, 10) for origin in origins}


class Kernel:
    """How often it was read, and what it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads = 0
        self.fails = False
        made = contract.load("nftables")._replace(drops=self.drops)
        monkeypatch.setattr(contract, "load", lambda name: made)
        monkeypatch.setattr(no_routes, "count", lambda: 4)

    def drops(self) -> Mapping[Reason, Count]:
        self.reads += 1
        if self.fails:
            raise KernelError("no")
        return {Reason.POLICY: Count(self.reads, 100)}


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


async def test_rules_are_told_in_their_order(kernel: Kernel) -> None:
    found = await Counting("a", Backend()).counted([str(WEB), "Profile(open)"])
    assert list(found.policies) == ["NetworkPolicy(blue/default.web)", "Profile(open)"]
    assert [(one.direction, one.rule, one.packets, one.bytes) for one in found.policies[str(WEB)]] == [
        ("ingress", 0, 0, 10),
        ("ingress", 1, 1, 10),
    ]
    assert (found.dropped["policy"].packets, found.dropped["no-route"].packets) == (1, 4)
    assert found.dropped.keys() == {str(each) for each in DROPPING}


@pytest.mark.parametrize("name", ["", "web", "NetworkPolicy()", "NetworkPolicy(a/b/c)", "(a)", "A(b)c"])
async def test_what_is_no_name_of_a_policy(kernel: Kernel, name: str) -> None:
    with pytest.raises(UsageError, match="write it as"):
        await Counting("a", Backend()).counted([name])


async def test_drops_are_read_once_for_all_who_ask_at_a_time(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Counting("a", Backend())
    await asyncio.gather(*(made.drops() for _ in range(10)))
    assert ((await made.drops())[Reason.POLICY], kernel.reads) == (Count(1, 100), 1)
    monkeypatch.setattr(counting, "FRESH_S", 0.0)
    assert (await made.drops())[Reason.POLICY].packets == 2


async def test_a_kernel_that_cannot_be_read_leaves_the_last_figures(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "FRESH_S", 0.0)
    made = Counting("a", Backend())
    await made.drops()
    kernel.fails = True
    assert (await made.drops())[Reason.POLICY].packets == 1


def test_figures_of_the_kernels_own() -> None:
    netstat = "TcpExt: A B\nTcpExt: 1 2\nIpExt: InNoRoutes InTruncatedPkts\nIpExt: 7 8\n"
    assert no_routes.of_ipv4(netstat) == 7
    assert no_routes.of_ipv6("Ip6InReceives 5\nIp6InNoRoutes 3\n") == 3
    assert no_routes.count() >= 0
