"""status and node status: the agent's board in words, and the exit codes that scripts live by."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from tests.unit.cli.conftest import FakeAgent, Tortie
from tortie.__main__ import command
from tortie.intent.report import EndpointReport, EndpointState, Noted
from tortie.status import Bird, Board, Dropped, Duration, Logged, Session, Vitals, Waiting


def session(address: str, info: str = "Established", kind: str = "mesh") -> Session:
    return Session(
        name=f"{kind.capitalize()}_{address.replace('.', '_').replace(':', '_')}",
        kind=kind,
        address=address,
        state=info.split()[0],
        since="04:30:11.123",
        info=info,
        imported=3,
        exported=1,
    )


def endpoint(state: EndpointState, reason: str = "") -> EndpointReport:
    return EndpointReport(state=state, reason=reason, interface="cali1234abcd567", addresses=("10.65.0.24",))


WELL = Board(
    node="node-1",
    version="0.1.0",
    datastore="sqlite:///var/lib/tortie/tortie.db",
    connected=True,
    in_sync=True,
    revision=42,
    policy_backend="nftables",
    enforced_revision=41,
    endpoints={
        "default/node--1-tortie-web-eth0": endpoint(EndpointState.UP),
        "default/node--1-tortie-vm-tap1": endpoint(EndpointState.DOWN, "interface tap1 is waiting for carrier"),
    },
    responder="ebpf",
    bird=Bird(
        running=True, version="2.0.12", configured=True, sessions=(session("172.18.203.126"), session("fd00::2"))
    ),
)
DOWN = session("172.18.203.129", "Active        Socket: reset")


def test_all_is_well(tortie: Tortie, agent: FakeAgent) -> None:
    agent.answer("/v1/status", WELL)
    assert tortie("status") == (
        0,
        """\
node       node-1, tortie 0.1.0
datastore  sqlite:///var/lib/tortie/tortie.db, in sync, revision 42
endpoints  1 up, 1 down, 0 error
policy     nftables, enforced up to revision 41
responder  ebpf
BIRD       2.0.12, 2 of 2 sessions established

ENDPOINT                         STATE  INTERFACE        ADDRESSES   REASON
default/node--1-tortie-vm-tap1   down   cali1234abcd567  10.65.0.24  interface tap1 is waiting for carrier
default/node--1-tortie-web-eth0  up     cali1234abcd567  10.65.0.24

SESSION              PEER            STATE        SINCE         IMPORTED  EXPORTED
Mesh_172_18_203_126  172.18.203.126  Established  04:30:11.123  3         1
Mesh_fd00__2         fd00::2         Established  04:30:11.123  3         1

