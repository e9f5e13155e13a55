"""The unit files: accepted by systemd's own checker, hardened, and such that BIRD outlives the agent."""

from __future__ import annotations

import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from tortie.bootstrap import Bootstrap

UNITS = Path(__file__).parents[3] / "systemd"
AGENT = UNITS / "tortie-agent.service"
BIRD = UNITS / "tortie-bird.service"
CLOSED = UNITS / "tortie-closed.service"
WITHDRAW = UNITS / "tortie-withdraw.service"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (Debian package systemd)"
)


class UnitFile(RawConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr  # systemd's names have capitals


def parsed(unit: Path) -> UnitFile:
    parser = UnitFile()
    parser.read(unit)
    return parser


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def installed(unit: Path, directory: Path) -> Path:
    """A copy whose commands exist: the checker looks for them, and tortie is not installed system-wide here."""
    text = unit.read_text()
    for command in ("tortie", "birdc", "bird"):
        text = text.replace(f"={command} ", f"={shutil.which('true')} ")
    copy = directory / unit.name
    copy.write_text(text)
    return copy


@needs_systemd
@pytest.mark.parametrize("unit", [AGENT, BIRD, CLOSED, WITHDRAW], ids=lambda unit: unit.stem)
def test_systemd_accepts_the_unit_without_a_word(unit: Path, tmp_path: Path) -> None:
    result = analyze("verify", "--man=no", installed(unit, tmp_path))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@needs_systemd
@pytest.mark.parametrize(
    "planted", ["ProtectSistem=strict", "SystemCallFilter=@no-such-group", "ExecStop=/no/such/file"]
)
def test_systemd_s_checker_notices_a_mistake(planted: str, tmp_path: Path) -> None:
    unit = installed(AGENT, tmp_path)
    unit.write_text(unit.read_text().replace("[Service]", f"[Service]\n{planted}"))
    result = analyze("verify", "--man=no", unit)
    assert result.stderr != ""


# Exposure in tenths, as systemd 252 counts it; what is left is what the job needs: networks, namespaces, eBPF.
@needs_systemd
@pytest.mark.parametrize(
    ("unit", "threshold"), [(AGENT, 37), (BIRD, 23), (WITHDRAW, 22)], ids=["agent", "bird", "withdraw"]
)
def test_the_unit_is_hardened(unit: Path, threshold: int) -> None:
    result = analyze("security", "--offline=true", f"--threshold={threshold}", unit)
    assert result.returncode == 0, result.stdout


def test_bird_uses_the_files_that_the_agent_defaults_to() -> None:
    defaults = Bootstrap()
    service = parsed(BIRD)["Service"]
    assert service["ExecStartPre"].count(defaults.bird_config) == 2
    assert service["ExecStart"] == f"bird -f -R -c {defaults.bird_config} -s {defaults.bird_socket}"
    assert service["ExecStop"] == f"birdc -s {defaults.bird_socket} graceful restart"


@pytest.mark.parametrize("unit", [AGENT, BIRD], ids=lambda unit: unit.stem)
def test_neither_unit_stops_with_the_other(unit: Path) -> None:
    relations = {"Requires", "Requisite", "BindsTo", "PartOf", "Conflicts", "PropagatesStopTo"}
    assert relations & parsed(unit)["Unit"].keys() == set()
    # The directory holds both sockets: removed with one, it would cut off the other.
    assert parsed(unit)["Service"]["RuntimeDirectory"] == Path(Bootstrap().run_dir).name
    assert parsed(unit)["Service"]["RuntimeDirectoryPreserve"] == "yes"


def test_no_signal_makes_bird_withdraw_its_routes() -> None:
    service = parsed(BIRD)["Service"]
    assert service["KillSignal"] == "SIGCONT"
    assert service.get("SendSIGHUP", "no") == "no"


def test_a_shutdown_withdraws_after_the_agent_s_end_and_before_bird_s_and_nothing_else_does() -> None:
    unit = parsed(WITHDRAW)["Unit"]
    # systemd stops in the reverse of the order in which it starts.
    assert AGENT.name in unit["Before"].split()
    assert {BIRD.name, "network.target"} <= set(unit["After"].split())
    relations = {"Requires", "Requisite", "BindsTo", "PartOf", "Wants", "Upholds", "StopPropagatedFrom"}
    assert relations & unit.keys() == set()
    service = parsed(WITHDRAW)["Service"]
    assert (service["Type"], service["RemainAfterExit"]) == ("oneshot", "yes")
    assert service["ExecStop"] == "tortie node drain --until-start"
