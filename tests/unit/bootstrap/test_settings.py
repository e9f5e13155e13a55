"""Where settings come from, which source wins, and what a mistake in them costs."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tortie.access import DEFAULT_URL, Access, Credentials
from tortie.bootstrap import Bootstrap, load
from tortie.errors import UsageError


@pytest.fixture
def usual(tmp_path: Path) -> Path:
    """The place of `/etc/tortie/tortie.toml`."""
    return tmp_path / "etc" / "tortie.toml"


@pytest.fixture
def calicoctl(tmp_path: Path) -> Path:
    """The place of `/etc/calico/calicoctl.cfg`."""
    return tmp_path / "etc" / "calicoctl.cfg"


CALICOCTL = (
    "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n"
    "  datastoreType: etcdv3\n  etcdEndpoints: http://calico:2379\n"
)


def test_without_anything_the_defaults_and_the_hosts_name() -> None:
    loaded = load()
    assert loaded.settings == Bootstrap(node=socket.gethostname().lower())
    assert loaded.settings.access == Access(url=DEFAULT_URL)
    assert loaded.warnings == ()


def test_a_flag_beats_the_environment_beats_the_file(usual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual.write_text('node = "of-file"\nrun_dir = "/of-file"\nstate_dir = "/of-file"\nbird_kernel_metric = 7\n')
    monkeypatch.setenv("TORTIE_NODE", "of-environment")
    monkeypatch.setenv("TORTIE_RUN_DIR", "/of-environment")
    settings = load(None, {"node": "of-flag", "bpffs": None}).settings
    assert (settings.node, settings.run_dir, settings.state_dir) == ("of-flag", "/of-environment", "/of-file")
    assert (settings.bird_kernel_metric, settings.bpffs) == (7, Bootstrap().bpffs)
    assert settings.api_socket == Path("/of-environment/agent.sock")


def test_a_file_that_was_named_is_used_alone(
    tmp_path: Path, usual: Path, calicoctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual.write_text('datastore = "sqlite:///usual.db"\nrun_dir = "/usual"\n')
    calicoctl.write_text(CALICOCTL)
    monkeypatch.setenv("TORTIE_DATASTORE", "sqlite:///environment.db")
    monkeypatch.setenv("TORTIE_STATE_DIR", "/environment")
    monkeypatch.setenv("ETCD_ENDPOINTS", "http://environment:2379")
    named = tmp_path / "named.toml"
    named.write_text('node = "a"\n')
    assert load(named).settings == Bootstrap(node="a", node_named=True)
    named.write_text('datastore = "sqlite:///named.db"\n')
    assert load(named).settings.access == Access(url="sqlite:///named.db", named_by=str(named))


def test_each_source_of_the_datastore_beats_the_next(
    usual: Path, calicoctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named() -> tuple[str, str]:
        access = load(None, flags).settings.access
        return access.url, access.named_by

    flags: dict[str, str] = {"datastore": "sqlite:///flag.db"}
    monkeypatch.setenv("TORTIE_DATASTORE", "sqlite:///environment.db")
    usual.write_text('datastore = "sqlite:///toml.db"\n')
    calicoctl.write_text(CALICOCTL)
    monkeypatch.setenv("CALICO_ETCD_ENDPOINTS", "http://prefixed:2379")
    monkeypatch.setenv("ETCD_ENDPOINTS", "http://bare:2379")
    assert named() == ("sqlite:///flag.db", "a flag")
    flags.clear()
    assert named() == ("sqlite:///environment.db", "TORTIE_DATASTORE")
    monkeypatch.delenv("TORTIE_DATASTORE")
    assert named() == ("sqlite:///toml.db", str(usual))
    usual.unlink()
    assert named() == ("etcd://calico:2379", str(calicoctl))
    calicoctl.unlink()
    assert named() == ("etcd://prefixed:2379", "CALICO_ETCD_ENDPOINTS")
    monkeypatch.delenv("CALICO_ETCD_ENDPOINTS")
    assert named() == ("etcd://bare:2379", "ETCD_ENDPOINTS")
    monkeypatch.delenv("ETCD_ENDPOINTS")
    assert named() == (DEFAULT_URL, "")


def test_credentials_are_merged_one_by_one(usual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual.write_text(
        'datastore = "etcds://a:2379"\n[etcd]\nca_cert_file = "/ca"\nusername = "u"\npassword = "of-file"\n'
    )
    monkeypatch.setenv("TORTIE_ETCD_PASSWORD", "of-environment")
    assert load().settings.access.credentials == Credentials(
        ca_cert_file="/ca", username="u", password="of-environment"
    )


def test_every_credential_has_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORTIE_DATASTORE", "etcds://a:2379,b:2379")
    for name in ("CA_CERT_FILE", "CERT_FILE", "KEY_FILE", "USERNAME", "PASSWORD_FILE"):
        monkeypatch.setenv(f"TORTIE_ETCD_{name}", name.lower())
    loaded = load()
    assert loaded.warnings == ()
    assert loaded.settings.access.credentials == Credentials(
        ca_cert_file="ca_cert_file",
        cert_file="cert_file",
        key_file="key_file",
        username="username",
        password_file="password_file",
    )


def test_credentials_never_go_to_a_store_of_another_source(
    calicoctl: Path, usual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calicoctl.write_text(CALICOCTL)
    usual.write_text('[etcd]\nusername = "u"\npassword = "secret"\n')
    loaded = load()
    assert loaded.settings.access == Access(url="etcd://calico:2379", named_by=str(calicoctl))
    assert loaded.warnings == (f"tortie's own etcd credentials are ignored: {calicoctl} names the datastore",)


def test_an_unknown_key_is_a_warning_that_names_its_place(usual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual.write_text('nodename = "x"\ndatastore_fault = "x"\n[etcd]\npasword = "secret"\nca_cert = "PEM"\n')
    monkeypatch.setenv("TORTIE_DATASTOR", "sqlite:///x")
    monkeypatch.setenv("TORTIE_ETCD_PASS", "secret")
    assert load().warnings == (
        f"{usual}: datastore_fault is not a setting of tortie: ignored",
        f"{usual}: etcd.ca_cert is not a setting of tortie: ignored",
        f"{usual}: etcd.pasword is not a setting of tortie: ignored",
        f"{usual}: nodename is not a setting of tortie: ignored",
        "environment: TORTIE_datastor is not a setting of tortie: ignored",
        "environment: TORTIE_etcd_pass is not a setting of tortie: ignored",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("node = ", "cannot be read"),
        ("node = 7", "node"),
        ('bird_kernel_metric = "many"', "bird_kernel_metric"),
        ("\udcff", "cannot be read"),
        ('etcd = "x"', "etcd"),
        ("[etcd]\npassword = 7", r"etcd\.password"),
        ('datastore = "etcd://user:secret@host"', "must hold no user or password"),
        ('datastore = "etcd://h"\n[etcd]\npassword = "secret"', "username"),
        ('datastore = "etcd://h"\n[etcd]\nusername = "u"', "password"),
        ('datastore = "etcd://h"\n[etcd]\nusername = "u"\npassword = "secret"\npassword_file = "/f"', "keep one"),
        ('datastore = "etcds://h"\n[etcd]\ncert_file = "/c"', "both"),
    ],
)
def test_what_cannot_be_used_is_an_error_without_the_secret(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "named.toml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=words) as refused:
        load(file)
    assert "secret" not in str(refused.value)


def test_certificates_that_an_url_does_not_use_are_a_warning(usual: Path) -> None:
    usual.write_text('datastore = "etcd://h:2379"\n[etcd]\nca_cert_file = "/ca"\n')
    (warning,) = load().warnings
    assert "etcds://" in warning


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load(tmp_path / "nowhere.toml")


def test_numbers_of_the_environment_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORTIE_BIRD_KERNEL_METRIC", "0")
    assert load().settings.bird_kernel_metric == 0


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORTIE_DATASTORE", "")
    assert load().settings.access == Access()


def test_passwords_are_in_no_repr(usual: Path) -> None:
    usual.write_text('datastore = "etcds://h"\n[etcd]\nusername = "u"\npassword = "secret"\n')
    settings = load().settings
    assert settings.access.credentials.password == "secret"
    assert "secret" not in repr(settings) + repr(settings.access) + repr(load())


def test_what_needs_no_datastore_works_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/home/u/.kube/config")
    settings = load().settings
    assert settings.api_socket == Path("/run/tortie/agent.sock")
    with pytest.raises(UsageError, match="KUBECONFIG"):
        _ = settings.access


def test_settings_load_without_yaml() -> None:
    """PyYAML would be a sixth of a command's start."""
    script = "import sys, tortie.bootstrap; tortie.bootstrap.load(); print('yaml' in sys.modules)"
    environment = {"PATH": "/usr/bin:/bin", "TORTIE_DATASTORE": "sqlite:///x"}
    said = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"