all is well
""",
        "",
    )


def test_much_is_wrong(tortie: Tortie, agent: FakeAgent) -> None:
    failed = endpoint(EndpointState.ERROR, "a foreign route\nstands before ours")
    board = replace(
        WELL,
        endpoints={f"default/{name}": failed for name in "abcd"},
        pending=(Noted(subject="route 10.65.0.24/32", reason="the kernel refuses it"),),
        problems=(Noted(subject="IPPool(bad)", reason="spec.cidr: must be a valid subnet"),),
        bird=replace(WELL.bird, sessions=(session("172.18.203.126"), DOWN)),
        errors=(Logged(time="2026-01-02T03:04:05Z", text="the kernel dropped events"),),
    )
    agent.answer("/v1/status", board)
    said = tortie("status")
    assert said.code == 1
    assert said.stdout.splitlines()[7:] == [
        "ENDPOINT   STATE  INTERFACE        ADDRESSES   REASON",
        *(f"default/{name}  error  cali1234abcd567  10.65.0.24  a foreign route stands before ours" for name in "abcd"),
        "",
        "SESSION              PEER            STATE                 SINCE         IMPORTED  EXPORTED",
        "Mesh_172_18_203_126  172.18.203.126  Established           04:30:11.123  3         1",
        "Mesh_172_18_203_129  172.18.203.129  Active Socket: reset  04:30:11.123  3         1",
        "",
        "PENDING              REASON",
        "route 10.65.0.24/32  the kernel refuses it",
        "",
        "PROBLEM      REASON",
        "IPPool(bad)  spec.cidr: must be a valid subnet",
        "",
        "TIME                  LAST ERRORS",
        "2026-01-02T03:04:05Z  the kernel dropped events",
        "",
        "wrong: 4 endpoints in error: default/a, default/b, default/c ...",
        "wrong: 1 row of the kernel not as wanted yet: route 10.65.0.24/32",
        "wrong: 1 problem: IPPool(bad)",
        "wrong: 1 BGP session of 2 not established: 172.18.203.129",
    ]


def test_figures_of_the_agent_and_what_was_dropped(tortie: Tortie, agent: FakeAgent) -> None:
    vitals = Vitals(
        uptime_s=93784.5,
        resident_bytes=61 << 20,
        loop_lag_worst_ms=3.5,
        datastore_stale_s=12.0,
        applied={"routes": Duration(count=1, sum_s=0.5, last_s=0.012), "policy": Duration(count=2, last_s=0.0034)},
        dropped={
            "invalid": Dropped(),
            "policy": Dropped(packets=7, bytes=700),
            "tier-default": Dropped(packets=12, bytes=1),
        },
    )
    agent.answer("/v1/status", replace(WELL, vitals=vitals, loop_lag_ms=0.4))
    lines = tortie("status").stdout.splitlines()
    assert lines[5:8] == [
        "agent      up 1 d 2 h, 61 MiB, loop late by 0.4 ms, 3.5 at worst in a minute",
        "last took  policy 3 ms, routes 12 ms",
        "stale      the datastore has not answered for 12 s",
    ]
    at = lines.index("DROPPED FOR   PACKETS  BYTES")
    assert lines[at + 1 : at + 3] == ["tier-default  12       1", "policy        7        700"]


def test_what_waits_to_be_confirmed_is_shown_and_is_no_fault(tortie: Tortie, agent: FakeAgent) -> None:
    objects = ("IPPool(a)", "Node(b)")
    soon = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    waiting = Waiting(name="1f2e3d4c", by="alice@node-1", deadline=soon, objects=objects, gone_back=False)
    gone_back = replace(waiting, name="5a6b7c8d", gone_back=True)
    agent.answer("/v1/status", replace(WELL, confirmations=(waiting, gone_back)))
    said = tortie("status")
    assert said.code == 0
    heading, first, second, _, well = said.stdout.splitlines()[-5:]
    assert heading.split() == ["CONFIRMATION", "DEADLINE", "LEFT", "BY", "OBJECTS"]
    assert re.fullmatch(rf"1f2e3d4c +{soon}  3[56]\d\d s +alice@node-1  IPPool\(a\), Node\(b\)", first)
    assert second == f"5a6b7c8d      {soon}  gone back  alice@node-1  IPPool(a), Node(b)"
    assert well == "all is well"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"connected": False, "datastore_problem": "locked"},
            "the last known state stays in force: locked",
        ),
        ({"in_sync": False}, "the agent has not caught up with the datastore yet"),
        (
            {"bird": Bird(running=False, problem="/run/tortie/bird.ctl: Connection refused")},
            "BIRD does not answer, so no routes are exchanged: /run/tortie/bird.ctl: Connection refused",
        ),
        (
            {"bird": Bird(running=True, problem="syntax error")},
            "BIRD does not run the configuration that is wanted: syntax error",
        ),
        ({"bird": Bird(running=True)}, "BIRD does not run the configuration that is wanted: being applied"),
    ],
)
def test_each_fault_is_a_sentence_and_exit_code_1(
    tortie: Tortie, agent: FakeAgent, changes: dict[str, Any], fault: str
) -> None:
    agent.answer("/v1/status", replace(WELL, **changes))
    said = tortie("status")
    assert (said.code, said.stdout.splitlines()[-1]) == (1, f"wrong: {fault}")


def test_json_is_the_board_with_a_judgement(tortie: Tortie, agent: FakeAgent) -> None:
    agent.answer("/v1/status", WELL)
    said = tortie("status", "-o", "json")
    board = json.loads(said.stdout)
    assert (said.code, board["healthy"], board["faults"]) == (0, True, [])
    assert board["endpoints"]["default/node--1-tortie-web-eth0"]["state"] == "up"
    agent.answer("/v1/status", replace(WELL, in_sync=False))
    said = tortie("status", "-o", "json")
    assert (said.code, json.loads(said.stdout)["healthy"]) == (1, False)


def test_colour_is_for_terminals(tortie: Tortie, agent: FakeAgent) -> None:
    agent.answer("/v1/status", WELL)
    plain = tortie("status").stdout
    runner = CliRunner(env={**tortie.environment, "TERM": "xterm", "NO_COLOR": ""})
    assert "\x1b[" in runner.invoke(command(), ["status"], color=True).stdout
    assert runner.invoke(command(), ["status"], color=True, env={"NO_COLOR": "1"}).stdout == plain
    assert runner.invoke(command(), ["status"], color=True, env={"TERM": "dumb"}).stdout == plain


def test_status_without_an_agent(tortie: Tortie) -> None:
    said = tortie("status")
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr == (
        f"Error: no agent answers on {tortie.directory}/agent.sock: "
        "start it with `systemctl start tortie-agent` or `tortie agent`\n"
    )


def test_bgp_sessions_in_the_tables_of_calicoctl(tortie: Tortie, agent: FakeAgent) -> None:
    sessions = (session("172.18.203.126"), session("172.18.203.1", "Active", "global"), session("fd00::2", kind="node"))
    agent.answer("/v1/status", replace(WELL, bird=replace(WELL.bird, sessions=sessions)))
    assert tortie("node", "status") == (
        0,
        """\
