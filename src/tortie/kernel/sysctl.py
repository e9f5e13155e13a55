"""/proc/sys/net of the calling thread's network namespace; `netns.run_in` reaches another one.

Paths are written with slashes, `ipv4/conf/eth0.10/rp_filter`: an interface name may contain dots, never a slash.
"""

from __future__ import annotations

from pathlib import Path

from tortie.kernel.failure import mapped

_ROOT = Path("/proc/sys/net")


def read(path: str) -> str:
    """The value without its line end; `Gone` where there is no such setting, as for a vanished interface."""
    with mapped(f"read sysctl net/{path}"):
        return (_ROOT / path).read_text(encoding="ascii").strip()


def write(path: str, value: str) -> None:
    """Sets the value; `Gone` where there is no such setting, `Refused` where the kernel does not take it."""
    with mapped(f"write sysctl net/{path}={value}"):
        (_ROOT / path).write_text(value, encoding="ascii")
