"""The agent: whether there is one, whether it answers, and what it says is wrong."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tortie.doctor.finding import Finding, Result, Unseen, error, some, warning
from tortie.doctor.host import Host
from tortie.doctor.processes import Process

ANSWER_S = 3.0

Board = Mapping[str, Any]


class Silent(Exception):
    """The agent did not answer; the text says how."""


def check(host: Host) -> Iterator[Result]:
    path = host.settings.api_socket
    try:
        board = read_board(path)
    except PermissionError:
        yield Unseen("the agent's status", f"{path} may be opened by root and the group tortie alone")
    except Silent as silent:
        yield silence(path, str(silent), [process for process in host.processes if process.is_agent])
    else:
        yield from reported(board)


def silence(path: Path, how: str, agents: Sequence[Process]) -> Finding:
    """What it means that nobody answers, by the agents that run all the same."""
    why = (
        "routes and traffic stay as they are, but nobody adds new workloads, repairs what others remove or follows BGP"
    )
    if agents:
        return error(
            f"the agent does not answer: {how}",
            f"{path}; {agents[0]} runs",
            f"either it hangs, or it was started with another run_dir than this command; {why}",
            "journalctl -u tortie-agent; compare the agent's configuration with `tortie -c FILE doctor`",
        )
    return error(
        f"no agent runs: {how}",
        str(path),
        why,
        "systemctl status tortie-agent says why it ended; systemctl start tortie-agent",
    )


def reported(board: Board) -> Iterator[Finding]:
    """The agent's own words, one finding a sort."""
    if board["datastore_problem"] or not board["connected"]:
        yield error(
            f"the agent cannot follow the datastore: {board['datastore_problem'] or 'not connected'}",
            board["datastore"],
            "the last known state stays in force, and no change arrives",
            "tortie datastore info",
        )
    elif not board["in_sync"]:
        yield warning(
            "the agent has not caught up with the datastore yet",
            board["datastore"],
            "it changes nothing before it knows everything",
            "tortie status, again in a minute; tortie datastore info says whether the datastore is locked",
        )
    failed = [name for name, endpoint in board["endpoints"].items() if endpoint["state"] == "error"]
    if failed:
        reason = board["endpoints"][failed[0]]["reason"]
        yield error(
            f"{len(failed)} of {len(board['endpoints'])} endpoints are in error: {reason}",
            some(failed),
            "these workloads are cut off",
            "tortie status shows each with its reason",
        )
    for key, what in (("pending", "rows of the kernel are not as wanted"), ("problems", "problems are reported")):
        noted = board[key]
        if noted:
            yield warning(
                f"{len(noted)} {what}: {noted[0]['reason']}",
                some([one["subject"] for one in noted]),
                "the agent tries again and again, and the rest is in force meanwhile",
                "tortie status shows each with its reason",
            )
    yield from _routing_daemon(board["bird"])


def _routing_daemon(bird: Board) -> Iterator[Finding]:
    if not bird["running"]:
        return  # a check of its own
    if bird["problem"] or not bird["configured"]:
        yield error(
            f"BIRD does not run the configuration that is wanted: {bird['problem'] or 'being applied'}",
            "BIRD",
            "sessions and pools stay as they were",
            "tortie status; journalctl -u tortie-bird",
        )
    down = [one for one in bird["sessions"] if one["state"] != "Established"]
    if down:
        yield warning(
            f"{len(down)} of {len(bird['sessions'])} BGP sessions are not established: {down[0]['info']}",
            some([one["address"] for one in down]),
            "no routes come from there, and none of this host's go there",
            "tortie node status; is TCP port 179 open in both directions?",
        )


def read_board(path: Path) -> Board:
    """The agent's status; raises `Silent`, or PermissionError where the socket is not for this user."""
    connection = http.client.HTTPConnection("agent", timeout=ANSWER_S)
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(ANSWER_S)
        connection.sock.connect(str(path))
        connection.request("GET", "/v1/status")
        board = json.loads(connection.getresponse().read())
    except FileNotFoundError:
        raise Silent("its socket does not exist") from None
    except ConnectionRefusedError:
        raise Silent("nobody listens on its socket") from None
    except TimeoutError:
        raise Silent(f"no answer after {ANSWER_S:g} s") from None
    except PermissionError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as failure:
        raise Silent(str(failure) or type(failure).__name__) from None
    finally:
        connection.close()
    if not isinstance(board, dict) or "endpoints" not in board:
        raise Silent("what answers is no agent")
    return board
