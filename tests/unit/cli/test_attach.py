"""attach and detach: what the agent is asked, and what is said of its answer."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.cli.conftest import FakeAgent, Tortie
from tortie.attach.request import AttachRequest, AttachResult, DetachRequest
from tortie.cli import attach
from tortie.errors import UsageError


def result(**changes: Any) -> AttachResult:
    return msgspec.structs.replace(
        AttachResult(
            endpoint="node--1-tortie-web-eth0",
            interface="cali1234abcd567",
            mac="02:00:00:00:00:01",
            addresses=("10.65.0.24",),
        ),
        **changes,
    )


@pytest.fixture
def namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "netns"
    directory.mkdir()
    monkeypatch.setattr(attach, "NAMED_NAMESPACES", directory)
    (directory / "web").touch()
    return directory


def test_attach_by_namespace(tortie: Tortie, agent: FakeAgent, namespaces: Path) -> None:
    agent.answer("/v1/attach", result())
    said = tortie("attach", "web", "--netns", "web", "--address", "10.65.0.24")
    assert (said.code, said.stderr) == (0, "")
    assert re.fullmatch(r"default/web attached: cali1234abcd567 10\.65\.0\.24 \(\d+\.\d ms\)\n", said.stdout)
    [(_, asked)] = agent.asked
    request = msgspec.convert(asked, AttachRequest)
    assert request == AttachRequest(name="web", netns=f"{namespaces}/web", addresses=("10.65.0.24",), node="node-1")
    request.check()


def test_attach_with_everything(tortie: Tortie, agent: FakeAgent) -> None:
    waiting = "interface tap1 is waiting for carrier: its guest is not running"
    answer = result(
        interface="tap1", addresses=("10.65.0.24", "fd00::1"), waiting=waiting, warnings=("outside of pools",)
    )
    agent.answer("/v1/attach", answer)
    words = "vm --tap tap1 --mac FA:16:3E:5C:1B:02 --address 10.65.0.24,fd00::1 --address 10.65.0.25 -n blue"
    words += " --label role=db --label a=b=c --profile p,q --profile r --mtu 1400 --wait --timeout 2.5"
    said = tortie("attach", *words.split())
    assert (said.code, said.stderr) == (0, "Warning: outside of pools\n")
    assert re.fullmatch(
        rf"blue/vm accepted: tap1 10\.65\.0\.24 fd00::1 \(\d+\.\d ms\)\n{re.escape(waiting)}\n", said.stdout
    )
    [(_, asked)] = agent.asked
    request = msgspec.convert(asked, AttachRequest)
    assert request == AttachRequest(
        name="vm",
        node="node-1",
        namespace="blue",
        tap="tap1",
        mac="FA:16:3E:5C:1B:02",
        addresses=("10.65.0.24", "fd00::1", "10.65.0.25"),
        labels={"role": "db", "a": "b=c"},
        profiles=("p", "q", "r"),
        mtu=1400,
        wait=True,
        timeout_s=2.5,
    )
    request.check()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("web --address 1.2.3.4", "give either a network namespace (--netns) or a TAP device (--tap), and not both"),
        (
            "web --netns web --tap tap1 --address 1.2.3.4",
            "give either a network namespace (--netns) or a TAP device (--tap), and not both",
        ),
        ("web --netns web --address 1.2.3.4 --label role", "label 'role' is not KEY=VALUE"),
    ],
)
def test_bad_usage_ends_with_2_and_asks_nobody(
    tortie: Tortie, agent: FakeAgent, namespaces: Path, words: str, sentence: str
) -> None:
    assert tortie("attach", *words.split()) == (2, "", f"Error: {sentence}\n")
    assert agent.asked == []


def test_an_address_is_needed(tortie: Tortie, namespaces: Path) -> None:
    said = tortie("attach", "web", "--netns", "web")
    assert said.code == 2
    assert "Missing option '--address'" in said.stderr


@pytest.mark.parametrize(("status", "code"), [(400, 2), (409, 1), (500, 1)])
def test_a_refusal(tortie: Tortie, agent: FakeAgent, namespaces: Path, status: int, code: int) -> None:
    agent.answer("/v1/attach", {"error": "address 10.65.0.24 belongs to WorkloadEndpoint(default/db)"}, status)
    said = tortie("attach", "web", "--netns", "web", "--address", "10.65.0.24")
    assert said == (code, "", "Error: address 10.65.0.24 belongs to WorkloadEndpoint(default/db)\n")


def test_without_an_agent(tortie: Tortie, namespaces: Path) -> None:
    said = tortie("attach", "web", "--netns", "web", "--address", "10.65.0.24")
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr.startswith("Error: no agent answers on ")


def test_detach(tortie: Tortie, agent: FakeAgent) -> None:
    agent.answer("/v1/detach", {"detached": ["node1-tortie-web-eth0"]})
    assert tortie("detach", "web", "-n", "blue") == (0, "blue/web detached\n", "")
    [(_, asked)] = agent.asked
    assert msgspec.convert(asked, DetachRequest) == DetachRequest(name="web", namespace="blue", node="node-1")


def test_detach_of_what_is_not_attached(tortie: Tortie, agent: FakeAgent) -> None:
    agent.answer("/v1/detach", {"detached": []})
    assert tortie("detach", "web") == (0, "default/web is not attached here\n", "")


class TestNamespaceOfAWorkload:
    def test_by_name(self, namespaces: Path) -> None:
        assert attach.netns_path("web") == f"{namespaces}/web"

    def test_by_pid(self, namespaces: Path) -> None:
        assert attach.netns_path(str(os.getpid())) == f"/proc/{os.getpid()}/ns/net"

    def test_a_name_of_digits_is_a_name(self, namespaces: Path) -> None:
        (namespaces / "1").touch()
        assert attach.netns_path("1") == f"{namespaces}/1"

    def test_by_path(self, namespaces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert attach.netns_path("netns/web") == f"{namespaces}/web"

    def test_of_this_process(self) -> None:
        assert attach.netns_path("/proc/self/ns/net") == f"/proc/{os.getpid()}/ns/net"

    @pytest.mark.parametrize("text", ["missing", "./missing", "/proc/self/ns/missing", "4194305"])
    def test_that_is_not_there(self, namespaces: Path, text: str) -> None:
        with pytest.raises(UsageError, match=f"^there is no network namespace {re.escape(text)}: .* does not exist$"):
            attach.netns_path(text)
