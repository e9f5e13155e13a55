"""External commands: a time limit, a limit on output, and one error when anything but success came out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from asyncio.subprocess import SubprocessStreamProtocol
from collections.abc import Mapping, Sequence

from tortie.errors import TortieError

OUTPUT_BYTES = 1024 * 1024
READ_BYTES = 65536
DEATH_S = 1  # after SIGKILL


class CommandFailed(TortieError):
    """A command did not do its work; `status` is its exit code, None if it never ran to its end."""

    def __init__(self, command: Sequence[str], reason: str, status: int | None = None, output: str = "") -> None:
        self.command = shlex.join(command)
        self.status = status
        self.output = output  # standard output, then standard error
        super().__init__(f"{self.command}: {reason}" + (f": {output.strip()}" if output.strip() else ""))


async def run(
    command: Sequence[str],
    timeout_s: float,
    stdin: str = "",
    *,
    output_bytes: int = OUTPUT_BYTES,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Runs the command and returns its standard output; `environment` comes on top of our own.

    When it is late, talks too much or its caller is cancelled, it is killed with all that it started in its process
    group. More output than `output_bytes` is a failure, never cut off silently.
    """
    try:
        transport, process = await _start(command, {**os.environ, **(environment or {})})
    except OSError as error:
        raise CommandFailed(command, error.strerror or str(error)) from error
    try:
        async with asyncio.timeout(timeout_s):
            _, output, errors = await asyncio.gather(
                _feed(process, stdin),
                _collect(process.stdout, output_bytes),
                _collect(process.stderr, output_bytes),
            )
            status = await process.wait()
    except BaseException as error:
        await _kill(process, transport)
        if isinstance(error, TimeoutError):
            raise CommandFailed(command, f"no end after {timeout_s:g} s") from None
        if isinstance(error, _TooMuch):
            raise CommandFailed(command, f"more than {output_bytes} bytes of output") from None
        raise
    if status:
        reason = f"exit status {status}" if status > 0 else f"killed by signal {-status}"
        raise CommandFailed(command, reason, status, output + errors)
    return output


def run_blocking(
    command: Sequence[str],
    timeout_s: float,
    stdin: str = "",
    *,
    output_bytes: int = OUTPUT_BYTES,
    environment: Mapping[str, str] | None = None,
) -> str:
    """The same for a program, or a thread, without an event loop; the command runs in the thread's namespaces."""
    return asyncio.run(run(command, timeout_s, stdin, output_bytes=output_bytes, environment=environment))


class _TooMuch(Exception):
    pass


async def _start(
    command: Sequence[str], environment: Mapping[str, str]
) -> tuple[asyncio.SubprocessTransport, asyncio.subprocess.Process]:
    """What `create_subprocess_exec` does, and the transport, without which nobody can let go of the pipes."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(
        lambda: SubprocessStreamProtocol(limit=READ_BYTES, loop=loop),
        *command,
        start_new_session=True,
        env=environment,
    )
    return transport, asyncio.subprocess.Process(transport, protocol, loop)


async def _feed(process: asyncio.subprocess.Process, stdin: str) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(stdin.encode())
        await process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass  # it did not care to read everything; its exit status tells whether that matters
    finally:
        process.stdin.close()


async def _collect(stream: asyncio.StreamReader | None, most: int) -> str:
    assert stream is not None
    parts: list[bytes] = []
    left = most
    while part := await stream.read(READ_BYTES):
        left -= len(part)
        if left < 0:
            raise _TooMuch
        parts.append(part)
    return b"".join(parts).decode(errors="replace")


async def _kill(process: asyncio.subprocess.Process, transport: asyncio.SubprocessTransport) -> None:
    # The group: a child may outlive its parent.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # A daemon that left the group may hold the pipes for ever, and of a pipe nobody reads no end is seen.
    for pipe in map(transport.get_pipe_transport, range(3)):
        if pipe is not None:
            pipe.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DEATH_S):
            await process.wait()
