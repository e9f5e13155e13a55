"""The veth of a workload while the kernel fails: any failed step leaves what was there before."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from itertools import count

import pytest

from tests.netns.conftest import Namespace, NetnsFactory
from tests.netns.failing import FailingSocket, Failure
from tortie.attach import veth
from tortie.errors import KernelError
from tortie.kernel.netns import run_in

V4, V6 = ip_address("10.65.0.24"), ip_address("fd00:65::24")
OTHER_V4 = ip_address("10.65.0.25")


class FailingSockets:
    """Stands for the class of sockets in `veth`: all that it makes share one failure."""

    def __init__(self, failure: Failure) -> None:
        self._failure = failure

    def __call__(self) -> FailingSocket:
        return FailingSocket(self._failure)

    def open_in(self, path: str) -> FailingSocket:
        return run_in(path, self)


@pytest.fixture(params=[False, True], ids=["before", "after"])
def failure(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Failure:
    """Its call fails before its effect, or after it."""
    made = Failure()
    made.after_effect = request.param
    monkeypatch.setattr(veth, "NetlinkSocket", FailingSockets(made))
    return made


def mac_and_mtu(namespace: Namespace, name: str) -> list[str]:
    words = namespace.run(f"ip -o link show dev {name}").split()
    return [words[words.index(word) + 1] for word in ("link/ether", "mtu")]


def pair(host: Namespace, guest: Namespace) -> list[str]:
    """All that `plug` decides, and nothing that the kernel adds in its own time, such as link-local addresses."""
    shown = guest.run(
        "ip -o addr show dev eth0 scope global; ip neigh show nud permanent;"
        "ip route show proto 116; ip -6 route show proto 116; ip -6 route show fd00:65::24"
    )
    return [*mac_and_mtu(host, "cali1"), *mac_and_mtu(guest, "eth0"), *shown.splitlines()]


def fail_at_each_call(failure: Failure, attempt: Callable[[], object], check: Callable[[], None]) -> None:
    """Attempts with each call failing in turn, until one has no call left to fail; `check` follows each failure."""
    for fail_at in count(1):
        failure.calls, failure.fail_at = 0, fail_at
        try:
            attempt()
        except KernelError:
            check()
        failure.fail_at = -1
        if failure.calls < fail_at:
            assert fail_at > 15
            return


def test_a_failed_first_plug_leaves_nothing(netns: NetnsFactory, failure: Failure) -> None:
    host, guest = netns("host"), netns("guest")

    def links() -> tuple[str, str]:
        return host.run("ip -br link"), guest.run("ip -br link")

    def attempt() -> None:
        plugged = host.call(lambda: veth.plug("cali1", "eth0", guest.path, veth.GuestSide((V4, V6), "", 1400)))
        failure.fail_at = -1
        host.call(plugged.undo)

    def check() -> None:
        assert links() == before, failure.calls

    before = links()
    fail_at_each_call(failure, attempt, check)
    assert links() == before


def test_a_failed_change_leaves_the_pair_as_it_was(netns: NetnsFactory, failure: Failure) -> None:
    host, guest = netns("host"), netns("guest")
    old = veth.GuestSide((V4, V6), "02:00:00:00:00:01", 1400)
    new = veth.GuestSide((OTHER_V4,), "02:00:00:00:00:02", 1300)

    def plug(side: veth.GuestSide) -> veth.Plugged:
        return host.call(lambda: veth.plug("cali1", "eth0", guest.path, side))

    def check() -> None:
        assert pair(host, guest) == before, failure.calls

    plug(old)
    before = pair(host, guest)
    fail_at_each_call(failure, lambda: plug(new), check)
    assert mac_and_mtu(guest, "eth0") == ["02:00:00:00:00:02", "1300"]
    assert "default" not in guest.run("ip -6 route"), "no address is left that could use it"
    plug(old)
    host.call(plug(new).undo)
    check()
