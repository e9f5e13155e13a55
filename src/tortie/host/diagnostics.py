"""What support needs to know of a host, in one archive.

Invariants:
* A collector that fails says so in the archive, and stops no other; each is bounded in time and size.
* No secret is in the archive: see `redaction`.
* Only root can read the archive, and nothing on the host is changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import io
import json
import os
import platform
import shlex
import signal
import socket
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tortie import __version__
from tortie.access import Credentials
from tortie.bgp.control import Control
from tortie.bootstrap import Bootstrap
from tortie.bootstrap.settings import DEFAULT_FILE
from tortie.datastore import open_datastore
from tortie.host.redaction import (
    Redactor,
    bird_passwords,
    secret_files_in,
    secrets_in,
    secrets_in_lines,
    without_secrets,
)
from tortie.model.keys import RESOURCES

TIMEOUT_S = 15.0
MAX_BYTES = 8 << 20  # of one collector
MAX_LOG_FILES = 20
MAX_CONFIGURATION_BYTES = 1 << 20
MAX_SNAPSHOT_BYTES = 512 << 20
SECRETS = Path("/etc/tortie/secrets")

Collect = Callable[[], Awaitable[str]]

# File in the archive -> the command that tells it.
COMMANDS: Mapping[str, str] = {
    "date": "date --rfc-3339=seconds",
    "hostname": "hostname --fqdn",
    "uptime": "uptime",
    "ip/routes-ipv4": "ip -4 -details route show table all",
    "ip/routes-ipv6": "ip -6 -details route show table all",
    "ip/rules-ipv4": "ip -4 rule show",
    "ip/rules-ipv6": "ip -6 rule show",
    "ip/addresses": "ip -details address show",
    "ip/links": "ip -details -statistics link show",
    "ip/neighbours-ipv4": "ip -4 -statistics neighbour show",
    "ip/neighbours-ipv6": "ip -6 -statistics neighbour show",
    "ip/proxies": "ip neighbour show proxy",
    "ip/netns": "ip netns list",
    "tc/qdiscs": "tc -statistics qdisc show",
    "bpf/programs": "bpftool prog show",
    "bpf/net": "bpftool net show",
    "netfilter/nft": "nft -n list ruleset",
    "netfilter/iptables": "iptables-save -c",
    "netfilter/ip6tables": "ip6tables-save -c",
    "netfilter/ipset": "ipset list",
    "sockets": "ss -anpe",
    "sysctls": "sysctl net.ipv4 net.ipv6 net.netfilter",
    "modules": "lsmod",
    "dmesg": "dmesg --ctime --level=emerg,alert,crit,err,warn",
    "units": "systemctl status --no-pager --full tortie-agent tortie-bird",
    "journal": "journalctl --no-pager --lines=20000 --unit=tortie-agent --unit=tortie-bird",
}
# Settings of calicoctl.cfg that hold no secret.
_CALICOCTL_SHOWN = frozenset(
    (
        *("apiVersion", "kind", "name", "datastoreType", "etcdEndpoints", "etcdDiscoverySrv", "etcdUsername"),
        *("etcdKeyFile", "etcdCertFile", "etcdCACertFile", "kubeconfig", "k8sAPIEndpoint"),
        *("k8sCertFile", "k8sKeyFile", "k8sCAFile", "k8sInsecureSkipTLSVerify", "k8sCurrentContext"),
    )
)
_OWN_SHOWN = frozenset(field.name for of in (Bootstrap, Credentials) for field in msgspec.structs.fields(of))


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where things are on a host."""

    configuration: Path = DEFAULT_FILE
    calicoctl: Path = Path("/etc/calico/calicoctl.cfg")
    secrets: Path = SECRETS
    logs: Path = Path("/var/log/calico")


class _Meta(msgspec.Struct, frozen=True):
    """What of the agent's snapshot is no resource."""

    format: int
    datastore: str
    revision: int
    items: dict[str, msgspec.Raw]


def places_of(configuration: Path | None, logs: Path) -> Places:
    """The usual places, but for what the user named."""
    return Places(configuration=configuration or DEFAULT_FILE, logs=logs)


