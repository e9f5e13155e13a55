"""The release before this one and this one as hosts of one cluster, on one store: each works, each reads the other."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hatch_build import compile_bpf
from tests.netns.scenes.daemons import Pings, end, in_sync, status
from tests.netns.scenes.test_restarts import classic
from tests.netns.scenes.test_scenes import settled, unreached
from tortie.lab import host
from tortie.lab.enter import Member
from tortie.lab.layout import Layout
from tortie.lab.topology import Topology

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed"),
    pytest.mark.timeout(180),
]

ROOT = Path(__file__).parents[3]
OLD, NEW = "node129", "node126"  # web22 is on the first, web21 on the second
ALLOWED_TO = "10.65.0.22"
DENIED = ("web21", "10.65.0.23")  # vm23 is on the host that changes, too
POLICY = """
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: previous}
spec:
  selector: all()
  types: [Ingress]
  ingress:
  - {action: Deny, protocol: ICMP, source: {nets: [10.65.0.21/32]}, destination: {nets: [10.65.0.23/32]}}
  - {action: Allow}
"""
POOL = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: {}}}\nspec: {{cidr: {}}}\n"


def git(*words: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules of the release below the topmost heading of the changelog, from the commit that released it."""
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    release = headings[1]
    try:
        commit = git("log", "--format=%H", f"-S## [{release}]", "--", "CHANGELOG.md").decode().split()[-1]
        git("rev-parse", "--verify", f"{commit}^")  # in a shallow clone the oldest commit seems to bring everything
    except (subprocess.CalledProcessError, IndexError):
        pytest.skip(f"the commit of release {release} is not in this clone's history")
    directory = tmp_path_factory.mktemp("previous")
    subprocess.run(["tar", "-x", "-C", str(directory)], input=git("archive", commit, "src"), check=True)
    for source in directory.rglob("*.bpf.c"):
        compile_bpf(source)
    return directory / "src"


async def tortie(scene: Topology, member: str, *words: str, source: Path | None = None) -> str:
    """What the command says on a member; of the release in `source`, or of this one."""
    path = [f"PYTHONPATH={source}"] if source else []
    code, output = await Member(scene, member).run(["env", *path, sys.executable, "-m", "tortie", *words])
    assert code == 0, output
    return output


async def specs(scene: Topology, member: str, kind: str, source: Path | None = None) -> dict[str, Any]:
    """The specs of a kind's objects by name."""
    output = await tortie(scene, member, "get", kind, "-o", "json", source=source)
    return {item["metadata"]["name"]: item["spec"] for item in json.loads(output)["items"]}


async def apply(scene: Topology, member: str, name: str, cidr: str, source: Path | None = None) -> None:
    await apply_text(scene, member, name, POOL.format(name, cidr), source)


async def apply_text(scene: Topology, member: str, name: str, text: str, source: Path | None = None) -> None:
    file = Layout(scene.name).member(member).directory / f"{name}.yaml"
    file.write_text(text)
    await tortie(scene, member, "apply", "-f", str(file), source=source)


async def pings(scene: Topology, way: tuple[str, str], passes: bool) -> bool:
    """Whether soon a ping of this way passes, or does not."""
    for _ in range(50):
        code, _ = await Member(scene, way[0]).run(["ping", "-c1", "-W1", way[1]])
        if (code == 0) == passes:
            return True
    return False


@pytest.mark.parametrize("scene", [classic], indirect=True)
async def test_both_on_one_store(scene: Topology, previous: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(scene.name)
    await apply_text(scene, NEW, "policy", POLICY)
    assert await pings(scene, DENIED, False)

    # Back to the release before, with policy in force, under traffic. It knows no policy, and would open nothing that
    # stays closed: for a workload that comes later that would be its end.
    async with Pings(scene, "web21", ALLOWED_TO) as traffic:
        end(scene, OLD, "agent", signal.SIGTERM)
        said = await tortie(scene, OLD, "node", "reset", "--policy-only", "--yes")
        assert "table inet tortie, with" in said
        with monkeypatch.context() as environment:
            environment.setenv("PYTHONPATH", str(previous))
            _, where = await Member(scene, OLD).run([sys.executable, "-c", "import tortie; print(tortie.__file__)"])
            assert where.strip() == str(previous / "tortie" / "__init__.py")
            await host.start_agent(layout, OLD)
        await in_sync(scene, OLD)
    assert traffic.lost == 0
    assert await pings(scene, DENIED, True)
    for member in (OLD, NEW):
        board = await in_sync(scene, member)
        assert {endpoint["state"] for endpoint in board["endpoints"].values()} == {"up"}
    assert await settled(scene) == []
    assert await unreached(scene) == []

    # Each tool writes, and each reads both.
    await apply(scene, OLD, "by-old", "10.80.0.0/16", previous)
    await apply(scene, NEW, "by-new", "10.81.0.0/16")
    for kind in ("node", "ippool", "workloadendpoint"):
        assert await specs(scene, OLD, kind, previous) == await specs(scene, NEW, kind)
    assert {"by-old", "by-new"} <= (await specs(scene, OLD, "ippool", previous)).keys()

    # A workload that the old agent attaches is reached, and one that the new one attaches.
    for name, member, source in (("web22", OLD, previous), ("web21", NEW, None)):
        workload = next(each for each in scene.workloads if each.name == name)
        assert workload.host == member
        await tortie(scene, member, "detach", name, source=source)
        words = ["attach", name, "--netns", str(layout.namespace_path(name)), "--address", ",".join(workload.addresses)]
        await tortie(scene, member, *words, source=source)
    assert await settled(scene) == []
    assert await unreached(scene) == []

    # The host with the old one is upgraded under traffic: no route is written, and policy is in force again.
    async with Pings(scene, "web21", ALLOWED_TO) as traffic:
        end(scene, OLD, "agent", signal.SIGTERM)
        await host.start_agent(layout, OLD)
        board = await in_sync(scene, OLD)
        assert await pings(scene, DENIED, False)
    assert traffic.lost == 0
    # Of each workload's interface the release before wants forwarding in IPv6, which this one does not.
    assert board["writes"] == len([each for each in scene.workloads if each.host == OLD])
    assert {endpoint["state"] for endpoint in (await status(scene, NEW))["endpoints"].values()} == {"up"}
    await tortie(scene, NEW, "delete", "globalnetworkpolicy", "previous")
    assert await pings(scene, DENIED, True)
    assert await unreached(scene) == []
