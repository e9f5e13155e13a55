"""Whether a host meets the needs: on this one, and on trees of files that stand for others."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tortie.host import checksystem
from tortie.host.checksystem import FAILS, MEETS, Check, checks
from tortie.kernel.modules import USED, known


def test_lines_end_in_the_result() -> None:
    assert str(Check("veth", "OK")).split() == ["veth", "OK"]
    assert str(Check("veth", "SKIP", "no containers")).endswith(" SKIP")


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("sys/module/cls_bpf/version", ""),
        ("proc/modules", "cls_bpf 24576 0 - Live 0x0\n"),
        ("lib/modules/6.1/modules.dep", "kernel/net/sched/cls-bpf.ko.xz: kernel/x.ko\n"),
        ("lib/modules/6.1/modules.builtin", "kernel/net/sched/cls_bpf.ko\n"),
        ("boot/config-6.1", "# CONFIG_TUN is not set\nCONFIG_NET_CLS_BPF=m\n"),
    ],
)
def test_a_module_is_found_wherever_it_shows(tmp_path: Path, path: str, content: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert known(tmp_path, "6.1") & {module.name for module in USED} == {"cls_bpf"}


def test_the_packed_configuration_of_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/config.gz").write_bytes(gzip.compress(b"CONFIG_TUN=y\nCONFIG_VETH=n\n"))
    assert known(tmp_path, "6.1") == {"tun"}


def test_a_configuration_that_the_user_names_is_used_alone(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/config-6.1").write_text("CONFIG_TUN=y\n")
    (tmp_path / "mine").write_text("CONFIG_VETH=y\n")
    assert known(tmp_path, "6.1", tmp_path / "mine") == {"veth"}


def test_an_empty_host_fails_and_says_what_is_missing(tmp_path: Path) -> None:
    found = {check.what: check for _, group in checks(root=tmp_path) for check in group}
    assert found["network namespaces"].result == "FAIL"
    assert found["IPv4 forwarding"].result == "FAIL"
    assert found["IPv6"].result == "SKIP"
    assert found["veth"].result == "SKIP"
    assert "CONFIG_VETH" in found["veth"].remark
    assert found["bpf file system"].result == "SKIP"


def test_forwarding_that_is_off_is_no_fault(tmp_path: Path) -> None:
    for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        file = tmp_path / "proc/sys/net" / path
        file.parent.mkdir(parents=True)
        file.write_text("0\n")
    group = dict(checks(root=tmp_path))["forwarding"]
    assert [(check.result, check.remark) for check in group] == [("OK", "off until the agent runs")] * 2


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ("echo BIRD version 2.0.12 >&2", "OK"),
        ("echo BIRD version 3.1", "OK"),
        ("echo BIRD version 1.6.8", "FAIL"),
        ("exit 1", "FAIL"),
    ],
)
def test_bird(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, result: str) -> None:
    program = tmp_path / "bird"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert dict(checks())["programs"][1].result == result


def test_no_bird(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = dict(checks())["programs"]
    assert found[1].result == "FAIL"
    assert [check.result for check in found[2:]] == ["SKIP"] * 4


@pytest.mark.parametrize(("version", "result"), [("5.9.1", "FAIL"), ("5.10.0-28-amd64", "OK"), ("6.18-x", "OK")])
def test_kernel_version(monkeypatch: pytest.MonkeyPatch, version: str, result: str) -> None:
    monkeypatch.setattr("platform.release", lambda: version)
    assert next(iter(checks()))[1][0].result == result


def test_the_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for found, sentence, code in ((Check("a", "SKIP"), MEETS, 0), (Check("a", "FAIL"), FAILS, 1)):
        monkeypatch.setattr(checksystem, "checks", lambda _, found=found: iter([("things", [found])]))
        assert checksystem.main() == code
        lines = capsys.readouterr().out.splitlines()
        assert (lines[0], lines[-1]) == ("Checking things...", sentence)
