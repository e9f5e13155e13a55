"""An etcd of a lab or a test: how a member is started, and what its clients are told.

Members trust their network: no TLS, no users. Progress is told each second, so that bookmarks can be seen.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from tortie.lab import process
from tortie.lab.layout import Layout
from tortie.lab.process import LabError, Mark, alive, ended, inside, run
from tortie.lab.topology import Topology

CLIENT_PORT = 2379
PEER_PORT = 2380
PROGRESS_INTERVAL = "1s"
ANSWER_TIMEOUT_S = 30.0


def missing() -> str:
    """What has to be done before an etcd can run here; empty when nothing has."""
    return "" if shutil.which("etcd") else "etcd is not installed: apt-get install --no-install-recommends etcd-server"


def command(
    name: str,
    directory: Path,
    cluster: Mapping[str, str],
    *,
    client_port: int = CLIENT_PORT,
    peer_port: int = PEER_PORT,
) -> list[str]:
    """The command line of member `name`; `cluster` holds the address of every member by name."""
    host = _host(cluster[name])
    client, peer = f"http://{host}:{client_port}", f"http://{host}:{peer_port}"
    peers = ",".join(f"{member}=http://{_host(address)}:{peer_port}" for member, address in cluster.items())
    return [
        *("etcd", "--name", name, "--data-dir", str(directory), "--logger", "zap", "--log-level", "warn"),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", peers),
        *("--experimental-watch-progress-notify-interval", PROGRESS_INTERVAL),
    ]


def restore_command(name: str, directory: Path, cluster: Mapping[str, str], backup: Path) -> list[str]:
    """The command that makes the member's directory from a backup, as a member of the same cluster."""
    peers = {member: f"http://{_host(address)}:{PEER_PORT}" for member, address in cluster.items()}
    return [
        *("etcdctl", "snapshot", "restore", str(backup), "--name", name, "--data-dir", str(directory)),
        *("--initial-cluster", ",".join(f"{member}={peer}" for member, peer in peers.items())),
        *("--initial-advertise-peer-urls", peers[name]),
    ]


async def start(topology: Topology, layout: Layout, name: str) -> None:
    """Starts the member on machine `name`, new or with what it kept; returns when most of its cluster answers."""
    cluster = {machine.name: machine.addresses[0] for machine in topology.etcd}
    files = layout.member(name)
    mark = Mark(layout.lab, name, "etcd")
    program = command(name, files.directory / "etcd", cluster)
    member = await process.start(inside(layout.namespace(name), *program), mark, files.log("etcd"))
    # Only a member of the lab can ask it.
    endpoint = f"{_host(cluster[name])}:{CLIENT_PORT}"
    asking = inside(layout.namespace(name), "etcdctl", "--endpoints", endpoint, "endpoint", "health")
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while True:
        try:
            await run(asking, mark._replace(program="etcdctl"))
        except LabError as error:
            if not alive(member):
                raise ended(mark, files.log("etcd")) from error
            if time.monotonic() > deadline:
                raise LabError(f"{name}: etcd does not answer, see {files.log('etcd')}: {error}") from error
            await asyncio.sleep(0.1)
        else:
            return


def url(addresses: Iterable[str], port: int = CLIENT_PORT) -> str:
    """The datastore that the members at these addresses are."""
    return "etcd://" + ",".join(f"{_host(address)}:{port}" for address in addresses)


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
