"""Values as YAML text: what is said without asking PyYAML is what PyYAML says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.cli import yaml_text

WORDS = (
    "y",
    "Y",
    "n",
    "N",
    "yes",
    "Yes",
    "no",
    "NO",
    "on",
    "off",
    "null",
    "Null",
    "~",
    "true",
    "TRUE",
    "false",
    "e",
    "E1",
)
NUMBERS = (
    "0",
    "1",
    "12",
    "012",
    "089",
    "1_0",
    "0x1f",
    "1.5",
    "1e5",
    "1.5e+3",
    ".5",
    "1:30",
    "+1",
    "-1",
    "123456789012345678",
)
MOMENTS = ("2026-08-22T13:33:20Z", "2026-08-22", "2026-08-22T13:33:20", "9999-99-99T99:99:99Z", "13:33:20")
ADDRESSES = ("10.65.0.1", "10.65.0.0/16", "1.2.3", "1.2.3.4.5", "fd00::1", "::1", "fd00::/64", "02:11:22:33:44:55")
UUIDS = ("0b4b7c2e-5d7c-4a49-9a0c-6f3a2f8a5a11", "00000000-0000-0000-0000-000000000000", "12345678-1234")
NAMES = (
    "Node",
    "node-1",
    "a",
    "ab",
    "a/b",
    "a.b",
    "a-",
    "a.",
    "default.x",
    ".inf",
    ".nan",
    "inf",
    "NaN",
    "<<",
    "=",
    "a:",
    "a: b",
)


@pytest.mark.parametrize("text", [*WORDS, *NUMBERS, *MOMENTS, *ADDRESSES, *UUIDS, *NAMES])
def test_each_text_is_said_as_pyyaml_says_it(text: str) -> None:
    assert yaml_text._text(text) == yaml_text._dumped(text)


@given(st.text(alphabet="yYnNoOfFtTrueal.0123456789-:/eEZxX_+~ ", max_size=12))
def test_any_text_is_said_as_pyyaml_says_it(text: str) -> None:
    assert yaml_text._text(text) == yaml_text._dumped(text)
