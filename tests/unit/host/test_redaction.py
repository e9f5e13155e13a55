"""What is a secret, and that it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tortie.host.redaction import (
    REMOVED,
    Redactor,
    bird_passwords,
    is_secretive,
    secret_files_in,
    secrets_in,
    secrets_in_lines,
    without_secrets,
)


@pytest.mark.parametrize(
    "key", ["password", "etcdPassword", "etcdKey", "key", "tls_key", "token", "clientSecret", "passphrase", "private"]
)
def test_secretive_keys(key: str) -> None:
    assert is_secretive(key)


@pytest.mark.parametrize("key", ["node", "etcdKeyFile", "password_file", "secretKeyRef", "datastore", "keys", "monkey"])
def test_other_keys(key: str) -> None:
    assert not is_secretive(key)


def test_a_document_without_its_secrets() -> None:
    document = {
        "a": {"password": "s3cret", "node": "n"},
        "passwords": {"alice": "w0nder", "name": "shown"},
        "keys": [{"key": "-----BEGIN"}],
        "token": ["t0ken"],
    }
    assert without_secrets(document) == {
        "a": {"password": REMOVED, "node": "n"},
        "passwords": {"alice": REMOVED, "name": "shown"},
        "keys": [{"key": REMOVED}],
        "token": REMOVED,
    }
    assert set(secrets_in(document)) == {"s3cret", "w0nder", "-----BEGIN", "t0ken"}


def test_only_what_is_known_is_shown() -> None:
    document = {"node": "n", "pasword": "s3cret-too", "odd": ["eth0", {"y": "long enough"}]}
    shown = frozenset({"node"})
    assert without_secrets(document, shown) == {"node": "n", "pasword": REMOVED, "odd": REMOVED}
    assert set(secrets_in(document, shown)) == {"s3cret-too", "long enough"}


def test_passwords_of_urls() -> None:
    assert list(secrets_in({"endpoints": ["https://u:pa55@h:2379", "https://h:2379"]})) == ["pa55"]


def test_a_reference_to_a_secret_stays_but_for_its_key() -> None:
    password = {"password": {"secretKeyRef": {"name": "bgp", "key": "tor"}}}
    assert without_secrets(password) == {"password": {"secretKeyRef": {"name": "bgp", "key": REMOVED}}}


def test_files_that_hold_secrets() -> None:
    document = {"etcdKeyFile": "/a", "etcdCertFile": "/b", "tls": {"password_file": "/c"}}
    assert list(secret_files_in(document)) == [Path("/a"), Path("/c")]


def test_secrets_of_a_file_that_cannot_be_read() -> None:
    assert secrets_in_lines('node = "n"\npassword = "s3cret\n  etcdPassword: other\n') == ["s3cret", "other"]


def test_passwords_of_bird() -> None:
    assert bird_passwords('protocol bgp a { password "one"; }\nprotocol bgp b { password  "two"; }') == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it is top-secret here", f"it is {REMOVED} here"),
        ('{"x": "quo\\"te\\u00e9"}', f'{{"x": "{REMOVED}"}}'),
        ("https://h/?p=quo%22te%C3%A9", f"https://h/?p={REMOVED}"),
        ("second line of a key", f"{REMOVED} of a key"),
        ('password "unknown";', f'password "{REMOVED}";'),
        ('{"etcdPassword": "unknown"}', f'{{"etcdPassword": "{REMOVED}"}}'),
        ("password = unknown;", f"password = {REMOVED};"),
        ("the password file is missing", "the password file is missing"),
        ("etcd://user:unknown@host:2379", f"etcd://{REMOVED}@host:2379"),
        ("a\n-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----\nb", f"a\n{REMOVED}\nb"),
        ("-----BEGIN PRIVATE KEY-----\ncut off", REMOVED),
        ("nothing of it abc", "nothing of it abc"),
    ],
)
def test_texts(text: str, expected: str) -> None:
    assert Redactor(["top-secret", 'quo"teé', "first line\nsecond line", "abc"])(text) == expected
