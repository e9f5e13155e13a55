"""BIRD's configuration file and BIRD itself, kept at what is wanted.

The file is ours alone. What BIRD runs is told by the mark in the text (`render.mark_of`): it is a fact of the
running configuration, so neither the agent's memory nor any clock is needed, and a new agent adopts a BIRD that
is right without touching it.

Invariants:
* No file is put in place that BIRD's own check has not passed; a refused one leaves the old in force.
* BIRD reloads only if it does not run the wanted text, and is believed only by its own state.
* A crash between any two steps is repaired by the next `apply`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from tortie.bgp.control import Control, Unreachable
from tortie.bgp.including import lacking, left_out
from tortie.bgp.render import (
    mark_of,
    possible_peers,
    render,
    render_initial,
    retired,
    sessions_of,
    stand_alone,
    withdrawn,
)
from tortie.bgp.replies import Protocol, Status
from tortie.bgp.routes import Host
from tortie.bgp.secrets import read_secret
from tortie.conventions import ROUTE_PROTOCOL
from tortie.errors import BirdError, KernelError
from tortie.intent.bgp import BgpIntent, BgpProblem, SecretRef
from tortie.kernel.netlink import route, sender
from tortie.kernel.netlink.socket import NetlinkSocket
from tortie.kernel.run import CommandFailed, run

CHECK_TIMEOUT_S = 10.0
# How long a reload may take to show before BIRD is asked again; a change of some sessions takes 2-3 ms.
RELOAD_WAITS_S = (0.25, 0.5, 1.0, 2.0)
_LOOK_AGAIN_S = 0.02


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """BIRD runs what is wanted."""

    reloaded: bool
    left_out: tuple[BgpProblem, ...] = ()  # sessions whose password cannot be had, or that no include can have


class BirdState(msgspec.Struct, frozen=True, kw_only=True):
    """BIRD as it is now. `status` is None when nobody answers, and `problem` says why."""

    status: Status | None
    sessions: tuple[Protocol, ...] = ()  # ours
    configured: bool = False  # it runs the configuration that was wanted last
    problem: str = ""
    lacking: tuple[str, ...] = ()  # what a host's BIRD that includes our configuration must have besides
    pid: int = 0

    @property
    def announced(self) -> Mapping[str, int]:
        """How many routes each peer has from us now. Of one without a session that is not known, and it is not here."""
        return {each.neighbor: each.exported for each in self.sessions if each.established}


class Bgp:
    """The sink. Only one task at a time may change anything; any may ask for the state."""

    def __init__(self, config: Path, control: Control, host: Host, secrets: Path, bird: str) -> None:
        self._config = config
        self._staged = config.with_name(f"{config.name}.staged")
        self._control = control
        self._host = host
        self._secrets = secrets
        self._bird = bird
        self._mark = ""
        self._versions: tuple[int, ...] = ()

    async def apply(self, intent: BgpIntent) -> Applied:
        """Makes file and BIRD what the intent says; nothing if they are. To be called again after any error.

        `Unreachable`: the file is in place, a BIRD that starts now reads it. Any other `BirdError`: BIRD refuses
        the text, and the old one is still in place and in force.
        """
        intent, impossible = left_out(intent) if self._host.included else (intent, ())
        secrets, unreadable = self._read_secrets(intent)
        text = render(intent, self._host, secrets)
        self._versions = tuple(address.version for address in intent.addresses)
        reloaded = await self._put(text, {peer.name for peer in possible_peers(intent, secrets)})
        return Applied(reloaded=reloaded, left_out=(*impossible, *unreadable))

    async def withdraw(self) -> None:
        """Peers are told of no route any more, whatever the file in place says. Raises BirdError."""
        await self._change(withdrawn)

    async def retire(self) -> None:
        """As `withdraw`, and BIRD takes back what it wrote to the kernel. Raises BirdError.

        An included part becomes what it was before the first configuration, so that the host's BIRD starts with it.
        """
        if self._host.included:
            await self._put(render_initial(included=True), set())
        else:
            await self._change(retired)

    async def _change(self, changed: Callable[[str], str]) -> None:
        try:
            text = changed(self._read_config())
        except ValueError as error:
            raise BirdError(f"{self._config}: {error}") from error
        await self._put(text, set())

    async def _put(self, text: str, names: set[str]) -> bool:
        """The text in place and in force, with sessions of these names; True when BIRD had to reload."""
        before = self._read_config()
        self._mark = mark_of(text)
        try:
            if text != before:
                await self._put_in_place(text)
            reload = not await self._control.defines(self._mark)
            if reload:
                await self._reload(names, before)
        except OSError as error:
            raise BirdError(f"BIRD's configuration cannot be written: {error}") from error
        return reload

    async def enable(self, names: Iterable[str]) -> None:
        """Sessions that gave up, for want of a port, try again."""
        for name in names:
            await self._control.enable(name)

    async def ports(self) -> frozenset[int]:
        """The netlink port ids of the BIRD that runs now. Raises BirdError."""
        await self._control.status()
        return sender.ports(self._control.pid)

    async def look_at_kernel(self) -> None:
        """BIRD looks at once for routes of its own that the kernel has not any more, and writes them again.

        It does not touch the others. Raises BirdError.
        """
        for protocol in await self._control.kernel_protocols():
            await self._control.look_at_kernel(protocol)

    async def state(self) -> BirdState:
        """What BIRD says now; an answer in any case."""
        try:
            protocols = await self._control.protocols()
            configured = bool(self._mark) and await self._control.defines(self._mark)
            return BirdState(
                status=await self._control.status(),
                sessions=self._own_sessions(protocols),
                configured=configured,
                lacking=await self._lacking(protocols) if self._host.included and configured else (),
                pid=self._control.pid,
            )
        except BirdError as error:
            return BirdState(status=None, problem=str(error))

    def _own_sessions(self, protocols: Iterable[Protocol]) -> tuple[Protocol, ...]:
        """A BIRD that the host runs anyway may have others."""
        sessions = (each for each in protocols if each.kind == "BGP")
        if not self._host.included:
            return tuple(sessions)
        own = sessions_of(self._read_config())
        return tuple(each for each in sessions if each.name in own)

    async def _lacking(self, protocols: tuple[Protocol, ...]) -> tuple[str, ...]:
        routed = await asyncio.to_thread(_routed)
        return tuple(lacking(protocols, self._versions, routed))

    async def _put_in_place(self, text: str) -> None:
        if self._host.included:
            # What is right by itself can only clash with the host's own lines, which the reload shows.
            await asyncio.to_thread(_write, self._staged, stand_alone(text))
            await self._check_staged()
        await asyncio.to_thread(_write, self._staged, text)
        if not self._host.included:
            await self._check_staged()
        self._staged.replace(self._config)

    async def _reload(self, names: set[str], before: str) -> None:
        for wait_s in RELOAD_WAITS_S:
            try:
                file = await self._control.configure()
            except Unreachable:
                raise
            except BirdError:
                if self._host.included:
                    # The host's BIRD would not start with it.
                    await asyncio.to_thread(_write, self._staged, before or render_initial(included=True))
                    self._staged.replace(self._config)
                raise
            if await self._wait_loaded(names, wait_s):
                return
        must = "include" if self._host.included else "be started with"
        raise BirdError(f"BIRD read {file}, but does not run what {self._config} says; it must {must} that file")

    async def _wait_loaded(self, names: set[str], wait_s: float) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        while True:
            if await self._control.defines(self._mark):
                return names <= {protocol.name for protocol in await self._control.protocols()}
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _check_staged(self) -> None:
        try:
            await run([self._bird, "-p", "-c", str(self._staged)], CHECK_TIMEOUT_S)
        except CommandFailed as error:
            if error.status is None:
                raise BirdError(
                    f"BIRD cannot check its new configuration, is the package bird2 there? {error}"
                ) from error
            raise BirdError(
                f"BIRD refuses the new configuration, the old one stays in force: {error.output.strip() or error}"
            ) from error

    def _read_config(self) -> str:
        try:
            return self._config.read_text(errors="replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise BirdError(f"BIRD's configuration cannot be read: {error}") from error

    def _read_secrets(self, intent: BgpIntent) -> tuple[Mapping[SecretRef, str], tuple[BgpProblem, ...]]:
        secrets: dict[SecretRef, str] = {}
        left_out = []
        for peer in intent.peers:
            if peer.password is not None and peer.password not in secrets:
                try:
                    secrets[peer.password] = read_secret(self._secrets, peer.password)
                except BirdError as error:
                    left_out.append(BgpProblem(peer.source, f"no session with {peer.address}: {error}"))
        return secrets, tuple(left_out)


def _routed() -> frozenset[int]:
    """The IP versions in which this host has workloads."""
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    try:
        with NetlinkSocket() as sock:
            return frozenset(v for v, family in families.items() if route.dump(sock, family, protocol=ROUTE_PROTOCOL))
    except KernelError:
        return frozenset()


def is_initial(config: Path) -> bool:
    """The file is an included part without sessions, or not there."""
    return not config.exists() or config.read_text(errors="replace") == render_initial(included=True)


def write_initial(config: Path, *, included: bool = False) -> bool:
    """Gives BIRD something to start with; False, and nothing written, if there is a configuration.

    For a host's first start: BIRD then runs, and can be told, before this node knows its peers.
    """
    staged = config.with_name(f"{config.name}.initial")
    _write(staged, render_initial(included=included))
    try:
        config.hardlink_to(staged)  # fails where a rename would replace what an agent wrote meanwhile
    except FileExistsError:
        return False
    finally:
        staged.unlink()
    return True


def _write(path: Path, text: str) -> None:
    """Writes a file that BIRD may read and others may not: it holds passwords.

    Its group is the directory's, so that the service decides which group BIRD runs with.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    with os.fdopen(descriptor, "w") as file:
        os.fchown(descriptor, -1, path.parent.stat().st_gid)
        os.fchmod(descriptor, 0o640)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
