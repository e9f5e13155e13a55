"""A kernel in which the n-th call fails, before or after taking effect, for every n: the sink converges."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.netns.conftest import Namespace, NetnsFactory
from tests.netns.failing import FailingSocket, Failure
from tests.netns.l3.host import Host
from tortie.dataplane import l3
from tortie.errors import KernelError

V4, V6 = "10.65.0.24", "fd00:65::24"


class FailingHost(Host):
    """A host whose sink has the failing socket."""

    def __init__(self, namespace: Namespace, bpffs: Path, state_dir: Path) -> None:
        super().__init__(namespace, bpffs, state_dir)
        self.failure = Failure()
        self._failing = namespace.call(lambda: FailingSocket(self.failure))
        made = namespace.call(lambda: l3.make(self._failing, bpffs, state_dir))
        self.sink = made.sink
        self.closes.append(made.close)
        self.failure.calls = 0

    def start(self) -> None:
        """As the agent: a read-back that fails is repeated."""
        while True:
            try:
                super().start()
                return
            except KernelError:
                continue

    def close(self) -> None:
        super().close()
        self._failing.close()


def tables(namespace: Namespace) -> str:
    return namespace.run(
        "ip route show proto 116; ip -6 route show proto 116; ip neigh show proto 116;"
        "tc filter show dev cali1 ingress | grep -c tortie_responder;"
        "ip -o addr show dev cali1 | grep -c -e 169.254.1.1 -e fe80::ecee;"
        "sysctl net.ipv4.conf.cali1.rp_filter net.ipv6.conf.cali1.accept_ra net.ipv4.ip_forward"
    )


def reset(namespace: Namespace) -> None:
    """A workload interface as a runtime makes it, and nothing of ours."""
    namespace.run(
        "ip link del cali1 2>/dev/null; ip route flush proto 116; ip link add cali1 type veth peer name peer"
        " && ip link set peer up && ip link set cali1 up"
    )


@pytest.mark.parametrize("after_effect", [False, True], ids=["before", "after"])
def test_any_single_failure_is_made_good(netns: NetnsFactory, bpffs: Path, tmp_path: Path, after_effect: bool) -> None:
    namespace = netns("host")

    def run(fail_at: int) -> tuple[int, str]:
        reset(namespace)
        host = FailingHost(namespace, bpffs, tmp_path / "state")
        host.failure.fail_at = fail_at
        host.failure.after_effect = after_effect
        try:
            host.desire("w", "cali1", V4, V6)
            host.start()
            host.settle_up("w")
            calls = host.failure.calls
            found = tables(namespace)
            host.release("w")
            host.settle(lambda: host.sink.in_sync)
            return calls, found
        finally:
            host.close()

    calls, wanted = run(-1)
    assert calls > 15
    for fail_at in range(1, calls + 1):
        assert run(fail_at)[1] == wanted, fail_at


def test_a_second_apply_after_any_failure_writes_nothing(netns: NetnsFactory, bpffs: Path, tmp_path: Path) -> None:
    namespace = netns("host")
    for fail_at in range(1, 30):
        reset(namespace)
        host = FailingHost(namespace, bpffs, tmp_path / "state")
        host.failure.fail_at = fail_at
        try:
            host.desire("w", "cali1", V4, V6)
            host.start()
            host.settle_up("w")
            host.settle(lambda: True)  # the events of its own writes: the gateway address is now the host's
            host.failure.fail_at = -1
            writes = host.sink.writes
            host.resync()
            host.settle(lambda: True)
            assert host.sink.in_sync
            assert host.sink.writes == writes, fail_at
        finally:
            host.close()
