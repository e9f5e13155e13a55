"""A host prepared, in directories of its own: what is written where, what is left alone, and that it is done once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tortie.bootstrap import Bootstrap
from tortie.doctor import ini, networkd, networkmanager, udev
from tortie.doctor.host import Host
from tortie.host.preparation import own_file, whole
from tortie.host.preparation.own_file import State
from tortie.host.preparation.wanted import PATHS, wanted
from tortie.host.preparation.whole import Preparation
from tortie.kernel import sysctl
from tortie.kernel.run import CommandFailed

SYSCTLS = {"ipv6/conf/eth0.10/accept_ra": "2", "ipv4/ip_forward": "1"}
EVERYTHING = ("usr/lib/systemd/systemd-networkd", "usr/lib/systemd/systemd-udevd", "usr/sbin/NetworkManager")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with all the services installed, none of them running, whose sysctls are as the agent wants them."""
    for program in EVERYTHING:
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / program).touch()
    monkeypatch.setattr(whole, "_sysctls", lambda _: SYSCTLS)
    monkeypatch.setattr(sysctl, "read", SYSCTLS.__getitem__)
    monkeypatch.setattr(Host, "named", lambda *_: iter(()))
    return tmp_path


@pytest.fixture
def prepare(root: Path) -> Callable[[], Preparation]:
    return lambda: Preparation(Bootstrap(state_dir=str(root / "state")), root)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in (root / "etc").rglob("*") if path.is_file()}


def test_it_is_told_then_done_and_then_there_is_nothing_to_do(root: Path, prepare: Callable[[], Preparation]) -> None:
    steps = list(prepare().steps())
    assert not (root / "etc").exists()
    assert [step.partition("\n")[0].partition(":")[0] for step in steps] == [
        "write /etc/systemd/networkd.conf.d/tortie.conf",
        "write /etc/systemd/network/00-tortie.network",
        "write /etc/NetworkManager/conf.d/tortie.conf",
        "write /etc/systemd/network/00-tortie.link",
        "write /etc/sysctl.d/99-tortie.conf",
    ]
    assert "    +ManageForeignRoutingPolicyRules=no" in steps[0].splitlines()
    assert "    +net/ipv6/conf/eth0.10/accept_ra = 2" in steps[4].splitlines()
    assert list(prepare().do()) == []
    assert files(root) == {str(path.relative_to("/")) for path in PATHS}
    assert list(prepare().steps()) == list(prepare().left_alone()) == []


def test_the_doctor_has_nothing_more_to_say(root: Path, prepare: Callable[[], Preparation]) -> None:
    (root / "usr/lib/systemd/network").mkdir()
    (root / "usr/lib/systemd/network/99-default.link").write_text(
        "[Match]\nOriginalName=*\n[Link]\nMACAddressPolicy=persistent\n"
    )
    (root / "usr/lib/systemd/network/80-all.network").write_text("[Match]\nName=*\n[Network]\nDHCP=yes\n")
    directories = [root / place / "network" for place in networkd.PLACES]

    def findings() -> int:
        main, drop_ins = [root / "etc/systemd/networkd.conf"], [root / "etc/systemd/networkd.conf.d"]
        return sum(
            1
            for found in (
                networkd.foreign(ini.settings(main, drop_ins, ".conf")),
                networkd.matched(map(ini.parse, ini.drop_ins(directories, ".network")), ["cali0", "tap0"]),
                networkmanager.managed(networkmanager._settings(root), ["cali0", "tap0"]),
                udev.persistent(map(ini.parse, ini.drop_ins(directories, ".link"))),
            )
            for _ in found
        )

    assert findings() == 4
    assert list(prepare().do()) == []
    assert findings() == 0


def test_only_what_is_installed_is_told(root: Path, prepare: Callable[[], Preparation]) -> None:
    for program in EVERYTHING:
        (root / program).unlink()
    assert [step.split(":")[0] for step in prepare().steps()] == ["write /etc/sysctl.d/99-tortie.conf"]