Calico process is running.

IPv4 BGP status
+----------------+-------------------+-------+--------------+-------------+
| PEER ADDRESS   | PEER TYPE         | STATE | SINCE        | INFO        |
+----------------+-------------------+-------+--------------+-------------+
| 172.18.203.126 | node-to-node mesh | up    | 04:30:11.123 | Established |
| 172.18.203.1   | global            | start | 04:30:11.123 | Active      |
+----------------+-------------------+-------+--------------+-------------+

IPv6 BGP status
+--------------+---------------+-------+--------------+-------------+
| PEER ADDRESS | PEER TYPE     | STATE | SINCE        | INFO        |
+--------------+---------------+-------+--------------+-------------+
| fd00::2      | node specific | up    | 04:30:11.123 | Established |
+--------------+---------------+-------+--------------+-------------+

""",
        "",
    )


def test_bgp_without_peers(tortie: Tortie, agent: FakeAgent) -> None:
    agent.answer("/v1/status", replace(WELL, bird=Bird(running=True)))
    expected = "\nIPv4 BGP status\nNo IPv4 peers found.\n\nIPv6 BGP status\nNo IPv6 peers found.\n\n"
    assert tortie("node", "status") == (0, "Calico process is running.\n" + expected, "")


def test_bgp_without_bird_or_agent(tortie: Tortie, agent: FakeAgent) -> None:
    agent.answer("/v1/status", replace(WELL, bird=Bird(running=False)))
    running = "Calico process is running.\nThe BGP backend process (BIRD) is not running.\n\n"
    assert tortie("node", "status") == (0, running, "")
    tortie.environment["TORTIE_RUN_DIR"] = str(tortie.directory)
    said = tortie("node", "status")
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr.splitlines()[0] == "Calico process is not running."
