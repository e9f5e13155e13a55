"""The archive for support: what is in it, what is not, and that nothing stops it."""

from __future__ import annotations

import asyncio
import json
import socketserver
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tortie.bootstrap import Bootstrap
from tortie.datastore import open_datastore
from tortie.datastore.api import Put
from tortie.host import diagnostics
from tortie.host.diagnostics import COMMANDS, Places, collect

SECRET = "tr0ub4dor-and-three"


class Host:
    """The files of a host, below a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = Bootstrap(
            node="n",
            datastore=f"sqlite://{directory}/store.db",
            run_dir=str(directory / "run"),
            state_dir=str(directory / "state"),
            bird_socket=str(directory / "bird.ctl"),
            bird_config=str(directory / "bird.conf"),
        )
        self.places = Places(
            configuration=directory / "tortie.toml",
            calicoctl=directory / "calicoctl.cfg",
            secrets=directory / "secrets",
            logs=directory / "logs",
        )

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def store(self, key: str, value: bytes) -> None:
        async def put() -> None:
            datastore = open_datastore(self.settings.datastore, create=True)
            await datastore.txn([], [Put(key, value)])
            await datastore.close()

        asyncio.run(put())

    def collected(self) -> dict[str, str]:
        with tarfile.open(collect(self.settings, self.places)) as archive:
            members = [(member.name.partition("/")[2], archive.extractfile(member)) for member in archive]
            return {name: file.read().decode() for name, file in members if file is not None}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(diagnostics, "COMMANDS", {"words": "echo some words", "absent": "/no/such/program"})
    return Host(tmp_path)


def test_no_byte_of_a_secret_is_in_the_archive(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.write("tortie.toml", f'node = "n"\npassword = "{SECRET}-toml"\n[nested]\npasword = "{SECRET}-misspelt"\n')
    host.write(
        "calicoctl.cfg",
        f"kind: CalicoAPIConfig\nspec:\n  etcdPassword: {SECRET}-cfg\n  etcdEndpoints: https://u:{SECRET}-url@h:2379\n"
        f"  etcdKeyFile: {host.directory}/key.pem\n  etcdKey: |\n    {SECRET}-inline\n    {SECRET}-second\n",
    )
    host.write("key.pem", f"{SECRET}-pem\n")
    host.write("bird.conf", f'protocol bgp a {{\n  password "{SECRET}-bird";\n  local as 64512;\n}}\n')
    host.write("secrets/bgp/tor", f"{SECRET}-file\n")
    every = ("toml", "misspelt", "cfg", "url", "inline", "second", "pem", "bird", "file", "environment")
    host.write("logs/a.log", "".join(f"said {SECRET}-{name} aloud\n" for name in every))
    monkeypatch.setenv("ETCD_PASSWORD", f"{SECRET}-environment")
    host.store(
        "/calico/resources/v3/projectcalico.org/bgppeers/p",
        json.dumps({"spec": {"password": f"{SECRET}-stored"}, "metadata": {"name": "p"}}).encode(),
    )
    found = host.collected()
    assert SECRET not in "".join(found.values())
    assert "local as 64512" in found["bird/configuration.txt"]
    assert json.loads(found["files/tortie.toml.txt"])["node"] == "n"
    assert "https://(removed)@h:2379" in found["files/calicoctl.cfg.txt"]
    assert found["logs.txt"].count("said (removed) aloud") == len(every)
    assert "/bgppeers/p @" in found["resources.txt"]
    assert "bgp/tor " in found["files/secrets.txt"]


def test_files_that_cannot_be_understood_show_nothing(host: Host) -> None:
    host.write("tortie.toml", f'password = "{SECRET}\n')
    host.write("calicoctl.cfg", f"a: [\netcdPassword: {SECRET}-2\n")
    host.write("logs/a.log", f"{SECRET} {SECRET}-2\n")
    found = host.collected()
    assert SECRET not in "".join(found.values())
    assert found["files/tortie.toml.txt"].startswith("not collected: ")
    assert found["files/calicoctl.cfg.txt"].startswith("not collected: ")


def test_what_is_missing_is_noted_and_stops_nothing(host: Host) -> None:
    found = host.collected()
    assert found["words.txt"] == "# echo some words\nsome words\n\n[exit status 0]\n"
    for name in ("absent", "resources", "snapshot", "bird/status", "agent/status", "files/tortie.toml"):
        assert found[f"{name}.txt"].startswith("not collected: "), name
    assert "tortie " in found["versions.txt"]


def test_a_collector_that_does_not_end(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "COMMANDS", {"slow": "sleep 60", "quick": "echo quick"})
    monkeypatch.setattr(diagnostics, "TIMEOUT_S", 0.3)
    found = host.collected()
    assert found["slow.txt"] == "not collected: no end after 0.3 s\n"
    assert "quick" in found["quick.txt"]


def test_a_collector_that_talks_too_much_is_cut_off(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "COMMANDS", {"endless": "yes"})
    monkeypatch.setattr(diagnostics, "MAX_BYTES", 1 << 17)
    found = host.collected()
    assert len(found["endless.txt"]) < 1 << 18
    assert found["endless.txt"].endswith("... cut off here\n")


def test_only_its_owner_reads_the_archive(host: Host) -> None:
    path = collect(host.settings, host.places)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.name.startswith("diags-")
    assert path.name.endswith(".tar.gz")


def test_the_snapshot_without_its_content(host: Host) -> None:
    host.write("state/snapshot.json", '{"format":1,"datastore":"sqlite:///x","revision":7,"items":{"/k":"c2VjcmV0"}}')
    text = host.collected()["snapshot.txt"]
    assert "format 1, 1 keys at revision 7 of sqlite:///x" in text
    assert "c2VjcmV0" not in text


class Answers(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        request = self.rfile.readline().decode().split()
        self.wfile.write(f"HTTP/1.0 200 OK\r\nX: y\r\n\r\nanswer to {request[1]}".encode())


@pytest.fixture
def agent(host: Host) -> Iterator[None]:
    path = host.settings.api_socket
    path.parent.mkdir()
    with socketserver.ThreadingUnixStreamServer(str(path), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("agent")
def test_what_the_agent_says(host: Host) -> None:
    found = host.collected()
    assert found["agent/status.txt"] == "answer to /v1/status"
    assert found["agent/metrics.txt"] == "answer to /metrics"


def test_every_command_is_one_of_reading() -> None:
    words = {word for line in COMMANDS.values() for word in line.split()}
    assert words & {"add", "del", "delete", "flush", "set", "replace", "-w", "restart", "stop", "start"} == set()
