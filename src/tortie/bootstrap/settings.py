"""The settings of one host, and where each comes from.

Order: a flag, then `TORTIE_*` in the environment, then `/etc/tortie/tortie.toml`, then the default. For the datastore
calicoctl's configuration stands before the default. A file that the user named is used alone, without environment;
it may be one of calicoctl's, which says where the datastore is and nothing else.

An unknown key is a warning, since a misspelt key must never stop an agent; a value that cannot be used is an error
that names the place it came from. Neither shows a secret.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tortie.access import DEFAULT_URL, NO_CREDENTIALS, Access, Credentials
from tortie.bootstrap import calicoctl
from tortie.bootstrap.file import read_text
from tortie.errors import UsageError

DEFAULT_FILE = Path("/etc/tortie/tortie.toml")
PREFIX = "TORTIE_"
DRAINED_TEXT = "This host is drained: it announces no route, and takes no workload. tortie node uncordon ends it.\n"
ETCD_PREFIX = "etcd_"
ETCD_KEYS = frozenset({"ca_cert_file", "cert_file", "key_file", "username", "password", "password_file"})


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one host. Every path may be moved, so that many hosts fit on one machine."""

    node: str = ""  # name of the Node resource; default: the host's name in lower case
    datastore: str = DEFAULT_URL
    etcd: Credentials = NO_CREDENTIALS  # of the datastore
    run_dir: str = "/run/tortie"  # agent.sock; gone with a reboot
    state_dir: str = "/var/lib/tortie"  # the local snapshot, original sysctls; survives a reboot
    bpffs: str = "/sys/fs/bpf/tortie"  # pins of the ARP/NDP responder
    xtables_lock: str = "/run/xtables.lock"  # of the iptables backend; every iptables program of the host uses it
    bird_socket: str = "/run/tortie/bird.ctl"
    bird_config: str = "/var/lib/tortie/bird.conf"
    bird_included: bool = False  # the host runs a BIRD of its own, which includes `bird_config`
    bird_kernel_metric: int = 32  # metric of the routes that BIRD installs, both families

    # Not settings, but what became of them.
    node_named: bool = False  # somebody chose `node`; else it is the host's name
    datastore_named_by: str = ""  # the file, variable or flag; empty: it is the default
    datastore_fault: str = ""  # why calicoctl's configuration, which names it, cannot be used

    @property
    def access(self) -> Access:
        """The datastore. Raises UsageError when calicoctl's configuration names one that cannot be used.

        Only here, since much needs no datastore: `tortie status` works whatever $KUBECONFIG says.
        """
        if self.datastore_fault:
            raise UsageError(self.datastore_fault)
        return Access(url=self.datastore, credentials=self.etcd, named_by=self.datastore_named_by)

    @property
    def api_socket(self) -> Path:
        return Path(self.run_dir, "agent.sock")

    @property
    def drained(self) -> Path:
        """Is there while this host is drained."""
        return Path(self.state_dir, "drained")

    @property
    def accepted_cluster(self) -> Path:
        """Holds the GUID of the cluster that the operator told this host to take for its own."""
        return Path(self.state_dir, "accepted-cluster")


