"""How long does a command take as a whole process?

`tortie get node NAME -o yaml`, from a store with a hundred nodes. The baseline is a Python that does nothing, which is
what the language costs.

Promise: 200 ms in the median, over SQLite and over etcd.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.turns import Turn, percentile, print_table, take_turns
from tests.unit.datastore.etcd_server import EtcdServer

ROUNDS = 30
LIMIT_MS = 200.0
BASELINE = "python3 -c pass"

NODES = 100
NODE = """\
apiVersion: projectcalico.org/v3
kind: Node
metadata: {{name: node-{number}, labels: {{rack: r{number}}}}}
spec: {{bgp: {{ipv4Address: 10.0.0.{number}/24, asNumber: 64512}}}}
"""


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    server = EtcdServer(tmp_path / "etcd")
    server.start()
    yield server
    server.stop()


def test_get_a_node(etcd: EtcdServer, tmp_path: Path) -> None:
    nodes = tmp_path / "nodes.yaml"
    nodes.write_text("---\n".join(NODE.format(number=number) for number in range(NODES)))
    stores = {"SQLite": f"sqlite://{tmp_path}/store.db", "etcd": etcd.url}
    variants: dict[str, Turn] = {BASELINE: lambda: _run([sys.executable, "-c", "pass"], "")}
    for name, url in stores.items():
        _run([sys.executable, "-m", "tortie", "apply", "-f", str(nodes)], url)
        variants[name] = _get(url)
    taken = take_turns(variants, ROUNDS, BASELINE)
    print_table("get node NAME -o yaml", taken, BASELINE)
    assert not {name for name in stores if percentile(taken[name], 50) > LIMIT_MS}


def _get(url: str) -> Turn:
    return lambda: _run([sys.executable, "-m", "tortie", "get", "node", "node-7", "-o", "yaml"], url)


def _run(command: list[str], url: str) -> float:
    environment = os.environ | {"TORTIE_DATASTORE": url, "TORTIE_NODE": "node-1"}
    began = time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1000
