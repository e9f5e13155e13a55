"""get -w: the present state, each change, outages, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from tests.unit.cli.conftest import Said, Tortie
from tortie.cli import strict_yaml
from tortie.datastore import resources
from tortie.datastore.api import Event
from tortie.datastore.follow import Change, Changed, Disconnected, InSync
from tortie.errors import Unavailable
from tortie.model.keys import to_path
from tortie.model.resource import ResourceKey

pytestmark = pytest.mark.heavy  # a program for each, and it is waited for


def node(name: str, labels: dict[str, str] | None = None, address: int = 1) -> dict[str, Any]:
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"bgp": {"ipv4Address": f"10.0.0.{address}/24"}},
    }


class Watching:
    """A process of `tortie get -w`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        assert process.stderr is not None
        self._stdout, self._stderr = process.stdout, process.stderr

    def line(self) -> str:
        return self._stdout.readline()

    def error(self) -> str:
        return self._stderr.readline()

    def lines(self, count: int) -> str:
        return "".join(self.line() for _ in range(count))

    def end(self) -> Said:
        """What is still said after SIGINT."""
        self._process.send_signal(signal.SIGINT)
        stdout, stderr = self._process.communicate()
        return Said(self._process.returncode, stdout, stderr)

    def stop_reading(self) -> tuple[int, str]:
        self._stdout.close()
        return self._process.wait(), self._stderr.read()


