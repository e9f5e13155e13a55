"""A host of a lab: its files, its BIRD and its agent.

An agent is told by its configuration file where everything of its host is; the same settings stand in the
environment of every command run on the host, so that `tortie status` inside asks this host's agent.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

from tortie.lab import cluster
from tortie.lab.layout import Layout
from tortie.lab.process import LabError, Mark, alive, ended, inside, run, start, wait_until
from tortie.lab.topology import Topology

ANSWER_TIMEOUT_S = 30.0
_CREDENTIALS = struct.Struct("=3i")  # process, user and group of who listens (unix(7), SO_PEERCRED)

# The agent replaces it as soon as it knows the node; until then BIRD does nothing.
_FIRST_BIRD_CONFIG = "log stderr all;\nrouter id 0.0.0.1;\nprotocol device { }\n"


def settings(layout: Layout, topology: Topology, host: str) -> dict[str, str | int]:
    """The bootstrap settings of a host's agent, by key."""
    files = layout.member(host)
    values: dict[str, str | int] = {
        "node": host,
        "datastore": cluster.datastore(topology, layout),
        "run_dir": str(files.run_dir),
        "state_dir": str(files.state_dir),
        "bpffs": str(files.bpffs),
        "bird_socket": str(files.bird_socket),
        "bird_config": str(files.bird_config),
    }
    if topology.bird_kernel_metric is not None:
        values["bird_kernel_metric"] = topology.bird_kernel_metric
    return values


def render_settings(values: Mapping[str, str | int]) -> str:
    """The settings as a configuration file; a JSON string is a TOML string."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def environment(layout: Layout, topology: Topology, host: str) -> dict[str, str]:
    return {f"TORTIE_{key.upper()}": str(value) for key, value in settings(layout, topology, host).items()}


def write_files(layout: Layout, topology: Topology, host: str) -> None:
    files = layout.member(host)
    for directory in (files.run_dir, files.state_dir, files.bpffs):
        directory.mkdir(parents=True)
    files.config.write_text(render_settings(settings(layout, topology, host)))
    files.bird_config.write_text(_FIRST_BIRD_CONFIG)


async def start_bird(layout: Layout, member: str) -> None:
    """Starts a member's BIRD with the configuration that lies there; returns when it answers."""
    files = layout.member(member)
    command = ["bird", "-f", "-R", "-c", files.bird_config, "-s", files.bird_socket, "-P", files.bird_pid]
    await _start_daemon(layout, Mark(layout.lab, member, "bird"), [str(word) for word in command], files.bird_socket)


async def start_agent(layout: Layout, host: str) -> None:
    """Starts a host's agent; returns when its API answers."""
    files = layout.member(host)
    command = [sys.executable, "-m", "tortie", "agent", "--config", str(files.config)]
    await _start_daemon(layout, Mark(layout.lab, host, "agent"), command, files.agent_socket)


async def _start_daemon(layout: Layout, mark: Mark, command: list[str], answers_on: Path) -> None:
    log = layout.member(mark.member).log(mark.program)
    process = await start(inside(layout.namespace(mark.member), *command), mark, log)
    await wait_until(lambda: answers(answers_on, process.pid) or not alive(process), ANSWER_TIMEOUT_S)
    if not alive(process):
        raise ended(mark, log)
    if not answers(answers_on, process.pid):
        raise LabError(f"{mark.member}: {mark.program} does not answer on {answers_on}, see {log}")


async def bird_sessions(layout: Layout, member: str) -> dict[str, str]:
    """What a member's BIRD says of its BGP sessions: name -> state, such as Established."""
    command = ["birdc", "-s", str(layout.member(member).bird_socket), "show", "protocols", "all"]
    return _parse_sessions(await run(command, Mark(layout.lab, member, "birdc")))


def _parse_sessions(output: str) -> dict[str, str]:
    """A protocol's own line begins in the first column: name, kind, ...; its details are indented below it."""
    sessions = {}
    name = ""
    for line in output.splitlines():
        words = line.split()
        if words and not line.startswith(" "):
            name = words[0]
        elif words[:2] == ["BGP", "state:"]:
            sessions[name] = words[2]
    return sessions


def answers(path: Path, pid: int) -> bool:
    """That process listens there. One that was killed goes on for a moment, in a child on its way to a program."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        listener, _, _ = _CREDENTIALS.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return bool(listener == pid)