SETTINGS = frozenset(
    field.name for field in msgspec.structs.fields(Bootstrap) if not field.name.startswith(("datastore_", "node_"))
)


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, and what was odd about their sources."""

    settings: Bootstrap
    warnings: tuple[str, ...]


class _Source(msgspec.Struct):
    """Values by setting, and what to call the place they came from."""

    values: dict[str, Any]
    name: str


def load(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Loaded:
    """Reads all sources; raises UsageError for a named file that is missing and for values that cannot be used."""
    warnings: list[str] = []
    access: Access | None = None
    fault = ""
    if file is not None:
        text = read_text(file)
        if text is None:
            raise UsageError(f"configuration file {file} does not exist")
        access = None if _is_toml(text) else calicoctl.from_file(text, file)
        sources = [] if access else [_from_toml(text, file, warnings)]
    else:
        sources = [_from_toml(read_text(DEFAULT_FILE) or "", DEFAULT_FILE, warnings), _from_environment(warnings)]
    sources.append(_Source({key: value for key, value in (flags or {}).items() if value is not None}, "a flag"))

    values, named_by = _merged(sources)
    if file is None and "datastore" not in values:
        try:
            access = calicoctl.find(os.environ)
        except UsageError as error:
            fault = str(error)
    if access and "datastore" not in values:
        if values.get("etcd"):
            warnings.append(f"tortie's own etcd credentials are ignored: {access.named_by} names the datastore")
        values |= {"datastore": access.url, "etcd": access.credentials}
        named_by = access.named_by
    values["node_named"] = bool(values.get("node"))
    values.setdefault("node", socket.gethostname().lower())
    try:
        settings = msgspec.convert(
            {**values, "datastore_named_by": named_by, "datastore_fault": fault}, Bootstrap, strict=False
        )
    except msgspec.ValidationError as error:
        raise UsageError(f"configuration: {error}") from error
    _check_etcd(settings, warnings)
    return Loaded(settings=settings, warnings=tuple(warnings))


def _is_toml(text: str) -> bool:
    """Whether the text is ours; False: it is meant for calicoctl."""
    try:
        _toml(text)
    except (ValueError, RecursionError):
        return not calicoctl.looks_like(text)
    return True


def _from_toml(text: str, path: Path, warnings: list[str]) -> _Source:
    try:
        values = _toml(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"configuration file {path} cannot be read: {error}") from error
    return _Source(_known(values, f"{path}: ", warnings), str(path))


def _toml(text: str) -> dict[str, Any]:
    """Raises ValueError for what is no TOML."""
    if not text:  # most hosts have no such file, and each command would wait for what reads it
        return {}
    import tomllib

    return tomllib.loads(text)


def _from_environment(warnings: list[str]) -> _Source:
    values: dict[str, Any] = {}
    etcd: dict[str, str] = {}
    for variable, value in os.environ.items():
        if not variable.startswith(PREFIX) or not value:
            continue
        key = variable.removeprefix(PREFIX).lower()
        if key.startswith(ETCD_PREFIX):
            etcd[key.removeprefix(ETCD_PREFIX)] = value
        else:
            values[key] = value
    if etcd:
        values["etcd"] = etcd
    return _Source(_known(values, f"environment: {PREFIX}", warnings), f"{PREFIX}DATASTORE")


def _known(values: Mapping[str, Any], origin: str, warnings: list[str]) -> dict[str, Any]:
    found = {key: value for key, value in values.items() if key in SETTINGS}
    unknown = values.keys() - found
    if isinstance(etcd := found.get("etcd"), dict):
        separator = "_" if origin.endswith(PREFIX) else "."
        unknown |= {f"etcd{separator}{key}" for key in etcd.keys() - ETCD_KEYS}
        found["etcd"] = {key: value for key, value in etcd.items() if key in ETCD_KEYS}
    warnings.extend(f"{origin}{key} is not a setting of tortie: ignored" for key in sorted(unknown))
    return found


def _merged(sources: list[_Source]) -> tuple[dict[str, Any], str]:
    """The values, later sources over earlier ones, credentials one by one; and what named the datastore."""
    merged: dict[str, Any] = {}
    named_by = ""
    for source in sources:
        before, now = merged.get("etcd"), source.values.get("etcd")
        merged |= source.values
        if isinstance(before, dict) and isinstance(now, dict):
            merged["etcd"] = before | now
        if "datastore" in source.values:
            named_by = source.name
    return merged, named_by


def _check_etcd(settings: Bootstrap, warnings: list[str]) -> None:
    url, given = settings.datastore, settings.etcd
    if not url.startswith("etcd"):
        return
    where = f" (datastore named by {settings.datastore_named_by})" if settings.datastore_named_by else ""
    if "@" in url:
        raise UsageError(
            f"the URL of the datastore must hold no user or password: set username and password_file in [etcd]{where}"
        )
    if given.password and given.password_file:
        raise UsageError(f"etcd: password and password_file are both set: keep one{where}")
    if bool(given.username) != bool(given.password or given.password_file):
        raise UsageError(f"etcd: a username needs a password or password_file, and they need a username{where}")
    if bool(given.cert_file or given.cert) != bool(given.key_file or given.key):
        raise UsageError(f"etcd: a client certificate and its key must both be set{where}")
    tls = given.ca_cert_file or given.ca_cert or given.cert_file or given.cert
    if tls and not url.startswith("etcds"):
        warnings.append(f"etcd certificates are not used, as the datastore is {url}: write etcds:// to use TLS{where}")
