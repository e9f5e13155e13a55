"""What a program must know before it can reach the datastore; all else lives in the datastore's resources.

Order: a flag, then `TORTIE_*` in the environment, then the configuration file, then the default. An unknown key
is a warning, since a misspelt key must never stop an agent; a value that cannot be used is an error that names
the place it came from.
"""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tortie.errors import UsageError

DEFAULT_FILE = Path("/etc/tortie/tortie.toml")


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one host. Every path may be moved, so that many hosts fit on one machine."""

    node: str = ""  # name of the Node resource; default: the host's name in lower case
    datastore: str = "sqlite:///var/lib/tortie/tortie.db"
    run_dir: str = "/run/tortie"  # agent.sock; gone with a reboot
    state_dir: str = "/var/lib/tortie"  # the local snapshot, original sysctls; survives a reboot
    bpffs: str = "/sys/fs/bpf/tortie"  # pins of the ARP/NDP responder
    bird_socket: str = "/run/tortie/bird.ctl"
    bird_config: str = "/var/lib/tortie/bird.conf"
    bird_kernel_metric: int = 32  # metric of the routes that BIRD installs, both families

    @property
    def api_socket(self) -> Path:
        return Path(self.run_dir, "agent.sock")


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, and what was odd about their sources."""

    settings: Bootstrap
    warnings: tuple[str, ...]


def load(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Loaded:
    """Reads all sources; raises UsageError for a named file that is missing and for values of the wrong type."""
    warnings: list[str] = []
    values = _from_file(file, warnings)
    values |= _from_environment(warnings)
    values |= {key: value for key, value in (flags or {}).items() if value is not None}
    values.setdefault("node", socket.gethostname().lower())
    try:
        settings = msgspec.convert(values, Bootstrap, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"configuration: {error}") from error
    return Loaded(settings=settings, warnings=tuple(warnings))


def _from_file(file: Path | None, warnings: list[str]) -> dict[str, Any]:
    path = file or DEFAULT_FILE
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        if file is None:
            return {}
        raise UsageError(f"configuration file {path} does not exist") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"configuration file {path} cannot be read: {error}") from error
    return _known(values, f"{path}: ", warnings)


def _from_environment(warnings: list[str]) -> dict[str, Any]:
    prefix = "TORTIE_"
    values = {key[len(prefix) :].lower(): value for key, value in os.environ.items() if key.startswith(prefix)}
    return _known(values, "environment: TORTIE_", warnings)


def _known(values: Mapping[str, Any], origin: str, warnings: list[str]) -> dict[str, Any]:
    known = {field.name for field in msgspec.structs.fields(Bootstrap)}
    warnings.extend(f"{origin}{key} is not a setting of tortie: ignored" for key in sorted(values.keys() - known))
    return {key: value for key, value in values.items() if key in known}
