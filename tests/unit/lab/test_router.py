"""The router's BIRD configuration."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tortie.lab.router import render
from tortie.lab.topology import parse

TOPOLOGY = """
name: x
subnets:
  - {name: rack, prefixes: [192.0.2.0/24, "2001:db8::/64"]}
router: {name: gateway, addresses: [192.0.2.1, "2001:db8::1"], bgp: {as: 65000, peers: [node-a, b]}}
hosts:
  - {name: node-a, addresses: [192.0.2.10, "2001:db8::10"], as: 65001}
  - {name: b, addresses: [192.0.2.11]}
  - {name: c, addresses: [192.0.2.12]}
"""


def rendered(text: str = TOPOLOGY) -> str:
    topology = parse(text, "test")
    assert topology.router is not None
    return render(topology, topology.router)


def test_there_is_a_session_per_peer_and_family() -> None:
    lines = [line.strip() for line in rendered().splitlines()]
    assert [line for line in lines if line.startswith("protocol bgp")] == [
        "protocol bgp node_a_v4 {",
        "protocol bgp node_a_v6 {",
        "protocol bgp b_v4 {",
    ]
    assert [line for line in lines if line.startswith(("local", "neighbor"))] == [
        *("local 192.0.2.1 as 65000;", "neighbor 192.0.2.10 as 65001;"),
        *("local 2001:db8::1 as 65000;", "neighbor 2001:db8::10 as 65001;"),
        *("local 192.0.2.1 as 65000;", "neighbor 192.0.2.11 as 64512;"),
    ]


@pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed")
@pytest.mark.parametrize("addresses", ['[192.0.2.1, "2001:db8::1"]', '["2001:db8::1"]'])
def test_bird_takes_it(tmp_path: Path, addresses: str) -> None:
    text = TOPOLOGY.replace('[192.0.2.1, "2001:db8::1"]', addresses).replace(", b]", "]")
    (tmp_path / "bird.conf").write_text(rendered(text))
    check = subprocess.run(
        ["bird", "-p", "-c", str(tmp_path / "bird.conf")], capture_output=True, text=True, check=False
    )
    assert (check.returncode, check.stderr) == (0, "")
