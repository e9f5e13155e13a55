"""Where everything of a lab is: namespaces, directories, sockets. Names alone decide what belongs to a lab.

Invariants:
* A namespace of lab L is named `tl-L-<member>`, a file of it lies below `/run/tortie-lab/L/`. A lab's name holds no
  hyphen, so the name of a namespace says without doubt whose it is, also to a `down` that remembers nothing.
* A member (host, router, machine, workload) has one name in its lab, whatever it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

BASE = Path("/run/tortie-lab")
NAMESPACES = Path("/run/netns")
NAMESPACE_PREFIX = "tl-"

FABRIC = "fabric"  # the member that holds the bridges; no other may have this name


class HostFiles(NamedTuple):
    """The files of one host; its agent and its BIRD are told these paths and use no others."""

    directory: Path

    @property
    def config(self) -> Path:
        return self.directory / "tortie.toml"

    @property
    def run_dir(self) -> Path:
        return self.directory / "run"

    @property
    def state_dir(self) -> Path:
        return self.directory / "state"

    @property
    def bpffs(self) -> Path:
        return self.directory / "bpf"

    @property
    def agent_socket(self) -> Path:
        return self.run_dir / "agent.sock"

    @property
    def bird_config(self) -> Path:
        return self.run_dir / "bird.conf"

    @property
    def bird_socket(self) -> Path:
        return self.run_dir / "bird.ctl"

    @property
    def bird_pid(self) -> Path:
        return self.run_dir / "bird.pid"

    def log(self, program: str) -> Path:
        return self.directory / f"{program}.log"


class Layout(NamedTuple):
    """The places of one lab."""

    lab: str

    @property
    def directory(self) -> Path:
        return BASE / self.lab

    @property
    def topology(self) -> Path:
        """The topology as it was brought up: what `status`, `exec` and `capture` go by."""
        return self.directory / "topology.yaml"

    @property
    def store(self) -> Path:
        """The SQLite file with the lab's resources, of a lab without etcd."""
        return self.directory / "store.db"

    def member(self, name: str) -> HostFiles:
        return HostFiles(self.directory / name)

    def namespace(self, member: str) -> str:
        return f"{NAMESPACE_PREFIX}{self.lab}-{member}"

    def namespace_path(self, member: str) -> Path:
        return NAMESPACES / self.namespace(member)

    def namespaces(self) -> list[str]:
        """The lab's namespaces that exist, by name."""
        prefix = self.namespace("")
        return [name for name in existing_namespaces() if name.startswith(prefix)]


def existing_namespaces() -> list[str]:
    """Namespaces of all labs, also of those whose directory is gone."""
    return sorted(path.name for path in NAMESPACES.glob(f"{NAMESPACE_PREFIX}*-*"))


def existing_labs() -> list[str]:
    """Labs that left a trace in the file system: a directory or a namespace."""
    directories = {path.name for path in BASE.iterdir()} if BASE.is_dir() else set()
    named = {name.removeprefix(NAMESPACE_PREFIX).partition("-")[0] for name in existing_namespaces()}
    return sorted(directories | named)
