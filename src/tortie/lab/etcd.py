"""An etcd of a lab or a test: how one member is started, and what its clients are told.

Members trust their network: no TLS, no users. Progress is told each second, so that bookmarks can be seen.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

CLIENT_PORT = 2379
PEER_PORT = 2380
PROGRESS_INTERVAL = "1s"


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


def url(addresses: Iterable[str], port: int = CLIENT_PORT) -> str:
    """The datastore that the members at these addresses are."""
    return "etcd://" + ",".join(f"{_host(address)}:{port}" for address in addresses)


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
