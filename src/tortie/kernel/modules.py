"""What the kernel has, found without asking it for anything: a request to a missing part would load it."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_SYMBOLS = Path("/proc/kallsyms")


class Module(NamedTuple):
    """A module that tortie uses: the option that builds it, and what goes missing without."""

    name: str
    option: str
    without: str


USED = (
    Module("veth", "CONFIG_VETH", "no containers and processes, only virtual machines"),
    Module("tun", "CONFIG_TUN", "no virtual machines"),
    Module("sch_ingress", "CONFIG_NET_SCH_INGRESS", "proxy_arp in place of the eBPF responder"),
    Module("cls_bpf", "CONFIG_NET_CLS_BPF", "proxy_arp in place of the eBPF responder"),
    Module("nf_conntrack", "CONFIG_NF_CONNTRACK", "no policy"),
    Module("nf_conntrack_netlink", "CONFIG_NF_CT_NETLINK", "flows are not cut when policy changes"),
    Module("nf_tables", "CONFIG_NF_TABLES", "no policy by nftables"),
)
USED_BY_IPTABLES = (
    Module("ip_tables", "CONFIG_IP_NF_IPTABLES", "no policy by iptables"),
    Module("ip6_tables", "CONFIG_IP6_NF_IPTABLES", "no IPv6 policy by iptables"),
    Module("ip_set", "CONFIG_IP_SET", "no policy by iptables"),
    Module("xt_set", "CONFIG_NETFILTER_XT_SET", "no policy by iptables"),
)


def runs(symbol: str) -> bool:
    """Whether the part of the kernel with this function is there now, built in or loaded; 30 ms.

    Everybody may read the names, if not the addresses. Without them: True, nobody knows better.
    """
    try:
        text = _SYMBOLS.read_bytes()
    except OSError:
        return True
    return any(f" {symbol}{end}".encode() in text for end in ("\n", "\t"))


def known(root: Path, release: str, kernel_config: Path | None = None) -> frozenset[str]:
    """The modules that run, can be loaded or are built in, by name.

    `root` is where `proc`, `sys`, `lib` and `boot` are. A `kernel_config` of the user counts instead of the one there.
    """
    tree = root / "lib/modules" / release
    found = {path.name for path in _listed(root / "sys/module")}
    found.update(line.split(" ")[0] for line in lines(root / "proc/modules"))
    for index in ("modules.dep", "modules.builtin"):
        found.update(
            Path(line.partition(":")[0]).name.partition(".ko")[0].replace("-", "_") for line in lines(tree / index)
        )
    # What is built in shows in the kernel's configuration alone, where there is no list of modules.
    options = {module.option: module.name for module in (*USED, *USED_BY_IPTABLES)}
    found.update(options[option] for option in _set(kernel_config, root, release) if option in options)
    return frozenset(found)


def lines(path: Path) -> list[str]:
    """The lines of a file, unpacked if need be; none when it cannot be read."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError):
        return []
    return content.decode(errors="replace").splitlines()


def _set(kernel_config: Path | None, root: Path, release: str) -> Iterable[str]:
    """The options that are set, as module or built in; those of the file that the user named, if there is one."""
    for path in [kernel_config] if kernel_config else [root / f"boot/config-{release}", root / "proc/config.gz"]:
        for line in lines(path):
            option, _, value = line.partition("=")
            if value in ("y", "m"):
                yield option


def _listed(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []
