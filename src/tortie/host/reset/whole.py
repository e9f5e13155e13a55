"""All that tortie left on this host, part by part in the order in which it goes, and what stands against it.

Invariants:
* First what brings packets here, then what carries them to workloads, and policy behind both: no workload is reached
  past a policy that is gone.
* A part that cannot be looked at, or does not go, stops no other.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tortie.bootstrap import Bootstrap
from tortie.dataplane import contract
from tortie.dataplane.contract import Options
from tortie.dataplane.l3 import removal
from tortie.dataplane.l3.removal import Routing
from tortie.dataplane.nftables import closed
from tortie.doctor import processes
from tortie.host.preparation import whole as preparation
from tortie.host.preparation.whole import Preparation
from tortie.host.reset import bird, files
from tortie.host.reset.part import Found, Part, look, take_away
from tortie.kernel.netlink.socket import NetlinkSocket

_IPV6 = Path("/proc/sys/net/ipv6")


class Reset:
    """What the command asks of the host, in the network namespace of the calling thread."""

    def __init__(self, settings: Bootstrap, policy_only: bool, with_datastore: bool) -> None:
        wanted = policy_parts(settings) if policy_only else parts(settings, with_datastore)
        self._parts = {each.name: each for each in wanted}

    def obstacle(self) -> str:
        """Why nothing may be taken away now; empty if it may."""
        agents = [each for each in processes.read() if each.is_agent and each.here]
        if not agents:
            return ""
        return (
            f"an agent runs here, process {agents[0].pid}, and would put everything back: stop it first, with"
            " `systemctl disable --now tortie-agent` if it is the service"
        )

    def workloads(self) -> list[str]:
        """The interfaces of workloads that this host serves now."""
        with _routing() as routing:
            return routing.workloads()

    def look(self) -> Iterator[tuple[str, Found]]:
        """What there is of each part, by its name."""
        return ((name, look(each)) for name, each in self._parts.items())

    def take_away(self, name: str) -> str:
        """What stood against it; empty when nothing did. What is left of a part is known when all have gone."""
        return take_away(self._parts[name])


def parts(settings: Bootstrap, with_datastore: bool) -> Iterator[Part]:
    yield Part("BIRD", partial(bird.find, settings), partial(bird.remove, settings))
    yield Part("routes of BIRD", partial(bird.find_routes, settings), partial(bird.remove_routes, settings))
    yield Part("routes", _asked(Routing.routes), _done(Routing.remove_routes))
    yield Part("neighbours", _asked(Routing.neighbours), _done(Routing.remove_neighbours))
    yield Part("addresses", _asked(Routing.addresses), _done(Routing.remove_addresses))
    yield Part("eBPF programs", _asked(Routing.responders), _done(Routing.remove_responders))
    bpffs, state_dir = Path(settings.bpffs), Path(settings.state_dir)
    yield Part("eBPF pins", partial(removal.pins, bpffs), partial(removal.remove_pins, bpffs))
    yield Part("sysctls", partial(_changed_sysctls, state_dir), partial(_restore_sysctls, state_dir))
    yield from policy_parts(settings)
    if Preparation.is_for_this_namespace():
        yield Part("files of node init", preparation.find, preparation.remove)
    kept = [("files of this run", files.run), ("files", files.state)]
    for name, of in [*([("datastore", files.datastore)] if with_datastore else []), *kept]:
        yield Part(name, partial(_paths, of, settings), partial(_remove_files, of, settings))


def policy_parts(settings: Bootstrap) -> Iterator[Part]:
    """What closes and opens; without it everything passes."""
    options = Options(wake=lambda: None, xtables_lock=settings.xtables_lock)
    for name in contract.names():
        backend = contract.load(name)
        yield Part(f"policy by {name}", partial(backend.traces, options), partial(backend.remove, options))
    yield Part("tortie-closed.service", lambda: ["table inet tortie-closed"] * closed.is_closed(), closed.open_up)


def _changed_sysctls(state_dir: Path) -> list[str]:
    changed = removal.sysctls(state_dir).items()
    return [f"net/{path}: {now} becomes {original} again" for path, (now, original) in changed]


def _restore_sysctls(state_dir: Path) -> None:
    with NetlinkSocket() as sock:
        removal.restore_sysctls(sock, state_dir)


def _paths(of: Callable[[Bootstrap], list[Path]], settings: Bootstrap) -> list[str]:
    return [str(path) for path in of(settings)]


def _remove_files(of: Callable[[Bootstrap], list[Path]], settings: Bootstrap) -> None:
    files.remove(of(settings))


def _asked(question: Callable[[Routing], Iterable[str]]) -> Callable[[], list[str]]:
    def ask() -> list[str]:
        with _routing() as routing:
            return list(question(routing))

    return ask


def _done(action: Callable[[Routing], None]) -> Callable[[], None]:
    def do() -> None:
        with _routing() as routing:
            action(routing)

    return do


@contextmanager
def _routing() -> Iterator[Routing]:
    with NetlinkSocket() as sock:
        yield Routing(sock, [socket.AF_INET, *([socket.AF_INET6] if _IPV6.exists() else [])])
