"""A client of BIRD's control socket: one connection per request, bounded in time and size.

A restarted BIRD has a new socket at the same path, so nothing is kept between requests.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from pathlib import Path

from tortie.bgp.replies import (
    Line,
    Protocol,
    Status,
    parse_file,
    parse_line,
    parse_protocols,
    parse_status,
    parse_symbol,
)
from tortie.errors import BirdError

TIMEOUT_S = 5.0
LINES_AT_MOST = 500_000  # `show protocols all` has 30 lines per session
_LINES_BETWEEN_YIELDS = 500  # a long reply lies in the buffer at once; parsing it must not hold the loop


class Unreachable(BirdError):
    """Nobody answers at the control socket: BIRD is not running, starting, or stuck."""


class Control:
    """BIRD behind the socket at `path`. Every method raises `Unreachable`, or `BirdError` with BIRD's own words."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pid = 0  # of who answered last

    async def status(self) -> Status:
        return parse_status(await self.ask("show status"))

    async def protocols(self) -> tuple[Protocol, ...]:
        """All protocol instances with their route counts, in BIRD's order."""
        return parse_protocols(await self.ask("show protocols all"))

    async def kernel_protocols(self) -> list[str]:
        """The names of those that write routes to the kernel and are up."""
        rows = parse_protocols(await self.ask("show protocols"))
        return [each.name for each in rows if each.kind == "Kernel" and each.state == "up"]

    async def look_at_kernel(self, protocol: str) -> None:
        """A kernel protocol that learns looks at the kernel's table now, and writes what is missing of its own there.

        That is the only request that makes it (BIRD 2.0.12, sysdep/unix/krt.c, krt_reload_routes).
        """
        await self.ask(f"reload in {protocol}")

    async def defines(self, constant: str) -> bool:
        """The configuration in force defines this constant."""
        return parse_symbol(await self.ask(f"show symbols {constant}"), constant)

    async def configure(self) -> str:
        """BIRD reads its file again and may still be changing over when this returns; the answer names the file."""
        return parse_file(await self.ask("configure"))

    async def enable(self, name: str) -> None:
        """A protocol that is down starts; one that is up is left alone."""
        await self.ask(f"enable {name}")

    async def graceful_restart(self) -> None:
        """BIRD ends without a word to its peers, who keep our routes until it is back; its process ends after this."""
        await self.ask("graceful restart")

    async def ask(self, command: str) -> list[Line]:
        """Sends one command and returns the whole reply."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._converse(command)
        except TimeoutError:
            raise Unreachable(f"BIRD did not answer at {self.path} within {TIMEOUT_S:g} s") from None
        except FileNotFoundError:
            raise Unreachable(f"BIRD is not running: there is no {self.path}; start its service") from None
        except ConnectionRefusedError:
            raise Unreachable(f"BIRD is not running: nobody listens at {self.path}; start its service") from None
        except ConnectionError as error:
            raise Unreachable(f"BIRD closed the connection at {self.path}; see its log if this repeats") from error
        except (OSError, ValueError) as error:
            raise BirdError(f"BIRD's control socket {self.path}: {error}") from error

    async def _converse(self, command: str) -> list[Line]:
        reader, writer = await asyncio.open_unix_connection(self.path)
        credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.pid = struct.unpack("3i", credentials)[0]
        try:
            await self._read_reply(reader, "connect")  # the greeting
            writer.write(f"{command}\n".encode())
            return await self._read_reply(reader, command)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _read_reply(self, reader: asyncio.StreamReader, command: str) -> list[Line]:
        reply: list[Line] = []
        while not (reply and reply[-1].last):
            raw = await reader.readline()
            if not raw.endswith(b"\n"):
                raise ConnectionResetError("the reply ends early")
            if raw.startswith(b"+"):  # a log message in between, not part of the reply
                continue
            reply.append(parse_line(raw.decode(errors="replace").rstrip("\n"), reply[-1] if reply else None))
            if len(reply) > LINES_AT_MOST:
                raise BirdError(f"BIRD's reply to `{command}` does not end")
            if len(reply) % _LINES_BETWEEN_YIELDS == 0:
                await asyncio.sleep(0)
        if reply[-1].refused:
            raise BirdError(f"BIRD refuses `{command}`: {reply[-1].text}")
        return reply
