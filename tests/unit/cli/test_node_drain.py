"""node drain and uncordon: what is asked, of whom, and what is said; tests/netns drains real hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.cli.conftest import FakeAgent, Tortie
from tests.unit.cli.test_status import WELL
from tortie.host import withdrawal
from tortie.intent.report import EndpointReport, EndpointState

ANSWER = {"withdrawn": {"10.0.0.2": 1, "10.0.0.3": 12}, "not_told": ["10.0.0.4"]}
SAID = (
    "10.0.0.2: 1 route withdrawn\n10.0.0.3: 12 routes withdrawn\n"
    "drained: nothing can be attached here until `tortie node uncordon`\n"
)


@pytest.fixture
def drained(tortie: Tortie) -> Path:
    """The file that says so."""
    tortie.environment["TORTIE_STATE_DIR"] = str(tortie.directory)
    return tortie.directory / "drained"


def board(*states: EndpointState, **changes: Any) -> Any:
    endpoints = {
        f"default/w{number:02}": EndpointReport(state=state, interface=f"cali{number}", addresses=())
        for number, state in enumerate(states)
    }
    return msgspec.structs.replace(WELL, endpoints=endpoints, **changes)


def test_with_workloads_it_asks_first(tortie: Tortie, agent: FakeAgent) -> None:
    agent.answer("/v1/status", board(EndpointState.UP, EndpointState.DOWN, EndpointState.UP))
    said = tortie("node", "drain")
    assert (said.code, said.stdout) == (2, "")
    assert said.stderr.startswith("2 workloads still run here, and will not be reached from other hosts:\n")
    assert "default/w01" not in said.stderr
    assert [path for path, _ in agent.asked] == ["/v1/status"]


def test_many_are_not_all_listed(tortie: Tortie, agent: FakeAgent) -> None:
    agent.answer("/v1/status", board(*[EndpointState.UP] * 25))
    assert "  default/w19\n  and 5 more\n" in tortie("node", "drain").stderr


@pytest.mark.parametrize(("states", "words"), [((), ()), ((EndpointState.UP,), ("--yes",))])
def test_it_says_what_was_withdrawn(
    tortie: Tortie, agent: FakeAgent, states: tuple[EndpointState, ...], words: tuple[str, ...]
) -> None:
    agent.answer("/v1/status", board(*states))
    agent.answer("/v1/drain", ANSWER)
    said = tortie("node", "drain", *words, "--timeout", "7")
    assert (said.code, said.stdout) == (0, SAID)
    assert "10.0.0.4 has no session with this host" in said.stderr
    assert agent.asked[-1] == ("/v1/drain", {"timeout_s": 7})


def test_a_reflector_is_warned(tortie: Tortie, agent: FakeAgent) -> None:
    agent.answer("/v1/status", board(bird=msgspec.structs.replace(WELL.bird, reflector=True)))
    agent.answer("/v1/drain", ANSWER)
    assert "this host is a route reflector" in tortie("node", "drain").stderr


def test_without_an_agent_the_host_does_it(tortie: Tortie, drained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def withdraw(settings: Any, for_good: bool, timeout_s: float) -> dict[str, Any]:
        asked.append((settings.drained, for_good, timeout_s))
        return ANSWER

    monkeypatch.setattr(withdrawal, "withdraw", withdraw)
    assert tortie("node", "drain").stdout == SAID
    assert tortie("node", "drain", "--until-start").stdout == SAID.partition("drained")[0]
    assert asked == [(drained, True, 30.0), (drained, False, 30.0)]


def test_a_running_agent_would_undo_what_holds_until_its_start(tortie: Tortie, agent: FakeAgent) -> None:
    agent.answer("/v1/status", board())
    said = tortie("node", "drain", "--until-start")
    assert (said.code, "stop it first" in said.stderr) == (2, True)


def test_without_agent_and_bird_the_host_is_drained_and_the_command_fails(tortie: Tortie, drained: Path) -> None:
    tortie.environment["TORTIE_BIRD_SOCKET"] = str(tortie.directory / "bird.ctl")
    said = tortie("node", "drain")
    assert (said.code, "BIRD is not running" in said.stderr, drained.exists()) == (1, True, True)
    assert tortie("node", "uncordon").stdout == "uncordoned\n"
    assert not drained.exists()
    assert tortie("node", "uncordon").stdout == "this host is not drained\n"


def test_uncordon_asks_the_agent(tortie: Tortie, agent: FakeAgent) -> None:
    for was_drained, expected in ((True, "uncordoned\n"), (False, "this host is not drained\n")):
        agent.answer("/v1/uncordon", {"was_drained": was_drained})
        assert tortie("node", "uncordon") == (0, expected, "")
