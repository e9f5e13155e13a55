"""How fast does a large file come into the datastore?

`tortie apply -f` of 10,000 workload endpoints, one YAML document of about 400 bytes each, as a whole process: into an
empty store, and again when nothing has changed.

Promise: at least 3,000 documents a second on SQLite, 1,500 on etcd.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.turns import percentile, print_table
from tests.unit.datastore.etcd_server import EtcdServer

DOCUMENTS = 10_000
ROUNDS = 5
LEAST_PER_S = {"SQLite": 3_000, "etcd": 1_500}

ENDPOINT = """\
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata:
  name: node--{node}-tortie-web--{number}-eth0
  namespace: default
  labels:
    app: web
    tier: "front"
spec:
  orchestrator: tortie
  node: node-{node}
  workload: web-{number}
  endpoint: eth0
  ipNetworks:
  - 10.65.{high}.{low}/32
  profiles:
  - projectcalico-default-allow
  interfaceName: cali{number:09x}
  mac: 02:11:22:33:{high:02x}:{low:02x}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    parts = [
        ENDPOINT.format(node=number % 100, number=number, high=number >> 8, low=number & 255)
        for number in range(DOCUMENTS)
    ]
    path = tmp_path / "endpoints.yaml"
    path.write_text("---\n".join(parts))
    return path


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    server = EtcdServer(tmp_path / "etcd")
    server.start()
    yield server
    server.stop()


@pytest.mark.timeout(600)
def test_a_large_file(file: Path, etcd: EtcdServer, tmp_path: Path) -> None:
    taken: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        etcd.ctl("del", "--prefix", "/")
        for store, url in (("SQLite", f"sqlite://{tmp_path}/store-{number}.db"), ("etcd", etcd.url)):
            for case in (store, f"{store}, again"):
                taken.setdefault(case, []).append(_apply(file, url))
    print_table(f"apply of {DOCUMENTS} documents", taken)
    for case, samples in taken.items():
        assert DOCUMENTS / percentile(samples, 50) * 1000 >= LEAST_PER_S[case.partition(",")[0]], case


def _apply(file: Path, url: str) -> float:
    environment = os.environ | {"TORTIE_DATASTORE": url, "TORTIE_NODE": "node-1"}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "tortie", "apply", "-f", str(file)],
        env=environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return (time.perf_counter() - began) * 1000
