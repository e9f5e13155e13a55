"""What others take away of ours, on the host and inside a workload: it is back, and it is told who took what."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.netns.agent.running import RunningAgent
from tests.netns.agent.test_policy import use
from tests.netns.conftest import Namespace, NetnsFactory
from tortie.agent.repairs import LINES
from tortie.kernel import netns as kernel_netns
from tortie.kernel.netlink import link, neighbour
from tortie.kernel.netlink.neighbour import STATE_PERMANENT
from tortie.kernel.netlink.socket import NetlinkSocket

V4, V6 = "10.65.0.24", "fd00:65::24"
HOST_END = "calide4e752220c"  # cali + sha1("default.web.eth0")


@pytest.fixture
def guest(agent: RunningAgent, netns: NetnsFactory) -> Namespace:
    """Workload `web`, attached by the agent."""
    made = netns("web")
    agent.attach("web", netns=made.path, addresses=[V4, V6])
    return made


@contextmanager
def unreaped(namespace: Namespace, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that did its work and whose entry in /proc stays, so that its name can still be looked up."""
    process = subprocess.Popen(["nsenter", f"--net={namespace.path}", *command])
    try:
        yield process
    finally:
        assert process.wait(10) == 0


def entry(board: dict[str, Any], what: str) -> dict[str, Any] | None:
    return next((dict(each) for each in board["repairs"] if each["what"] == what), None)


HARM = {
    f"route {V4}": f"ip route del {V4}",
    f"route {V6}": f"ip -6 route del {V6} dev {HOST_END}",
    f"neighbour {V4} of {HOST_END}": f"ip neigh del {V4} dev {HOST_END}",
    f"address 169.254.1.1/32 of {HOST_END}": f"ip addr del 169.254.1.1/32 dev {HOST_END}",
}


def test_who_removed_what_is_told(agent: RunningAgent, guest: Namespace) -> None:
    before = agent.status()
    assert (before["repairs"], before["repaired"]) == ([], {})
    for what, command in HARM.items():
        with unreaped(agent.namespace, *command.split()) as process:
            told = entry(agent.wait(lambda board, what=what: entry(board, what) is not None), what)  # type: ignore[misc]
        assert told is not None
        assert (told["table"], told["times"]) == (what.partition(" ")[0], 1)
        assert told["by"] == f"port id {process.pid}, perhaps process {process.pid} (ip)"
        assert 0 <= told["back_ms"] == told["longest_ms"]
        assert f"perhaps process {process.pid} (ip)" in agent.log.read_text()
    # With its last IPv4 address an interface loses its routes of IPv4, and its neighbours: of them nobody tells who.
    board = agent.status()
    assert told is not None
    assert board["repaired"] == {"route": 3, "neighbour": 2, "address": 1}
    assert [each["by"] for each in board["repairs"] if each["times"] == 2 and each["table"] == "route"] == [told["by"]]
    assert {each["by"] for each in board["repairs"] if each["table"] == "neighbour"} == {"the kernel does not tell who"}
    assert agent.routes() == [V4, V6]
    agent.namespace.run(f"ping -c1 -W2 {V4} && ping -c1 -W2 {V6}")
    assert 'tortie_repairs_total{table="neighbour"} 2.0' in agent.text("/metrics").splitlines()
    # Whom the kernel does not name is not guessed.
    agent.namespace.run(f"ip link set {HOST_END} address 02:00:00:00:00:99")
    what = f"MAC of {HOST_END}"
    told = entry(agent.wait(lambda board: entry(board, what) is not None), what)
    assert told is not None
    assert told["by"] == "the kernel does not tell who"


def test_what_the_agent_and_its_user_do_is_no_repair(agent: RunningAgent, netns: NetnsFactory) -> None:
    first, second = netns("web"), netns("other")
    agent.attach("web", netns=first.path, addresses=[V4])
    agent.attach("web", netns=first.path, addresses=["10.65.0.25"])
    agent.attach("other", netns=second.path, addresses=["10.65.0.26", V6], mtu=1400)
    agent.detach("web")
    agent.namespace.run(f"ip link set {links(agent)[0]} down && ip link set {links(agent)[0]} up")
    agent.wait(lambda board: [each["state"] for each in board["endpoints"].values()] == ["up"])
    agent.detach("other")
    board = agent.status()
    assert (board["repairs"], board["repaired"]) == ([], {})


def links(agent: RunningAgent) -> list[str]:
    shown = json.loads(agent.namespace.run("ip -j link"))
    return [each["ifname"] for each in shown if each["ifname"].startswith("cali")]


def test_one_who_repeats_it_is_told_of_within_bounds(agent: RunningAgent, guest: Namespace) -> None:
    rounds = 3 * LINES
    for number in range(rounds):
        agent.namespace.run(f"ip route del {V4}")
        agent.wait(lambda board, most=number: board["repaired"].get("route") == most + 1)  # type: ignore[misc]
    board = agent.status()
    assert len(board["repairs"]) == 1
    assert board["repairs"][0]["times"] == rounds
    assert agent.log.read_text().count("others removed or changed what is ours") == LINES
    assert agent.routes() == [V4, V6]


def guest_side(guest: Namespace) -> list[str]:
    """All that an attach gives."""
    shown = guest.run(
        "ip -o addr show dev eth0 scope global; ip neigh show nud permanent;"
        "ip route show proto 116; ip -6 route show proto 116"
    )
    return [" ".join(line.split()) for line in shown.splitlines()]


def flap(sock: NetlinkSocket) -> None:
    """Sets the workload's end down and up, as fast as can be."""
    ifindex = link.get(sock, "eth0").ifindex
    link.change(sock, ifindex, up=False)
    link.change(sock, ifindex, up=True)


