"""What benchmarks stand on: the harnesses of the tests, and a line that says which machine this is."""

from __future__ import annotations

import os
import platform
import subprocess

from tests.netns.agent.conftest import AgentFactory, agents
from tests.netns.conftest import NetnsFactory, netns
from tests.netns.l3.conftest import HostFactory, bpffs, l3_host
from tests.netns.lab.conftest import lab_name

__all__ = ["AgentFactory", "HostFactory", "NetnsFactory", "agents", "bpffs", "l3_host", "lab_name", "netns"]


def pytest_report_header() -> str:
    bird = subprocess.run(["bird", "--version"], capture_output=True, text=True, check=False)
    return (
        f"machine: {os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {(bird.stdout + bird.stderr).strip() or 'no BIRD'}, "
        f"load {os.getloadavg()[0]:.1f}"
    )
