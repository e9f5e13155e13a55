"""Keeps BIRD's configuration at what the intent says, and tells what BIRD does.

`render` is the text, `table` the file and the running daemon, `control` and `replies` its control socket,
`secrets` the passwords of sessions. BIRD is a service of its own that outlives the agent.
"""

from __future__ import annotations

from pathlib import Path

from tortie.bgp.control import Control, Unreachable
from tortie.bgp.replies import Protocol, Status
from tortie.bgp.table import Applied, Bgp, BirdState, write_initial

__all__ = ["Applied", "Bgp", "BirdState", "Control", "Protocol", "Status", "Unreachable", "make", "write_initial"]

SECRETS = Path("/etc/tortie/secrets")


def make(config: Path, control_socket: Path, kernel_metric: int, secrets: Path = SECRETS, bird: str = "bird") -> Bgp:
    """The sink for the BIRD that was started with this configuration file and control socket."""
    return Bgp(config, Control(control_socket), kernel_metric, secrets, bird)