def collect(given: Bootstrap | None, places: Places) -> Path:
    """Makes the archive in a directory of its own, and says where it is; without settings the usual ones are meant."""
    settings = given or Bootstrap()
    name = f"diags-{time.strftime('%Y%m%d_%H%M%S')}"
    redact = Redactor(known_secrets(settings, places))
    found = asyncio.run(_all(collectors(settings, places)))
    path = Path(tempfile.mkdtemp(prefix="tortie-diags-"), f"{name}.tar.gz")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for inside, text in found.items():
            content = redact(text).encode()
            entry = tarfile.TarInfo(f"{name}/{inside}.txt")
            entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(content))
    return path


def collectors(settings: Bootstrap, places: Places) -> dict[str, Collect]:
    """What is collected, by the name of its file in the archive."""
    bird = Control(Path(settings.bird_socket))

    def command(line: str) -> Collect:
        return lambda: _output_of(shlex.split(line))

    def say(request: str) -> Collect:
        return lambda: _bird(bird, request)

    def file(read: Callable[[], str]) -> Collect:
        return lambda: asyncio.to_thread(read)

    return {
        **{inside: command(line) for inside, line in COMMANDS.items()},
        "versions": file(_versions),
        "settings": file(lambda: _json(without_secrets(msgspec.to_builtins(settings)))),
        "files/tortie.toml": file(lambda: _json(without_secrets(_toml(places.configuration), _OWN_SHOWN))),
        "files/calicoctl.cfg": file(lambda: _json(without_secrets(_yaml(places.calicoctl), _CALICOCTL_SHOWN))),
        "files/secrets": file(lambda: _names(places.secrets)),
        "files/state": file(lambda: _names(Path(settings.state_dir))),
        "snapshot": file(lambda: _snapshot(Path(settings.state_dir, "snapshot.json"))),
        "bird/configuration": file(lambda: _text(Path(settings.bird_config))),
        "bird/status": say("show status"),
        "bird/protocols": say("show protocols all"),
        "bird/interfaces": say("show interfaces"),
        "bird/routes": say("show route all"),
        "bird/memory": say("show memory"),
        "agent/status": lambda: _agent(settings.api_socket, "/v1/status"),
        "agent/metrics": lambda: _agent(settings.api_socket, "/metrics"),
        "resources": lambda: _resources(settings),
        "logs": file(lambda: _logs(places.logs)),
    }


def known_secrets(settings: Bootstrap, places: Places) -> list[str]:
    """The secrets that this host has: in its settings, its files, its environment, and BIRD's configuration."""
    known: list[str] = []
    files = _files_below(places.secrets)
    for read, path, shown in (
        (_toml, places.configuration, _OWN_SHOWN),
        (_yaml, places.calicoctl, _CALICOCTL_SHOWN),
    ):
        try:
            document = read(path)
            known += secrets_in(document, shown)
            files += secret_files_in(document)
        except OSError:
            continue
        except (ValueError, yaml.YAMLError):
            known += secrets_in_lines(_text(path))
    known += secrets_in(msgspec.to_builtins(settings))
    files += secret_files_in(msgspec.to_builtins(settings))
    known += secrets_in(
        {key: value for key, value in os.environ.items() if key.startswith(("TORTIE_", "CALICO_", "ETCD"))}
    )
    with contextlib.suppress(OSError):
        known += bird_passwords(_text(Path(settings.bird_config)))
    for path in files:
        with contextlib.suppress(OSError):
            known.append(_text(path))
    return known


async def _all(wanted: Mapping[str, Collect]) -> dict[str, str]:
    """What all collectors found, in their order; a failure is what one found."""

    async def one(collect_it: Collect) -> str:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                text = await collect_it()
        except TimeoutError:
            return f"not collected: no end after {TIMEOUT_S:g} s\n"
        except Exception as error:  # whatever it is, the others go on
            return f"not collected: {error or type(error).__name__}\n"
        return text if len(text) <= MAX_BYTES else f"{text[:MAX_BYTES]}\n... cut off here\n"

    texts = await asyncio.gather(*map(one, wanted.values()))
    return dict(zip(wanted, texts, strict=True))


