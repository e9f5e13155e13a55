"""What a host's BIRD that includes our part is found to lack."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.bgp.intents import A4, B4, intent, peer
from tortie.bgp.including import lacking, left_out
from tortie.bgp.replies import Channel, Protocol


def protocol(kind: str, *channels: Channel, state: str = "up") -> Protocol:
    return Protocol(name=kind.lower(), kind=kind, state=state, since="", channels=channels)


RIGHT = (
    protocol("Device"),
    protocol("Direct", Channel("ipv4", "UP")),
    protocol("Kernel", Channel("ipv4", "UP", "tortie_from_kernel4", "(unnamed)")),
)


def test_nothing() -> None:
    assert list(lacking(RIGHT, (4,), ())) == []


@pytest.mark.parametrize(
    ("at", "instead", "said"),
    [
        (0, (), "it has no `protocol device`"),
        (0, (protocol("Device", state="down"),), "it has no `protocol device`"),
        (1, (protocol("Direct", Channel("ipv6", "UP")),), "it has no `protocol direct` with ipv4"),
        (2, (protocol("Kernel", Channel("ipv4", "DOWN")),), "it has no `protocol kernel` with ipv4"),
        (2, (protocol("Kernel", Channel("ipv4", "UP", "ACCEPT", "(unnamed)")),), "import filter tortie_from_kernel4"),
        (
            2,
            (protocol("Kernel", Channel("ipv4", "UP", "tortie_from_kernel4", "REJECT")),),
            "export where source = RTS_BGP",
        ),
    ],
)
def test_a_line(at: int, instead: tuple[Protocol, ...], said: str) -> None:
    [found] = lacking((*RIGHT[:at], *instead, *RIGHT[at + 1 :]), (4,), ())
    assert said in found


def test_only_versions_that_the_node_speaks() -> None:
    assert [each.split(",")[0] for each in lacking(RIGHT, (4, 6), ())] == [
        "it has no `protocol direct` with ipv6",
        "it has no `protocol kernel` with ipv6",
    ]


def test_a_session_that_needs_a_static_route_is_left_out() -> None:
    fields: dict[str, Any] = {"local": A4, "as_number": 64601}
    plain, reached = peer(B4, **fields), peer("192.0.2.1", reachable_by=peer(B4, **fields).address, **fields)
    wanted, problems = left_out(intent(A4, plain, reached))
    assert wanted.peers == (plain,)
    [problem] = problems
    assert problem.reason.startswith("no session with 192.0.2.1: spec.reachableBy needs a static route")


def test_routes_of_workloads_that_are_not_learned() -> None:
    [found] = lacking(RIGHT, (4,), (4,))
    assert "must say `learn;`" in found
    learned = msgspec.structs.replace(RIGHT[2], imported=1)
    assert list(lacking((*RIGHT[:2], learned), (4,), (4, 6))) == []
