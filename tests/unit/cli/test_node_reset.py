"""node reset: what is told, asked and answered; tests/netns resets real hosts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.conftest import FakeAgent, Tortie
from tortie.errors import KernelError
from tortie.host.reset import whole
from tortie.host.reset.part import Found, Part, look, take_away


class Things:
    """A part of what stands on a host."""

    def __init__(self, *names: str, stuck: tuple[str, ...] = (), broken: str = "") -> None:
        self.names = list(names)
        self.stuck = stuck
        self.broken = broken

    def find(self) -> list[str]:
        if self.broken:
            raise KernelError(self.broken)
        return list(self.names)

    def remove(self) -> None:
        self.names = list(self.stuck)
        if self.stuck:
            raise KernelError("somebody holds it")


@pytest.fixture
def things(monkeypatch: pytest.MonkeyPatch) -> dict[str, Things]:
    """What stands on this host, by part."""
    made: dict[str, Things] = {}
    monkeypatch.setattr(whole, "parts", lambda *_: (Part(name, each.find, each.remove) for name, each in made.items()))
    monkeypatch.setattr(whole.Reset, "obstacle", lambda _: "")
    monkeypatch.setattr(whole.Reset, "workloads", lambda _: ["cali1"])
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return made


def test_a_dry_run_only_tells(tortie: Tortie, things: dict[str, Things]) -> None:
    things |= {"routes": Things("10.0.0.1", "10.0.0.2"), "files": Things("/a"), "none": Things()}
    assert tortie("node", "reset", "--dry-run") == (0, "routes\n  10.0.0.1\n  10.0.0.2\nfiles\n  /a\n", "")
    assert things["routes"].names == ["10.0.0.1", "10.0.0.2"]


def test_it_asks_and_warns_before_anything(tortie: Tortie, things: dict[str, Things]) -> None:
    things |= {"routes": Things("10.0.0.1")}
    said = tortie("node", "reset")
    assert (said.code, things["routes"].names) == (2, ["10.0.0.1"])
    assert "Warning: 1 workload will lose all connectivity" in said.stderr
    assert tortie("node", "reset", "--yes").stdout == "routes\n  10.0.0.1\n\nremoved\n"
    assert tortie("node", "reset") == (0, "there is nothing of tortie on this host\n", "")


def test_what_does_not_go_or_cannot_be_seen_stops_nothing_and_is_told(
    tortie: Tortie, things: dict[str, Things]
) -> None:
    things |= {
        "first": Things("a", "b", stuck=("b",)),
        "second": Things(broken="the kernel says no"),
        "third": Things("c"),
    }
    said = tortie("node", "reset", "--yes")
    assert said.code == 1
    assert said.stdout == (
        "first\n  a\n  b\nsecond\n  because: the kernel says no\nthird\n  c\n"
        "\nleft:\nfirst\n  b\n  because: somebody holds it\nsecond\n  because: the kernel says no\n"
    )
    assert things["third"].names == []


def test_beside_an_agent_nothing_is_removed(
    tortie: Tortie, things: dict[str, Things], agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    things |= {"routes": Things("10.0.0.1")}
    agent.answer("/v1/health/live", {"live": True})
    said = tortie("node", "reset", "--yes")
    assert (said.code, things["routes"].names) == (2, ["10.0.0.1"])
    assert "nothing was removed: an agent answers on" in said.stderr
    monkeypatch.setattr(whole.Reset, "obstacle", lambda _: "an agent runs here, process 7")
    assert "nothing was removed: an agent runs here, process 7" in tortie("node", "reset", "--yes").stderr
    assert tortie("node", "reset", "--dry-run").code == 0


def test_it_needs_root(tortie: Tortie, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert tortie("node", "reset", "--dry-run").code == 1


def test_a_file_that_cannot_be_removed_is_named() -> None:
    def fail(*_: Any) -> Any:
        raise PermissionError(13, "Permission denied", "/a/b")

    part = Part("files", fail, fail)
    assert look(part) == Found(part, failure="/a/b: Permission denied")
    assert take_away(part) == "/a/b: Permission denied"


def test_policy_alone(tortie: Tortie, things: dict[str, Things], monkeypatch: pytest.MonkeyPatch) -> None:
    table = Things("table inet tortie")
    monkeypatch.setattr(whole, "policy_parts", lambda _: iter([Part("policy", table.find, table.remove)]))
    things |= {"routes": Things("10.0.0.1")}
    said = tortie("node", "reset", "--policy-only", "--yes")
    assert (said.code, said.stdout) == (0, "policy\n  table inet tortie\n\nremoved\n")
    assert said.stderr == "Warning: 1 workload will be open to everybody: cali1\n"
    assert (table.names, things["routes"].names) == ([], ["10.0.0.1"])
    assert tortie("node", "reset", "--policy-only", "--with-datastore").code == 2