async def _output_of(command: Sequence[str]) -> str:
    """What a command says on both streams, cut off after `MAX_BYTES`."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "LC_ALL": "C"},
        start_new_session=True,
    )
    assert process.stdout is not None
    said = bytearray()
    try:
        while len(said) < MAX_BYTES and (part := await process.stdout.read(1 << 16)):
            said += part
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            # Nobody reads on behind the limit, and `wait` waits for the end of the pipe too.
            while await process.stdout.read(1 << 16):
                pass
        status = await process.wait()
    end = "... cut off here" if len(said) >= MAX_BYTES else f"[exit status {status}]"
    return f"# {shlex.join(command)}\n{said.decode(errors='replace')}\n{end}\n"


async def _bird(bird: Control, request: str) -> str:
    return "".join(f"{line.text}\n" for line in await bird.ask(request))


async def _agent(path: Path, resource: str) -> str:
    """The body of the agent's answer. HTTP/1.0, which ends with the connection."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(f"GET {resource} HTTP/1.0\r\nHost: agent\r\n\r\n".encode())
        await writer.drain()
        answer = bytearray()
        while len(answer) < MAX_BYTES and (part := await reader.read(1 << 16)):
            answer += part
    finally:
        writer.close()
    return answer.decode(errors="replace").partition("\r\n\r\n")[2]


async def _resources(settings: Bootstrap) -> str:
    """The cluster's resources, one a line."""
    access = settings.access
    datastore = open_datastore(access.url, credentials=access.credentials)
    try:
        listing = await datastore.list(RESOURCES)
    finally:
        await datastore.close()
    lines = [f"# {len(listing.items)} keys at revision {listing.revision} of {datastore.url}"]
    size = 0
    for item in listing.items:
        try:
            shown = json.dumps(without_secrets(json.loads(item.value)))
        except (ValueError, RecursionError):
            shown = f"{len(item.value)} bytes that are no JSON"
        lines.append(f"{item.key} @{item.revision} {shown}")
        size += len(lines[-1])
        if size > MAX_BYTES:
            break
    return "\n".join(lines) + "\n"


def _snapshot(path: Path) -> str:
    about = path.stat()
    if about.st_size > MAX_SNAPSHOT_BYTES:
        return f"{about.st_size} bytes: too large to look into\n"
    meta = msgspec.json.decode(path.read_bytes(), type=_Meta)
    written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(about.st_mtime))
    return (
        f"{path}: {about.st_size} bytes, written {written}, format {meta.format}, {len(meta.items)} keys "
        f"at revision {meta.revision} of {meta.datastore}\n"
    )


def _versions() -> str:
    lines = [f"tortie {__version__}", f"Python {platform.python_version()}", " ".join(platform.uname())]
    lines += sorted(f"{each.name} {each.version}" for each in importlib.metadata.distributions())
    return "\n".join([*lines, f"host {socket.gethostname()}"]) + "\n"


def _toml(path: Path) -> Any:
    return tomllib.loads(_text(path))


def _yaml(path: Path) -> Any:
    # Nothing is made of it but what is shown, and an alias may stand for a gigabyte.
    text = _text(path)
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.CSafeLoader)):
        raise ValueError(f"{path}: aliases are not followed")
    return yaml.load(text, Loader=yaml.CSafeLoader)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str) + "\n"


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(MAX_CONFIGURATION_BYTES).decode(errors="replace")


def _names(directory: Path) -> str:
    """What lies in a directory, without its contents."""
    return "".join(f"{file.relative_to(directory)} {file.stat().st_size}\n" for file in _files_below(directory))


def _files_below(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())[:1000] if directory.is_dir() else []


def _logs(directory: Path) -> str:
    """The ends of the newest log files."""
    newest = sorted(_files_below(directory), key=lambda path: path.stat().st_mtime, reverse=True)[:MAX_LOG_FILES]
    parts = []
    for path in newest:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - MAX_BYTES // MAX_LOG_FILES))
            parts.append(f"# {path}\n{file.read().decode(errors='replace')}\n")
    return "".join(parts) or f"no files in {directory}\n"
