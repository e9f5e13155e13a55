"""Other agents, and other BGP daemons."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.doctor.build import link, route
from tortie.doctor import bird, rivals
from tortie.doctor.finding import Finding, Unseen
from tortie.doctor.network import Network, sorted_out
from tortie.doctor.processes import Process

AGENT = Process(10, "python3", ("/usr/bin/python3", "/usr/local/bin/tortie", "agent", "-c", "a.toml"))
SECOND = Process(11, "python3", ("python3", "-m", "tortie", "-c", "b.toml", "agent"))
OUR_BIRD = Process(20, "bird", ("bird", "-f", "-s", "/run/tortie/bird.ctl"))
OTHER_BIRD = Process(21, "bird", ("/usr/sbin/bird", "-f"))
SOCKET = Path("/run/tortie/bird.ctl")


@pytest.mark.parametrize(
    ("command", "is_agent"),
    [
        (AGENT.command, True),
        (SECOND.command, True),
        (("tortie", "status"), False),
        (("vi", "agent", "tortie"), False),
        (("/opt/tortie/bin/python", "/opt/tortie/bin/tortie", "doctor"), False),
        ((), False),
    ],
)
def test_an_agent_by_its_command(command: tuple[str, ...], is_agent: bool) -> None:
    assert Process(1, "python3", command).is_agent is is_agent


@pytest.mark.parametrize(
    ("command", "is_felix"),
    [(("calico-node", "-felix"), True), (("/bin/calico-felix",), True), (("calico-node", "-confd"), False)],
)
def test_felix_by_its_command(command: tuple[str, ...], is_felix: bool) -> None:
    assert Process(1, "calico-node", command).is_felix is is_felix


def test_one_agent_is_as_it_should_be() -> None:
    assert list(rivals.judge([AGENT, OUR_BIRD], Network())) == []


def test_two_agents() -> None:
    (found,) = rivals.judge([AGENT, SECOND], Network())
    assert isinstance(found, Finding)
    assert found.what == "2 agents of tortie run in this network namespace"
    assert "(pid 10)" in found.where
    assert "(pid 11)" in found.where


def test_an_agent_that_may_be_elsewhere_is_not_accused() -> None:
    (found,) = rivals.judge([AGENT, SECOND._replace(here=None)], Network())
    assert isinstance(found, Unseen)


def test_felix_and_what_it_left() -> None:
    network = sorted_out([link(3, "cali1")], [], [route("10.65.0.21/32", 3, protocol=80)])
    running, left = rivals.judge([Process(5, "calico-node", ("calico-node", "-felix"))], network)
    assert isinstance(running, Finding)
    assert isinstance(left, Finding)
    assert (running.severity, running.where) == ("error", "calico-node -felix (pid 5)")
    assert (left.severity, left.what) == ("warning", "1 routes in the main table are Felix's")


def test_our_own_bird_may_have_the_port() -> None:
    assert list(bird.judge(SOCKET, bird.Answer(pid=20), [OUR_BIRD], [OUR_BIRD])) == []


def test_another_bird_has_the_port_and_ours_does_not_run() -> None:
    answer = bird.Answer(fault="its control socket does not exist")
    dead, taken = bird.judge(SOCKET, answer, [OTHER_BIRD], [OTHER_BIRD])
    assert dead.what == "BIRD does not answer: its control socket does not exist"
    assert dead.where == "/run/tortie/bird.ctl; /usr/sbin/bird -f (pid 21) runs"
    assert taken.where == "/usr/sbin/bird -f (pid 21)"
