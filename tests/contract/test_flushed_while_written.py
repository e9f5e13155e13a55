"""Others flush once more while a backend of iptables puts right what they flushed: that is put right too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.arena import Arena
from tests.contract.test_life import ALL, ALLOWED, DENIED, Host
from tests.netns.conftest import NetnsFactory
from tortie.kernel.netfilter.xtables import Family, Xtables

ROUNDS = 3


@pytest.mark.parametrize("backend_name", ["iptables-nft", "iptables-legacy"])
def test_a_flush_during_a_repair_is_seen(
    netns: NetnsFactory, backend_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arena = Arena(netns("host"))
    host = Host(arena, backend_name, tmp_path)
    flush = f"XTABLES_LOCKFILE={tmp_path}/xtables.lock {backend_name} -F"
    left = 0
    restore = Xtables.restore

    def restore_and_flush(self: Xtables, family: Family, text: str) -> None:
        nonlocal left
        restore(self, family, text)
        if left and family == 4:
            left -= 1
            arena.namespace.run(flush)

    monkeypatch.setattr(Xtables, "restore", restore_and_flush)
    try:
        host.take(ALL)
        before = sorted(host.rules())
        left = ROUNDS
        arena.namespace.run(flush)
        host.driver.run_until(lambda: host.backend.repairs.times > 0)
        assert left == 0
        assert sorted(host.rules()) == before
        assert host.passes(ALLOWED, DENIED) == [True, False]
        assert host.backend.repairs.times == 1
    finally:
        host.stop()
        host.socket.close()
        arena.close()
