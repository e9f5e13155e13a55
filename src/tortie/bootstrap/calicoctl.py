"""calicoctl's rules for where the datastore is, so that a host set up for calicoctl needs no second setting.

Its file, `/etc/calico/calicoctl.cfg`, is used alone if it is there; else the environment, where `CALICO_<NAME>` beats
`<NAME>`. Errors are worded as calicoctl words them, and go on where it says too little.

Invariants:
* What is said nowhere is not guessed. Kubernetes as a datastore, which calicoctl also falls back to, is an error.
* No message repeats what may be a secret: not the password, nor a line of a file that cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tortie.access import Access, Credentials
from tortie.bootstrap.file import read_text
from tortie.errors import UsageError

DEFAULT_FILE = Path("/etc/calico/calicoctl.cfg")

API_VERSION = "projectcalico.org/v3"
KIND = "CalicoAPIConfig"

# Key in the file -> variable in the environment. PEM text has no variable, lest others see it.
_ETCD = {
    "datastoreType": "DATASTORE_TYPE",
    "etcdEndpoints": "ETCD_ENDPOINTS",
    "etcdDiscoverySrv": "ETCD_DISCOVERY_SRV",
    "etcdUsername": "ETCD_USERNAME",
    "etcdPassword": "ETCD_PASSWORD",
    "etcdKeyFile": "ETCD_KEY_FILE",
    "etcdCertFile": "ETCD_CERT_FILE",
    "etcdCACertFile": "ETCD_CA_CERT_FILE",
    "etcdKey": "",
    "etcdCert": "",
    "etcdCACert": "",
}
# Where nothing else is said, these say that the datastore is Kubernetes. Calico knows many more that begin alike.
_KUBERNETES = {"kubeconfig": "KUBECONFIG", "k8sAPIEndpoint": "K8S_API_ENDPOINT"}
_KUBERNETES_KEY = re.compile(r"k8s|kubeconfig|calicoapigroup$", re.IGNORECASE)

_VARIABLES = _ETCD | _KUBERNETES
_NAMES = {name.lower(): name for name in _VARIABLES}  # Go's decoder ignores case
# A line that begins with `key:`, or an object: YAML or JSON, and no TOML.
_LOOKS_LIKE_YAML = re.compile(r"""\A\s*\{|^\s*(?:-\s+)?["']?[A-Za-z]\w*["']?\s*:""", re.MULTILINE)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_ENDPOINT = re.compile(r"(?:\[[0-9a-fA-F:.%\w]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{1,5})?")

_UNPARSABLE = "failed to parse config as YAML/JSON: "
_WITHOUT_KUBERNETES = (
    "tortie works without Kubernetes: set datastoreType to etcdv3 and etcdEndpoints (DATASTORE_TYPE, ETCD_ENDPOINTS), "
    "or datastore in /etc/tortie/tortie.toml (TORTIE_DATASTORE)"
)


class _Syntax(Exception):
    """The file is none of calicoctl's."""


def looks_like(text: str) -> bool:
    """Whether the text of a file that is no TOML is meant as calicoctl's."""
    return _LOOKS_LIKE_YAML.search(text) is not None


def find(environment: Mapping[str, str]) -> Access | None:
    """The datastore by calicoctl's rules, None when they name none. Raises UsageError."""
    text = read_text(DEFAULT_FILE)
    return from_environment(environment) if text is None else from_file(text, DEFAULT_FILE)


def from_environment(environment: Mapping[str, str]) -> Access | None:
    """The datastore that the variables name, None when they name none. Raises UsageError."""
    variables = {
        key: f"CALICO_{name}" if f"CALICO_{name}" in environment else name for key, name in _VARIABLES.items() if name
    }
    said = {key: environment.get(variables.get(key, ""), "") for key in _VARIABLES}
    naming = ("etcdEndpoints", "etcdDiscoverySrv", "datastoreType", *_KUBERNETES)
    named_by = next((variables[key] for key in naming if said[key]), "")
    return _access(said, named_by, variables) if named_by else None


def from_file(text: str, path: Path) -> Access:
    """The datastore that a file of calicoctl names. Raises UsageError."""
    try:
        said = _spec(text)
    except _Syntax as error:
        raise UsageError(f"syntax error in {path}: {error}") from None
    return _access(said, str(path), {})


def _spec(text: str) -> dict[str, str]:
    document = _document(text)
    _check_known(document, ("apiversion", "kind", "metadata", "spec"), "")
    top = {str(key).lower(): value for key, value in document.items()}
    if (version := _text(top, "apiVersion")) != API_VERSION:
        raise _Syntax(f"invalid config file: unknown APIVersion '{version}'")
    if (kind := _text(top, "kind")) != KIND:
        raise _Syntax(f"invalid config file: expected kind '{KIND}', got '{kind}'")
    spec = top.get("spec") or {}
    if not isinstance(spec, dict):
        raise _Syntax(f"{_UNPARSABLE}spec must be an object")
    _check_known(spec, _NAMES, "spec.")
    values = {str(key).lower(): value for key, value in spec.items()}
    return {name: _text(values, name) for name in _VARIABLES}


def _document(text: str) -> dict[Any, Any]:
    import yaml  # only here: few hosts have such a file

    try:
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        # Its own text shows the line, which may be the password's.
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise _Syntax(f"{_UNPARSABLE}{line}{_QUOTED.sub('...', error.problem or 'not YAML')}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise _Syntax(f"{_UNPARSABLE}it is not YAML") from None
    if not isinstance(document, dict):
        raise _Syntax(f"{_UNPARSABLE}it must be an object with apiVersion, kind and spec")
    return document


def _check_known(found: Mapping[Any, Any], known: Collection[str], path: str) -> None:
    for key in found:
        if str(key).lower() not in known and not _KUBERNETES_KEY.match(str(key)):
            raise _Syntax(f'{_UNPARSABLE}unknown field "{path}{key}"')


def _text(found: Mapping[str, Any], name: str) -> str:
    """A scalar as Go's decoder turns it into text."""
    value = found.get(name.lower())
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        raise _Syntax(f"{_UNPARSABLE}{name} must be text")
    return str(value)


def _access(said: Mapping[str, str], named_by: str, variables: Mapping[str, str]) -> Access:
    """The datastore that is meant; `variables` says where each value comes from that is of the environment."""
    where = f"(in {named_by})"
    store = said["datastoreType"] or ("etcdv3" if said["etcdEndpoints"] or said["etcdDiscoverySrv"] else "")
    if store == "kubernetes":
        where = f"(in {variables.get('datastoreType', named_by)})"
        raise UsageError(f"datastore type kubernetes {where} cannot be used: {_WITHOUT_KUBERNETES}")
    if not store:
        kubernetes = next((f"{key} and " for key in _KUBERNETES if said[key]), "")
        reason = f"{kubernetes}no datastore type and no etcd endpoints"
        raise UsageError(f"{reason} {where}, which for calicoctl means Kubernetes: {_WITHOUT_KUBERNETES}")
    if store != "etcdv3":
        where = f"(in {variables.get('datastoreType', named_by)})"
        raise UsageError(f"unknown datastore type: {store} {where}: it must be etcdv3")
    credentials = _credentials(said, where)
    if said["etcdEndpoints"] and said["etcdDiscoverySrv"]:
        either = 'either "etcdEndpoints" or "etcdDiscoverySrv"'
        raise UsageError(f"multiple discovery or bootstrap options specified, use {either} {where}")
    if said["etcdDiscoverySrv"]:
        url = f"{'etcds' if _has_tls(credentials) else 'etcd'}+srv://{said['etcdDiscoverySrv']}"
    else:
        url = _url(said["etcdEndpoints"], _has_tls(credentials), where)
    return Access(url=url, credentials=credentials, named_by=named_by)


def _credentials(said: Mapping[str, str], where: str) -> Credentials:
    files = [said[key] for key in ("etcdCACertFile", "etcdCertFile", "etcdKeyFile")]
    inline = [said[key] for key in ("etcdCACert", "etcdCert", "etcdKey")]
    if any(files) and any(inline):
        raise UsageError(f"Cannot mix inline certificate-key and certificate / key files {where}")
    ca_cert_file, cert_file, key_file = files
    ca_cert, cert, key = inline
    both = bool(said["etcdUsername"] and said["etcdPassword"])  # calicoctl uses neither without the other
    return Credentials(
        ca_cert_file=ca_cert_file,
        cert_file=cert_file,
        key_file=key_file,
        ca_cert=ca_cert,
        cert=cert,
        key=key,
        username=said["etcdUsername"] if both else "",
        password=said["etcdPassword"] if both else "",
    )


def _has_tls(given: Credentials) -> bool:
    return any((given.ca_cert_file, given.cert_file, given.key_file, given.ca_cert, given.cert, given.key))


def _url(endpoints: str, tls: bool, where: str) -> str:
    """`https://a:2379,https://b:2379` -> `etcds://a:2379,b:2379`; without a scheme it is TLS if any of it is set."""
    found = [endpoint for part in endpoints.split(",") if (endpoint := part.strip())]
    if not found:
        raise UsageError(f"no etcd endpoints specified {where}")
    schemes: set[str] = set()
    hosts: list[str] = []
    for endpoint in found:
        scheme, separator, rest = endpoint.rpartition("://")
        host = rest.rstrip("/")
        scheme = scheme if separator else "https" if tls else "http"
        if scheme not in ("http", "https") or not _ENDPOINT.fullmatch(host):
            shown = "one with a user" if "@" in endpoint else repr(endpoint)  # a password may stand before the @
            raise UsageError(f"etcd endpoints {where}: {shown} must be http://HOST:PORT or https://HOST:PORT")
        schemes.add(scheme)
        hosts.append(host)
    if len(schemes) > 1:
        raise UsageError(f"etcd endpoints {where}: http and https cannot be mixed")
    return f"{'etcds' if schemes == {'https'} else 'etcd'}://{','.join(hosts)}"
