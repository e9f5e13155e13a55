"""calicoctl's configuration: what it names, and in which words it is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tortie.access import Access, Credentials
from tortie.bootstrap import calicoctl, load
from tortie.errors import UsageError

HEAD = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\n"


def access_of(spec: str, tmp_path: Path) -> Access:
    """What `-c FILE` means, with a file of this spec."""
    file = tmp_path / "calicoctl.cfg"
    file.write_text(f"{HEAD}spec:\n" + "".join(f"  {line}\n" for line in spec.splitlines()))
    return load(file).settings.access


@pytest.mark.parametrize(
    ("spec", "url", "credentials"),
    [
        ("etcdEndpoints: http://a:2379", "etcd://a:2379", Credentials()),
        ("datastoreType: etcdv3\netcdEndpoints: http://a:2379, http://[fd00::1]:2379/", None, Credentials()),
        ("etcdEndpoints: https://a:2379,https://b", "etcds://a:2379,b", Credentials()),
        ("etcdEndpoints: a:2379", "etcd://a:2379", Credentials()),
        ("etcdEndpoints: a:2379\netcdCACertFile: /ca", "etcds://a:2379", Credentials(ca_cert_file="/ca")),
        ("etcdDiscoverySrv: example.org", "etcd+srv://example.org", Credentials()),
        (
            "etcdDiscoverySrv: example.org\netcdCACertFile: /ca\netcdCertFile: /c\netcdKeyFile: /k",
            "etcds+srv://example.org",
            Credentials(ca_cert_file="/ca", cert_file="/c", key_file="/k"),
        ),
        (
            "etcdEndpoints: https://a\netcdCACert: |\n  CA\netcdCert: C\netcdKey: K",
            "etcds://a",
            Credentials(ca_cert="CA\n", cert="C", key="K"),
        ),
        ("etcdEndpoints: http://a\netcdUsername: u", "etcd://a", Credentials()),
        ("etcdEndpoints: http://a\netcdPassword: p", "etcd://a", Credentials()),
        (
            "etcdEndpoints: http://a\netcdUsername: u\netcdPassword: 1234",
            "etcd://a",
            Credentials(username="u", password="1234"),
        ),
        ("ETCDendpoints: http://a\nk8sClientQPS: 3\nkubeconfig: /x\nkubeconfigInline: x", "etcd://a", Credentials()),
    ],
)
def test_what_a_file_names(spec: str, url: str | None, credentials: Credentials, tmp_path: Path) -> None:
    access = access_of(spec, tmp_path)
    assert access.url == (url or "etcd://a:2379,[fd00::1]:2379")
    assert access.credentials == credentials
    assert access.named_by == str(tmp_path / "calicoctl.cfg")


def test_a_file_may_be_json(tmp_path: Path) -> None:
    file = tmp_path / "config"
    document = {"apiVersion": "projectcalico.org/v3", "kind": "CalicoAPIConfig", "spec": {"etcdEndpoints": "http://a"}}
    file.write_text(json.dumps(document, indent=1))
    assert load(file).settings.access.url == "etcd://a"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("datastoreType: kubernetes\nkubeconfig: /x", "tortie works without Kubernetes: set "),
        ("kubeconfig: /x", "tortie works without Kubernetes: set "),
        ("k8sAPIEndpoint: https://x", "tortie works without Kubernetes: set "),
        ("etcdUsername: u", "no etcd endpoints .*tortie works without Kubernetes"),
        ("datastoreType: etcdv2\netcdEndpoints: http://a", "^unknown datastore type: etcdv2"),
        ("datastoreType: etcdv3", "^no etcd endpoints specified"),
        ("datastoreType: etcdv3\netcdEndpoints: ','", "^no etcd endpoints specified"),
        (
            "etcdEndpoints: http://a\netcdDiscoverySrv: b",
            '^multiple discovery or bootstrap options specified, use either "etcdEndpoints" or "etcdDiscoverySrv"',
        ),
        (
            "etcdEndpoints: https://a\netcdKeyFile: /k\netcdCert: secret",
            "^Cannot mix inline certificate-key and certificate / key files",
        ),
        ("etcdEndpoints: http://a,https://b", "http and https cannot be mixed"),
        ("etcdEndpoints: http://u:secret@a", "one with a user"),
        ("etcdEndpoints: unix:///run/etcd", "'unix:///run/etcd' must be http://HOST:PORT"),
        ("etcdEndpoints: http://a/path", "must be http://HOST:PORT"),
    ],
)
def test_what_cannot_be_used_is_refused_in_calicoctls_words(spec: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        access_of(spec, tmp_path)
    assert str(tmp_path / "calicoctl.cfg") in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "failed to parse config as YAML/JSON: "),
        ("kind: [", "failed to parse config as YAML/JSON: "),
        ("- kind: x", "failed to parse config as YAML/JSON: "),
        ("kind: CalicoAPIConfig", "invalid config file: unknown APIVersion ''"),
        ("apiVersion: v1\nkind: CalicoAPIConfig", "invalid config file: unknown APIVersion 'v1'"),
        (
            "apiVersion: projectcalico.org/v3\nkind: Node",
            "invalid config file: expected kind 'CalicoAPIConfig', got 'Node'",
        ),
        (f"{HEAD}spec: 7", "failed to parse config as YAML/JSON: spec must be an object"),
        (f"{HEAD}spec: {{etcdEndpoint: x}}", 'failed to parse config as YAML/JSON: unknown field "spec.etcdEndpoint"'),
        (f"{HEAD}status: x", 'failed to parse config as YAML/JSON: unknown field "status"'),
        (f"{HEAD}spec: {{etcdPassword: [secret]}}", "failed to parse config as YAML/JSON: etcdPassword must be text"),
        (f"{HEAD}spec:\n  etcdPassword: 'secret", "failed to parse config as YAML/JSON: "),
        (f"{HEAD}spec:\n  etcdPassword: *secret", "failed to parse config as YAML/JSON: line 5: "),
        (f"{HEAD}spec:\n  etcdPassword: !secret x", "failed to parse config as YAML/JSON: line 5: "),
        (f"{HEAD}spec:\n  etcdPassword: 2001-99-99", "failed to parse config as YAML/JSON: "),
    ],
)
def test_a_file_that_is_none_is_a_syntax_error_without_its_lines(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "calicoctl.cfg"
    file.write_text(text)
    with pytest.raises(UsageError) as refused:
        load(file)
    assert str(refused.value).startswith(f"syntax error in {file}: {words}")
    assert "secret" not in str(refused.value)


def test_the_prefixed_variable_wins_even_when_it_is_empty() -> None:
    variables = {"ETCD_ENDPOINTS": "http://bare", "CALICO_ETCD_ENDPOINTS": "http://prefixed"}
    assert calicoctl.from_environment(variables) == Access(url="etcd://prefixed", named_by="CALICO_ETCD_ENDPOINTS")
    variables |= {"ETCD_USERNAME": "u", "ETCD_PASSWORD": "p", "CALICO_ETCD_PASSWORD": ""}
    access = calicoctl.from_environment(variables)
    assert access is not None
    assert access.credentials == Credentials()


def test_every_variable_counts() -> None:
    access = calicoctl.from_environment(
        {
            "DATASTORE_TYPE": "etcdv3",
            "ETCD_ENDPOINTS": "https://a:2379",
            "ETCD_USERNAME": "u",
            "ETCD_PASSWORD": "p",
            "ETCD_CA_CERT_FILE": "/ca",
            "CALICO_ETCD_CERT_FILE": "/c",
            "ETCD_KEY_FILE": "/k",
            "KUBECONFIG": "/x",
        }
    )
    credentials = Credentials(username="u", password="p", ca_cert_file="/ca", cert_file="/c", key_file="/k")
    assert access == Access(url="etcds://a:2379", credentials=credentials, named_by="ETCD_ENDPOINTS")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DATASTORE_TYPE", "kubernetes", "DATASTORE_TYPE"),
        ("CALICO_DATASTORE_TYPE", "kubernetes", "CALICO_DATASTORE_TYPE"),
        ("DATASTORE_TYPE", "mysql", "^unknown datastore type: mysql"),
        ("DATASTORE_TYPE", "etcdv3", "^no etcd endpoints specified"),
        ("KUBECONFIG", "/x", "KUBECONFIG"),
        ("CALICO_K8S_API_ENDPOINT", "https://x", "CALICO_K8S_API_ENDPOINT"),
    ],
)
def test_an_environment_that_names_no_store_of_ours_is_refused(name: str, value: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        calicoctl.from_environment({name: value})


def test_a_refused_type_is_said_to_come_from_its_own_variable() -> None:
    for value in ("kubernetes", "mysql"):
        with pytest.raises(UsageError, match=r"\(in DATASTORE_TYPE\)"):
            calicoctl.from_environment({"ETCD_ENDPOINTS": "http://a:2379", "DATASTORE_TYPE": value})


def test_credentials_alone_name_nothing() -> None:
    assert calicoctl.from_environment({"ETCD_USERNAME": "u", "ETCD_CA_CERT_FILE": "/ca"}) is None