def test_what_others_wrote_or_edited_is_left_alone(root: Path, prepare: Callable[[], Preparation]) -> None:
    list(prepare().do())
    edited, foreign, masked = (root / path.relative_to("/") for path in PATHS[:3])
    edited.write_text(f"{edited.read_text()}SpeedMeter=yes\n")
    foreign.write_text("[Match]\nName=cali*\n")
    masked.unlink()
    masked.symlink_to("/dev/null")
    before = [edited.read_text(), foreign.read_text()]
    said = "\n".join(prepare().left_alone())
    assert "/etc/systemd/networkd.conf.d/tortie.conf was edited since tortie node init wrote it" in said
    assert "/etc/systemd/network/00-tortie.network was written by somebody else" in said
    assert "/etc/systemd/network/00-tortie.link was written by somebody else" in said
    assert list(prepare().do()) == []
    assert ([edited.read_text(), foreign.read_text()], masked.is_symlink()) == (before, True)

    whole.remove(root)
    assert files(root) == {"etc/systemd/networkd.conf.d/tortie.conf.edited", "etc/systemd/network/00-tortie.network"}
    assert masked.is_symlink()
    assert whole.find(root) == []


def test_one_of_ours_that_says_something_else_is_changed_and_only_the_change_told(
    root: Path, prepare: Callable[[], Preparation], monkeypatch: pytest.MonkeyPatch
) -> None:
    list(prepare().do())
    fewer = {"ipv4/ip_forward": "1"}
    monkeypatch.setattr(whole, "_sysctls", lambda _: fewer)
    (step,) = prepare().steps()
    assert "    -net/ipv6/conf/eth0.10/accept_ra = 2" in step.splitlines()
    assert "ip_forward" not in step
    list(prepare().do())
    assert list(prepare().steps()) == []


def test_who_runs_is_told_and_a_failure_stops_nothing(
    root: Path, prepare: Callable[[], Preparation], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def run(command: tuple[str, ...], timeout_s: float) -> str:
        ran.append(" ".join(command))
        if "networkd" in command[-1]:
            raise CommandFailed(command, "exit status 1", 1)
        return ""

    monkeypatch.setattr(Host, "named", lambda _, *names: iter(names if names[0] != "NetworkManager" else ()))
    monkeypatch.setattr(whole, "run_blocking", run)
    commands = ["systemctl restart systemd-networkd", "udevadm control --reload"]
    assert [step for step in prepare().steps() if step.startswith("run")] == [f"run {each}" for each in commands]
    (root / "etc").mkdir()
    (root / "etc/sysctl.d").touch()
    failures = list(prepare().do())
    assert ran == commands
    assert [failure.partition(":")[0] for failure in failures] == [
        "/etc/sysctl.d/99-tortie.conf cannot be written",
        "systemctl restart systemd-networkd",
    ]


def test_sysctls_are_recorded_before_a_boot_hides_what_they_were(
    root: Path, prepare: Callable[[], Preparation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, "_sysctls", lambda _: {"ipv4/ip_forward": "1"})
    monkeypatch.setattr(sysctl, "read", lambda _: "0")
    list(prepare().do())
    assert "ipv4/ip_forward\t0" in (root / "state/original-sysctls").read_text().splitlines()


def test_packages_by_the_distribution(
    root: Path, prepare: Callable[[], Preparation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None if program == "bird" else f"/{program}")
    assert "packages: BIRD 2" in list(prepare().missing())
    (root / "etc").mkdir()
    for text, said in (
        ('ID=ubuntu\nID_LIKE=debian\nNAME="ID"\n', "packages: bird2: apt install bird2"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "packages: bird: dnf install bird"),
    ):
        (root / "etc/os-release").write_text(text)
        assert said in list(prepare().missing())


def test_systemd_s_own_checker_takes_the_sysctls(root: Path) -> None:
    (file,) = (each for each in wanted(frozenset(), SYSCTLS) if each.service is None)
    assert file.body == "net/ipv6/conf/eth0.10/accept_ra = 2\nnet/ipv4/ip_forward = 1\n"


def test_a_file_of_ours_is_known_by_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.conf"
    assert own_file.state_of(path) is State.MISSING
    own_file.write(path, "x\n")
    assert own_file.state_of(path) is State.OURS
    path.write_text(path.read_text().replace("x", "y"))
    assert own_file.state_of(path) is State.EDITED
    path.write_text("y\n")
    assert own_file.state_of(path) is State.FOREIGN
    own_file.remove(path)
    assert path.read_text() == "y\n"
    assert [each.name for each in path.parent.iterdir()] == ["b.conf"]
