"""Keeps BIRD's configuration at what the intent says, and tells what BIRD does.

`render` is the text, of which `routes` and `filters` say what passes; `table` the file and the running daemon,
`including` what a daemon of the host's must have, `control` and `replies` its control socket, `secrets` the passwords
of sessions. BIRD is a service of its own that outlives the agent.
"""

from __future__ import annotations

from pathlib import Path

from tortie.bgp.control import Control, Unreachable
from tortie.bgp.replies import Protocol, Status
from tortie.bgp.routes import Host
from tortie.bgp.table import Applied, Bgp, BirdState, is_initial, write_initial

__all__ = [
    "Applied",
    "Bgp",
    "BirdState",
    "Control",
    "Host",
    "Protocol",
    "Status",
    "Unreachable",
    "is_initial",
    "make",
    "write_initial",
]

SECRETS = Path("/etc/tortie/secrets")


def make(config: Path, control_socket: Path, host: Host, secrets: Path = SECRETS, bird: str = "bird") -> Bgp:
    """The sink for the BIRD that was started with this configuration file, or includes it, and this control socket."""
    return Bgp(config, Control(control_socket), host, secrets, bird)
