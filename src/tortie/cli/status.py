"""`tortie status`: the agent's board in words, and whether anything of it is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

import click

from tortie.cli import agent_client, terminal
from tortie.cli.configuration import config_option, settings
from tortie.cli.report_form import form_option
from tortie.cli.tables import aligned

Board = Mapping[str, Any]

_COLOURS = {"error": "red", "down": "yellow", "up": "green"}


@click.command()
@form_option
@config_option
def status(form: str) -> None:
    """Say whether this host does what it should: endpoints, routes, BGP sessions, datastore.

    \b
    tortie status
    tortie status -o json | jq -r '.faults[]'
    tortie status > /dev/null && echo all is well

    Exit code 0 when all is well, 1 when something is wrong or the agent does not answer. An endpoint whose
    interface is missing or down is not wrong: its workload is not running.
    """
    board: Board = agent_client.get(settings().api_socket, "/v1/status")
    faults = list(faults_of(board))
    if form == "json":
        click.echo(json.dumps({**board, "healthy": not faults, "faults": faults}, indent=2))
    else:
        for line in _lines(board, faults):
            terminal.echo(line)
    raise SystemExit(1 if faults else 0)


def faults_of(board: Board) -> Iterator[str]:
    """What is wrong, in sentences; nothing when the host does what it should."""
    if board["datastore_problem"]:
        yield f"the last known state stays in force: {board['datastore_problem']}"
    elif not board["in_sync"]:
        yield "the agent has not caught up with the datastore yet"
    failed = [name for name, endpoint in board["endpoints"].items() if endpoint["state"] == "error"]
    if failed:
        yield f"{_count(failed, 'endpoint')} in error: {_some(failed)}"
    if board["pending"]:
        yield f"{_count(board['pending'], 'row')} of the kernel not as wanted yet: {_some_subjects(board['pending'])}"
    if board["problems"]:
        yield f"{_count(board['problems'], 'problem')}: {_some_subjects(board['problems'])}"
    yield from _bird_faults(board["bird"])


def _bird_faults(bird: Mapping[str, Any]) -> Iterator[str]:
    if not bird["running"]:
        yield f"BIRD does not answer, so no routes are exchanged: {bird['problem'] or 'is tortie-bird running?'}"
    elif bird["problem"] or not bird["configured"]:
        yield f"BIRD does not run the configuration that is wanted: {bird['problem'] or 'being applied'}"
    down = [session["address"] for session in bird["sessions"] if session["state"] != "Established"]
    if down:
        yield f"{_count(down, 'BGP session')} of {len(bird['sessions'])} not established: {_some(down)}"


def _lines(board: Board, faults: Sequence[str]) -> Iterator[str]:
    yield from aligned(_summary(board)).splitlines()
    endpoints = sorted(board["endpoints"].items())
    yield from _section(
        ("ENDPOINT", "STATE", "INTERFACE", "ADDRESSES", "REASON"),
        [(name, one["state"], one["interface"], ",".join(one["addresses"]), one["reason"]) for name, one in endpoints],
        [_COLOURS[one["state"]] for _, one in endpoints],
    )
    sessions = board["bird"]["sessions"]
    yield from _section(
        ("SESSION", "PEER", "STATE", "SINCE", "IMPORTED", "EXPORTED"),
        [
            (one["name"], one["address"], one["info"], one["since"], str(one["imported"]), str(one["exported"]))
            for one in sessions
        ],
        ["green" if one["state"] == "Established" else "red" for one in sessions],
    )
    yield from _section(
        ("CONFIRMATION", "DEADLINE", "LEFT", "BY", "OBJECTS"),
        [_waiting(one) for one in board.get("confirmations", ())],  # an agent of before 0.2 knows none
        [],
    )
    yield from _section(("DROPPED FOR", "PACKETS", "BYTES"), _dropped(board), [])
    for heading, noted in (("PENDING", board["pending"]), ("PROBLEM", board["problems"])):
        rows = [(one["subject"], one["reason"]) for one in noted]
        yield from _section((heading, "REASON"), rows, ["red"] * len(rows))
    yield from _section(("PUT BACK", "TIMES", "LAST TIME", "AFTER MS", "TAKEN BY"), _repairs(board), [])
    yield from _section(("TIME", "LAST ERRORS"), [(one["time"], one["text"]) for one in board["errors"]], [])
    yield ""
    yield from (click.style(f"wrong: {fault}", "red") for fault in faults)
    if not faults:
        yield click.style("all is well", "green")


def _summary(board: Board) -> list[tuple[str, str]]:
    bird = board["bird"]
    states = [endpoint["state"] for endpoint in board["endpoints"].values()]
    known = "in sync" if board["in_sync"] else "from the local snapshot" if board["from_snapshot"] else "not in sync"
    established = sum(session["state"] == "Established" for session in bird["sessions"])
    sessions = f"{established} of {len(bird['sessions'])} sessions established"
    drained = [("drained", "no route is announced, nothing can be attached: tortie node uncordon ends it")]
    return [
        ("node", f"{board['node']}, tortie {board['version']}"),
        *(drained if board.get("drained") else []),
        ("datastore", f"{board['datastore']}, {known}, revision {board['revision']}"),
        ("endpoints", ", ".join(f"{states.count(state)} {state}" for state in ("up", "down", "error"))),
        ("policy", _policy(board)),
        ("responder", board["responder"]),
        *_vitals(board),
        ("BIRD", f"{bird['version']}, {sessions}" if bird["running"] else "not running"),
    ]


def _vitals(board: Board) -> Iterator[tuple[str, str]]:
    # An agent of before 0.2 does not know these.
    vitals = board.get("vitals")
    if not vitals or not vitals["uptime_s"]:
        return
    lag = f"loop late by {board['loop_lag_ms']:g} ms, {vitals['loop_lag_worst_ms']:g} at worst in a minute"
    yield "agent", f"up {_span(vitals['uptime_s'])}, {vitals['resident_bytes'] / 2**20:.0f} MiB, {lag}"
    applied = [f"{stage} {taken['last_s'] * 1000:.0f} ms" for stage, taken in sorted(vitals["applied"].items())]
    if applied:
        yield "last took", ", ".join(applied)
    if vitals["datastore_stale_s"]:
        yield "stale", f"the datastore has not answered for {_span(vitals['datastore_stale_s'])}"


def _span(seconds: float) -> str:
    """The two largest units of it."""
    parts = [(int(seconds) // 86400, "d"), (int(seconds) // 3600 % 24, "h"), (int(seconds) // 60 % 60, "min")]
    parts.append((int(seconds) % 60, "s"))
    first = next((number for number, (value, _) in enumerate(parts) if value), len(parts) - 1)
    return " ".join(f"{value} {unit}" for value, unit in parts[first : first + 2])


def _dropped(board: Board) -> list[tuple[str, str, str]]:
    """The reasons for which packets were dropped at all, the most frequent one first."""
    every = board.get("vitals", {}).get("dropped", {})
    some = sorted((-one["packets"], reason, one["bytes"]) for reason, one in every.items() if one["packets"])
    return [(reason, str(-packets), str(octets)) for packets, reason, octets in some]


def _repairs(board: Board) -> list[tuple[str, ...]]:
    # An agent of before 0.2 does not know them.
    return [
        (one["what"], str(one["times"]), one["time"], f"{one['back_ms']:g}", one["by"])
        for one in board.get("repairs", ())
    ]


def _policy(board: Board) -> str:
    # An agent of before 0.2, which does not know these, may still run beside this command.
    backend, revision = board.get("policy_backend"), board.get("enforced_revision")
    if not backend:
        return "not in force"
    repairs = board.get("policy_repairs")
    open_ms = board.get("policy_open_ms")
    by = f" by {board['policy_changed_by']}" if board.get("policy_changed_by") else ""
    repaired = (
        f", repaired {repairs} times, the last time changed{by} and open for {open_ms} ms at most" if repairs else ""
    )
    return f"{backend}, enforced up to revision {revision}{repaired}"


def _waiting(one: Mapping[str, Any]) -> tuple[str, ...]:
    left_s = (datetime.fromisoformat(one["deadline"]) - datetime.now(UTC)).total_seconds()
    left = "gone back" if one["gone_back"] else f"{max(left_s, 0):.0f} s"
    return one["name"], one["deadline"], left, one["by"], ", ".join(one["objects"])


def _section(heading: Sequence[str], rows: Sequence[Sequence[str]], colours: Sequence[str]) -> Iterator[str]:
    """A table below an empty line; nothing when it has no rows. Rows beyond the colours have none."""
    if rows:
        first, *others = aligned([heading, *([" ".join(cell.split()) for cell in row] for row in rows)]).splitlines()
        yield ""
        yield first
        yield from (click.style(line, colour) for line, colour in zip_longest(others, colours))


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}" + ("" if len(things) == 1 else "s")


def _some(names: Sequence[str]) -> str:
    """The first three; the tables have them all."""
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def _some_subjects(noted: Sequence[Mapping[str, str]]) -> str:
    return _some([one["subject"] for one in noted])