def restored(board: dict[str, Any]) -> bool:
    return bool(board["repaired"].get("guest"))


def test_a_workload_whose_end_was_down_gets_back_what_it_lost(agent: RunningAgent, guest: Namespace) -> None:
    before = guest_side(guest)
    assert len(before) == 7, before
    # Left down for a while: it has to be up again first, however long that takes.
    guest.run("ip link set eth0 down")
    agent.wait(lambda board: [each["state"] for each in board["endpoints"].values()] == ["down"])
    assert guest_side(guest) != before
    guest.run("ip link set eth0 up")
    board = agent.wait(restored)
    assert sorted(guest_side(guest)) == sorted(before)
    agent.namespace.run(f"ping -c1 -W2 {V4} && ping -c1 -W2 {V6}")
    told = board["repairs"][-1]
    assert (told["table"], told["by"]) == ("guest", "its own end of the veth was set down and up")
    assert "IPv4 default route" in told["what"]
    assert told["what"].endswith("inside default/host--a-tortie-web-eth0")
    with guest.netlink() as sock:
        for number in range(1, 4):
            flap(sock)
            agent.wait(lambda board, most=number: board["repaired"]["guest"] > most)  # type: ignore[misc]
            assert sorted(guest_side(guest)) == sorted(before)


def test_what_happened_between_two_agents_is_made_good(agent: RunningAgent, guest: Namespace) -> None:
    before = guest_side(guest)
    agent.stop(signal.SIGKILL)
    with guest.netlink() as sock:
        flap(sock)
    agent.start_and_wait()
    agent.wait(restored)
    assert sorted(guest_side(guest)) == sorted(before)
    # The next agent finds that nothing is missing.
    agent.stop()
    agent.start_and_wait()
    agent.detach("web")
    assert not restored(agent.status())


def test_what_the_workload_made_otherwise_stays(agent: RunningAgent, guest: Namespace) -> None:
    guest.run("ip link add own0 type veth peer name own1 && ip addr add 192.0.2.2/24 dev own0")
    guest.run("ip link set own0 up && ip link set own1 up")
    guest.run("ip route del default && ip route add default via 192.0.2.1 dev own0 metric 50")
    guest.run("ip -6 route del default dev eth0")
    with guest.netlink() as sock:
        flap(sock)
    agent.wait(restored)
    assert guest.run("ip route show default").strip() == "default via 192.0.2.1 dev own0 metric 50"
    assert "169.254.1.1 dev eth0" in guest.run("ip route")
    # While its end stays up, the workload may do as it likes with what it was given.
    guest.run("ip -6 route del default dev eth0; ip route del 169.254.1.1 dev eth0")
    kept = guest_side(guest)
    agent.namespace.run(f"ip link set {HOST_END} down && ip link set {HOST_END} up")
    agent.wait(lambda board: [each["state"] for each in board["endpoints"].values()] == ["up"])
    agent.detach("other")  # answers after what was asked before it
    assert sorted(guest_side(guest)) == sorted(kept)
    assert agent.status()["repaired"]["guest"] == 1
    # Nor does it get an IP version back that it turned off.
    guest.run("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1")
    with guest.netlink() as sock:
        flap(sock)
    board = agent.wait(lambda board: board["repaired"]["guest"] == 2)
    assert not [each for each in board["problems"] if "eth0" in each["subject"]]
    assert "fd00:65::24" not in guest.run("ip -6 addr show dev eth0")


def wait_entered(process: int, guest: Namespace) -> None:
    while kernel_netns.identify(f"/proc/{process}/ns/net") != kernel_netns.identify(guest.path):
        time.sleep(0.01)


def test_a_namespace_without_its_name_is_found_by_a_process_or_told_of(agent: RunningAgent, guest: Namespace) -> None:
    process = subprocess.Popen(["nsenter", f"--net={guest.path}", "sleep", "60"])
    with guest.netlink() as sock:
        try:
            wait_entered(process.pid, guest)
            kernel_netns.delete(guest.name)
            flap(sock)
            agent.wait(restored)
            assert sum(bool(row.state & STATE_PERMANENT) for row in neighbour.dump(sock)) == 2
        finally:
            process.kill()
            process.wait()
        # Now this socket alone keeps it.
        flap(sock)
        board = agent.wait(lambda board: "default/host--a-tortie-web-eth0" in problems(board))
        assert "its network namespace cannot be entered" in problems(board)["default/host--a-tortie-web-eth0"]
        agent.detach("web")
        agent.wait(lambda board: "default/host--a-tortie-web-eth0" not in problems(board))


def problems(board: dict[str, Any]) -> dict[str, str]:
    return {each["subject"]: each["reason"] for each in board["problems"]}


@pytest.mark.parametrize(
    ("backend", "flush", "program"),
    [
        ("iptables-nft", "iptables-nft -F", "iptables-nft"),
        ("iptables-nft", "nft flush ruleset", "nft"),
        ("iptables-legacy", "iptables-legacy -F", ""),
    ],
)
def test_who_flushed_policy_is_told_where_the_kernel_tells(
    agent: RunningAgent, guest: Namespace, backend: str, flush: str, program: str
) -> None:
    assert agent.namespace.run(f"ping -c1 -W2 {V4}")
    use(agent, backend)
    for number in range(1, 4):
        with subprocess.Popen(["nsenter", f"--net={agent.namespace.path}", *flush.split()]) as process:
            assert process.wait(10) == 0
        board = agent.wait(lambda board, n=number: board["policy_repairs"] == n)  # type: ignore[misc]
        assert board["policy_changed_by"] == (f"process {process.pid} ({program})" if program else "")
