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


def written_with(path: str) -> list[str]:
    """What else the kernel writes when this is written."""
    # net/ipv4/devinet.c, inet_forward_change; net/ipv6/addrconf.c, addrconf_fixup_forwarding
    patterns = {
        "ipv4/ip_forward": ("ipv4/conf/*/forwarding", "ipv4/conf/all/accept_redirects"),
        "ipv6/conf/all/forwarding": ("ipv6/conf/*/forwarding",),
    }
    found = (str(file.relative_to(_ROOT)) for pattern in patterns.get(path, ()) for file in _ROOT.glob(pattern))
    return sorted(each for each in found if each != path)
