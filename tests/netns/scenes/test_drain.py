"""A host drained: peers lose its routes before they lose it, whoever moved away loses nothing, and it comes back."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from ipaddress import ip_address

import pytest

from tests.netns.scenes.daemons import Pings, end, in_sync, status, status_when
from tests.netns.scenes.test_restarts import adopted, classic
from tests.netns.scenes.test_scenes import settled, unreached
from tortie.kernel.netlink import route
from tortie.kernel.netlink.socket import NetlinkSocket
from tortie.lab import host
from tortie.lab.enter import Member
from tortie.lab.layout import Layout
from tortie.lab.process import running, wait_until
from tortie.lab.topology import Topology

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed"),
    pytest.mark.timeout(180),
]

DRAINED, OTHER = "node129", "node126"  # web22 and vm23 are on the first, web21 on the second


async def tortie(scene: Topology, member: str, *words: str) -> tuple[int, str]:
    return await Member(scene, member).run([sys.executable, "-m", "tortie", *words])


async def no_route(scene: Topology, member: str, address: str) -> None:
    """The last withdrawal may be on its way when a drain ends, so that far this waits."""
    with NetlinkSocket.open_in(str(Layout(scene.name).namespace_path(member))) as sock:
        packed = ip_address(address).packed
        assert await wait_until(
            lambda: all(each.destination != packed for each in route.dump(sock, socket.AF_INET)), 5
        ), f"{member} still has a route to {address}"


async def ping(scene: Topology, member: str, address: str) -> bool:
    code, _ = await Member(scene, member).run(["ping", "-c1", "-W1", address])
    return code == 0


@pytest.mark.parametrize("scene", [classic], indirect=True)
async def test_a_host_is_drained_and_comes_back(scene: Topology) -> None:
    layout = Layout(scene.name)
    code, output = await tortie(scene, DRAINED, "node", "drain")
    assert (code, output) == (
        2,
        "2 workloads still run here, and will not be reached from other hosts:\n"
        "  default/node129-tortie-vm23-tap5e2c91d7--23\n"
        "  default/node129-tortie-web22-eth0\n"
        "Error: nothing was done: there is no terminal to ask on, and --yes was not given\n",
    )
    assert await unreached(scene) == []

    # web22 moves to the other host, and then its host is drained: nothing is lost.
    await _moved(scene, "web22", DRAINED, OTHER)
    async with Pings(scene, "web21", "10.65.0.22") as traffic:
        code, output = await tortie(scene, DRAINED, "node", "drain", "--yes")
        assert code == 0, output
        await no_route(scene, "reflector", "10.65.0.23")
        assert output.splitlines()[-2:] == [
            "172.18.203.5: 1 route withdrawn",
            "drained: nothing can be attached here until `tortie node uncordon`",
        ]
        for program in ("agent", "bird"):
            end(scene, DRAINED, program, signal.SIGTERM)
    assert traffic.lost == 0
    assert not await ping(scene, "web21", "10.65.0.23")

    # It stays drained when both come back, in either order, and takes no workload.
    await host.start_bird(layout, DRAINED)
    await host.start_agent(layout, DRAINED)
    board = await status_when(scene, DRAINED, lambda board: board["in_sync"] and adopted(board["bird"]))
    assert (board["drained"], board["bird"]["announcing"]) == (True, False)
    assert {session["exported"] for session in board["bird"]["sessions"]} == {0}
    assert (await tortie(scene, DRAINED, "status"))[1].splitlines()[1].split(maxsplit=1) == [
        "drained",
        "no route is announced, nothing can be attached: tortie node uncordon ends it",
    ]
    netns = str(layout.namespace_path("web22"))
    code, output = await tortie(scene, DRAINED, "attach", "new", "--netns", netns, "--address", "10.65.0.99")
    assert code == 1
    assert "node node129 is drained: attach on another host, or end it here by `tortie node uncordon`" in output

    # Again changes nothing; uncordoned it announces what it has.
    code, output = await tortie(scene, DRAINED, "node", "drain", "--yes")
    assert (code, "0 routes withdrawn" in output) == (0, True)
    assert await tortie(scene, DRAINED, "node", "uncordon") == (0, "uncordoned\n")
    assert await tortie(scene, DRAINED, "node", "uncordon") == (0, "this host is not drained\n")
    await _moved(scene, "web22", OTHER, DRAINED)
    assert await settled(scene) == []
    assert await unreached(scene) == []
    assert not (await status(scene, DRAINED))["drained"]

    # Without an agent, for good or only until it starts.
    code, output = await tortie(scene, DRAINED, "node", "drain", "--until-start")
    assert (code, "the agent runs and would announce again" in output) == (2, True)

    # As tortie-withdraw.service does when the host shuts down: the agent has ended, BIRD still runs.
    end(scene, DRAINED, "agent", signal.SIGTERM)
    code, output = await tortie(scene, DRAINED, "node", "drain", "--until-start")
    assert (code, output) == (0, "172.18.203.5: 2 routes withdrawn\n")
    await no_route(scene, "reflector", "10.65.0.22")
    end(scene, DRAINED, "bird")
    await host.start_bird(layout, DRAINED)
    await host.start_agent(layout, DRAINED)
    await in_sync(scene, DRAINED)
    assert await settled(scene) == []

    end(scene, DRAINED, "agent")
    code, output = await tortie(scene, DRAINED, "node", "drain", "--yes")
    assert code == 0, output
    assert output.splitlines() == [
        "no agent runs: withdrawing without it",
        "172.18.203.5: 2 routes withdrawn",
        "drained: nothing can be attached here until `tortie node uncordon`",
    ]
    await host.start_agent(layout, DRAINED)
    board = await status_when(scene, DRAINED, lambda board: board["in_sync"] and adopted(board["bird"]))
    assert (board["drained"], {each["exported"] for each in board["bird"]["sessions"]}) == (True, {0})
    await no_route(scene, "reflector", "10.65.0.22")

    # A host that is reset takes back what it told its peers, and what BIRD told its kernel.
    end(scene, OTHER, "agent", signal.SIGTERM)
    _, before = await Member(scene, OTHER).run(["ip", "route", "show", "proto", "bird"])
    assert "10.65.0.24" in before
    code, output = await tortie(scene, OTHER, "node", "reset", "--yes")
    assert (code, "\nremoved\n" in output) == (0, True), output
    await no_route(scene, "reflector", "10.65.0.21")
    _, left = await Member(scene, OTHER).run(["ip", "route", "show", "proto", "bird"])
    assert left == ""
    assert {each.mark.program for each in running(scene.name) if each.mark.member == OTHER} == set()


async def _moved(scene: Topology, name: str, before: str, after: str) -> None:
    """The workload with its interface goes from one host to the other, as cold as it gets."""
    path = str(Layout(scene.name).namespace_path(name))
    workload = next(each for each in scene.workloads if each.name == name)
    for host_name, words in (
        (before, ("detach", name)),
        (after, ("attach", name, "--netns", path, "--address", ",".join(workload.addresses))),
    ):
        code, output = await tortie(scene, host_name, *words)
        assert code == 0, output
