from __future__ import annotations

from pathlib import Path

import pytest

from tortie.bgp.secrets import read_secret
from tortie.errors import BirdError
from tortie.intent.bgp import SecretRef


def keep(directory: Path, text: str) -> SecretRef:
    (directory / "bgp").mkdir()
    (directory / "bgp" / "rack1").write_text(text)
    return SecretRef("bgp", "rack1")


@pytest.mark.parametrize(("text", "password"), [("s3cret", "s3cret"), ("s3cret\n", "s3cret"), (" a b \n", " a b ")])
def test_is_the_file_without_its_last_newline(tmp_path: Path, text: str, password: str) -> None:
    assert read_secret(tmp_path, keep(tmp_path, text)) == password


@pytest.mark.parametrize("text", ["", "\n", "two\nlines", 'with "quotes"', "x" * 81, "tab\t", "müde", "two\n\n"])
def test_what_bird_cannot_take_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(BirdError, match=rf"password file {tmp_path}/bgp/rack1: 1 to 80 printable") as raised:
        read_secret(tmp_path, keep(tmp_path, text))
    assert not text.strip() or text not in str(raised.value)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    ref = keep(tmp_path, "")
    (tmp_path / "bgp" / "rack1").write_bytes(b"\xff\xfe")
    with pytest.raises(BirdError, match="printable"):
        read_secret(tmp_path, ref)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BirdError, match=rf"password file {tmp_path}/bgp/rack1: No such file.*write the password"):
        read_secret(tmp_path, SecretRef("bgp", "rack1"))


@pytest.mark.parametrize(
    "ref", [("..", "x"), ("a", ".."), ("a/b", "c"), ("", ""), ("a", "../../etc/shadow"), ("a\0", "b")]
)
def test_a_name_cannot_leave_the_directory(tmp_path: Path, ref: tuple[str, str]) -> None:
    with pytest.raises(BirdError, match="letters, digits, dots, dashes only"):
        read_secret(tmp_path, SecretRef(*ref))