@contextmanager
def watching(tortie: Tortie, *words: str) -> Iterator[Watching]:
    with subprocess.Popen(
        [sys.executable, "-m", "tortie", "get", *words, "-w"],
        env=tortie.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has SIGINT ignored, and Python would keep it so.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            yield Watching(process)
        finally:
            process.kill()


@pytest.fixture
def cluster(tortie: Tortie) -> Tortie:
    apply(tortie, node("a", {"on": "yes"}))
    return tortie


def apply(tortie: Tortie, *objects: dict[str, Any]) -> None:
    said = tortie("apply", "-f", "-", stdin=json.dumps(list(objects)))
    assert said.code == 0, said.stderr


def delete(tortie: Tortie, name: str) -> None:
    assert tortie("delete", "node", name).code == 0


def test_rows(cluster: Tortie) -> None:
    with watching(cluster, "nodes", "-o", "wide") as watch:
        assert watch.line() == "NAME   ASN       IPV4          IPV6   \n"
        assert watch.line() == "a      (64512)   10.0.0.1/24          \n"
        apply(cluster, node("a-longer-name"))
        assert watch.line() == "a-longer-name(64512)   10.0.0.1/24          \n"
        apply(cluster, node("a", address=7))
        assert watch.line() == "a      (64512)   10.0.0.7/24          \n"
        delete(cluster, "a")
        assert watch.line() == "a      (64512)   10.0.0.7/24          (deleted)\n"
        assert watch.end() == (130, "", "")


def test_documents(cluster: Tortie) -> None:
    with watching(cluster, "nodes", "-o", "yaml") as watch:
        first = watch.lines(14)
        delete(cluster, "a")
        second = watch.lines(15)
        assert watch.end() == (130, "", "")
    [before], [after] = strict_yaml.read(first), strict_yaml.read(second)
    assert before.value["metadata"]["name"] == "a"
    assert "deletionTimestamp" not in before.value["metadata"]
    moment = after.value["metadata"].pop("deletionTimestamp")
    assert moment >= after.value["metadata"]["creationTimestamp"]
    before.value["metadata"]["resourceVersion"] = after.value["metadata"]["resourceVersion"]
    assert before.value == after.value


@pytest.mark.parametrize(
    ("form", "seen"),
    [
        ("name", ["node/a", "node/b", "node/b (deleted)"]),
        ("jsonpath={range .items[*]}{.metadata.name} {end}", ["a ", "b ", "b "]),
        ("go-template={{range .}}{{range .Items}}{{.Name}}{{end}}{{end}}", ["a", "b", "b"]),
        ("custom-columns=NAME", ["NAME   ", "a      ", "b      ", "b      (deleted)"]),
    ],
)
def test_other_forms(cluster: Tortie, form: str, seen: list[str]) -> None:
    with watching(cluster, "nodes", "-o", form) as watch:
        begun = len(seen) - 2
        assert watch.lines(begun).splitlines() == seen[:begun]
        apply(cluster, node("b"))
        assert watch.line() == seen[-2] + "\n"
        delete(cluster, "b")
        assert watch.line() == seen[-1] + "\n"


def test_json_objects_follow_each_other(cluster: Tortie) -> None:
    with watching(cluster, "nodes", "-o", "json") as watch:
        text = ""
        apply(cluster, node("b"))
        names: list[str] = []
        while len(names) < 2:
            text += watch.line()
            if text.endswith("\n}\n"):
                names.append(json.loads(text)["metadata"]["name"])
                text = ""
    assert names == ["a", "b"]


def test_named_objects_alone_and_one_that_is_waited_for(cluster: Tortie) -> None:
    with watching(cluster, "node", "a", "c", "-o", "jsonpath={[*].metadata.name}") as watch:
        assert watch.error() == "resource does not exist: Node(c); waiting for it\n"
        assert watch.line() == "a\n"
        apply(cluster, node("b"), node("c"))
        assert watch.line() == "c\n"


def test_a_selector_shows_what_matches_and_what_ceases_to(cluster: Tortie) -> None:
    apply(cluster, node("b"))
    with watching(cluster, "nodes", "--selector", "on == 'yes'", "-o", "name") as watch:
        assert watch.line() == "node/a\n"
        apply(cluster, node("b", address=2), node("a"), node("a", address=3), node("c", {"on": "yes"}))
        assert watch.lines(2) == "node/a\nnode/c\n"


def test_namespaces(tortie: Tortie) -> None:
    sets = [
        {"apiVersion": "projectcalico.org/v3", "kind": "WorkloadEndpoint", "metadata": {"namespace": namespace}}
        | {"spec": {"node": "n", "orchestrator": "tortie", "workload": "w", "endpoint": "e", "interfaceName": "cali1"}}
        for namespace in ("blue", "red")
    ]
    apply(tortie, sets[0])
    with watching(tortie, "wep", "-A", "-o", "custom-columns=NAMESPACE") as watch:
        assert watch.lines(2) == "NAMESPACE   \nblue        \n"
        apply(tortie, sets[1])
        assert watch.line() == "red         \n"
    with watching(tortie, "wep", "-n", "red") as watch:
        assert watch.lines(2).splitlines()[1].startswith("red ")


def test_a_broken_object_is_an_error_and_hides_no_other(cluster: Tortie) -> None:
    with watching(cluster, "nodes", "-o", "name") as watch:
        assert watch.line() == "node/a\n"
        cluster.put(ResourceKey("Node", "", "bad"), {**node("bad"), "spec": {"bgp": {"ipv4Address": "x"}}})
        assert watch.error().startswith("Node(bad) in the datastore: error with field spec.bgp.ipv4Address = 'x'")
        apply(cluster, node("b"))
        assert watch.line() == "node/b\n"


def test_it_ends_when_nobody_reads_although_nothing_happens(cluster: Tortie) -> None:
    with watching(cluster, "nodes") as watch:
        assert watch.line() == "NAME   \n"
        assert watch.stop_reading() == (1, "")


def test_without_a_store_it_does_not_begin(tortie: Tortie) -> None:
    said = tortie("get", "nodes", "-w")
    assert (said.code, said.stdout) == (1, "")
    assert str(tortie.store) in said.stderr
    assert not tortie.store.exists()


def test_an_outage_is_one_line_and_no_end(cluster: Tortie, monkeypatch: pytest.MonkeyPatch) -> None:
    def put(name: str, revision: int) -> Changed:
        value = json.dumps(node(name)).encode()
        return Changed((Event(to_path(ResourceKey("Node", "", name)), value, revision),))

    script: list[Change] = [
        *(put("a", 5), InSync()),
        *(Disconnected(Unavailable("etcd is away")), Disconnected(Unavailable("etcd is still away"))),
        *(put("b", 6), InSync(), Disconnected(Unavailable("again"))),
    ]

    @asynccontextmanager
    async def scripted(*_: object) -> AsyncIterator[AsyncIterator[Change]]:
        async def changes() -> AsyncIterator[Change]:
            for change in script:
                yield change
            raise KeyboardInterrupt

        yield changes()

    monkeypatch.setattr(resources, "follow", scripted)
    assert cluster("get", "nodes", "-o", "name", "-w") == (
        130,
        "node/a\nnode/b\n",
        "Warning: etcd is away; trying again\nWarning: again; trying again\n",
    )
