"""A host's settings, what its BIRD says, and who listens on its sockets."""

from __future__ import annotations

import os
import socket
import tomllib
from pathlib import Path

import pytest

from tortie.bootstrap import Bootstrap, load
from tortie.lab import host
from tortie.lab.layout import Layout
from tortie.lab.topology import Topology, parse

# As BIRD 2.0.12 prints it with tortie's time format.
PROTOCOLS = """\
BIRD 2.0.12 ready.
Name       Proto      Table      State  Since         Info
device1    Device     ---        up     2024-11-24 04:45:13.113
Mesh_192_0_2_12 BGP        ---        up     2024-11-24 04:45:14.685  Established
  BGP state:          Established
    Neighbor address: 192.0.2.12
  Channel ipv4
    State:          UP
Mesh_192_0_2_13 BGP        ---        start  2024-11-24 04:45:14.685  Active        Socket: No route to host
  BGP state:          Active
    Last error:       Socket: No route to host
"""


def topology(extra: str = "") -> Topology:
    text = "name: x\nsubnets: [{name: rack, prefixes: [192.0.2.0/24]}]\nhosts: [{name: a, addresses: [192.0.2.10]}]\n"
    return parse(text + extra, "test")


def test_sessions_are_read_whatever_the_format_of_time() -> None:
    assert host._parse_sessions(PROTOCOLS) == {"Mesh_192_0_2_12": "Established", "Mesh_192_0_2_13": "Active"}


@pytest.mark.parametrize(("extra", "metric"), [("", 32), ("bird_kernel_metric: 0", 0)])
def test_file_and_environment_give_the_agent_the_same_settings(
    extra: str, metric: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, wanted = Layout("x"), topology(extra)
    from_file = tomllib.loads(host.render_settings(host.settings(layout, wanted, "a")))
    for key, value in host.environment(layout, wanted, "a").items():
        monkeypatch.setenv(key, value)
    loaded = load()
    assert loaded.warnings == ()
    assert Bootstrap(**from_file, datastore_named_by="TORTIE_DATASTORE", node_named=True) == loaded.settings
    assert loaded.settings.bird_kernel_metric == metric
    assert loaded.settings.node == "a"
    assert loaded.settings.run_dir == "/run/tortie-lab/x/a/run"


def test_who_listens_is_told_from_one_that_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    assert not host.answers(path, os.getpid()), "nobody is there"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert not host.answers(path, os.getpid()), "it does not listen yet"
        listener.listen()
        assert host.answers(path, os.getpid())
        assert not host.answers(path, os.getppid())
    assert not host.answers(path, os.getpid()), "it is gone, and left its file"
