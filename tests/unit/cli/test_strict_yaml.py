"""YAML and JSON: what is understood, and what is refused with its place."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tortie.cli import strict_yaml
from tortie.cli.strict_yaml import Malformed, read


def values(text: str) -> list[Any]:
    return [document.value for document in read(text)]


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        # Where the versions of YAML and JSON agree.
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-7", -7),
        ("18446744073709551616", 2**64),
        ("0xffff0000", 0xFFFF0000),
        ("1.5", 1.5),
        ("1.5e+3", 1500.0),
        # Where they do not: text, as written.
        ("no", "no"),
        ("yes", "yes"),
        ("On", "On"),
        ("y", "y"),
        ("007", "007"),
        ("0755", "0755"),
        ("0o17", "0o17"),
        ("0b101", "0b101"),
        ("1_000", "1_000"),
        ("1e5", "1e5"),
        ("12e34567", "12e34567"),
        ("12:30:45", "12:30:45"),
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z"),
        (".inf", ".inf"),
        ("NaN", "NaN"),
        ("9" * 5000, "9" * 5000),
        # What this program is about.
        ("10.65.0.0/16", "10.65.0.0/16"),
        ("10.65", 10.65),
        ("::1", "::1"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
        ("02:11:22:33:44:55", "02:11:22:33:44:55"),
        ("11:22:33:44:55:06", "11:22:33:44:55:06"),
        ("rack == 'r1'", "rack == 'r1'"),
        ("=", "="),
    ],
)
def test_a_bare_word_changes_its_meaning_only_where_everybody_agrees(word: str, meaning: object) -> None:
    [value] = values(f"field: {word}\n")
    assert value == {"field": meaning}
    assert type(value["field"]) is type(meaning)


@pytest.mark.parametrize("word", ["'true'", '"true"', "!!str true", "! true"])
def test_quotes_and_the_tag_of_text_make_text(word: str) -> None:
    assert values(f"field: {word}") == [{"field": "true"}]


def test_the_name_of_a_field_is_text_as_written() -> None:
    assert values("1: a\nno: b\nnull: c\n2026-01-31: d\n1.10: e") == [
        {"1": "a", "no": "b", "null": "c", "2026-01-31": "d", "1.10": "e"}
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# a comment\n", []),
        ("---\n---\na: 1\n---\n", [None, {"a": 1}, None]),
        ("\ufeffa: 1", [{"a": 1}]),
        ("a: |\n  1\n  2\n", [{"a": "1\n2\n"}]),
        ("a: &x {b: 1}\nc: *x\n", [{"a": {"b": 1}, "c": {"b": 1}}]),
        ("a: &x 1\n&y b: [*x, *y]\n", [{"a": 1, "b": [1, "b"]}]),
        ("base: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\n", [{"base": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}]),
        ("d: {<<: [{a: 1, b: 1}, {a: 2}]}\n", [{"d": {"a": 1, "b": 1}}]),
        ("'<<': 1", [{"<<": 1}]),
        ('{"a":\t1e5, "b": "\\/\\ud83d\\ude00"}', [{"a": 100000.0, "b": "/\U0001f600"}]),
        ('{\n\t"a": [true, null]\n}', [{"a": [True, None]}]),
        ('{"a": 1}\n---\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        ("{a: no}", [{"a": "no"}]),
    ],
)
def test_documents(text: str, expected: list[Any]) -> None:
    assert values(text) == expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\na: 2\n", 'document 1, line 2, column 1: field "a" stands twice in one object'),
        ("b:\n  c: 1\n  'c': 2\n", 'document 1, line 3, column 3: field "c" stands twice in one object'),
        ('{"a": 1,\n "a": 2}', 'document 1, line 2, column 2: field "a" stands twice in one object'),
        ("a: [1,\n", "document 1, line 2, column 1: did not find expected node content"),
        ("a: b: c\n", "document 1, line 1, column 5: mapping values are not allowed in this context"),
        ("gateway: fe80::\n", "document 1, line 1, column 15: mapping values are not allowed in this context"),
        ("a: 1\n---\nb:\n\t- c\n", "document 2, line 4, column 1: found character that cannot start any token"),
        ("a: 1\n---\n'b\n", "document 2, line 4, column 1: found unexpected end of stream"),
        ("a: *b\n", "document 1, line 1, column 4: there is no anchor &b before this alias"),
        ("a: &b [*b]\n", "document 1, line 1, column 8: alias *b repeats the value that it is in"),
        ("a: &b 1\n---\na: *b\n", "document 2, line 3, column 4: there is no anchor &b before this alias"),
        ("<<: 1\n", "document 1, line 1, column 5: << must name an object, or a list of objects"),
        ("? [a]\n: b\n", "document 1, line 1, column 3: the name of a field must be text"),
        ("a: !!binary aGk=\n", "document 1, line 1, column 4: tag tag:yaml.org,2002:binary is not supported"),
        (
            "!!python/object/apply:os.system [ls]",
            "document 1, line 1, column 1: tag tag:yaml.org,2002:python/object/apply:os.system is not supported",
        ),
        (
            "a: !!timestamp 2026-01-31\n",
            "document 1, line 1, column 4: tag tag:yaml.org,2002:timestamp is not supported",
        ),
        ("\x7fELF\x02\x01\x00", "line 1, column 1: control character 0x7f: this is no text"),
        ("a: b\nc: d\x00\n", "line 2, column 5: control character 0x00: this is no text"),
        ("[" * 900, "document 1, line 1, column 101: nested more than 100 levels deep"),
        ("{a: " * 900, "document 1, line 1, column 401: nested more than 100 levels deep"),
        ("- " * 200_000, "document 1, line 1, column 201: nested more than 100 levels deep"),
        ('a: "\\ud800"', "document 1, line 1, column 7: found invalid Unicode character escape code"),
    ],
)
def test_a_fault_has_its_place(text: str, fault: str) -> None:
    with pytest.raises(Malformed) as caught:
        read(text)
    assert str(caught.value) == fault


def test_repetition_by_aliases_is_bounded() -> None:
    levels = "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    began = time.monotonic()
    with pytest.raises(Malformed, match="aliases repeat more than 100000 values"):
        read(f"a0: &a0 [{','.join('x' * 9)}]\n{levels}")
    assert time.monotonic() - began < 5


def test_repetition_by_merging_is_bounded() -> None:
    fields = ", ".join(f"f{i}: 1" for i in range(1000))
    with pytest.raises(Malformed, match="aliases repeat more than 100000 values"):
        read(f"base: &b {{{fields}}}\n" + "".join(f"m{i}: {{<<: *b}}\n" for i in range(200)))


@pytest.mark.parametrize("text", ["- a\n" * 11, "[" + "1," * 11 + "1]", '{"a": [' + "1,\n" * 6 + "1]}"])
def test_the_number_of_values_is_bounded(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_yaml, "MAX_LINES_AND_ITEMS", 10)
    with pytest.raises(Malformed, match="holds more than 10 lines and items: divide it"):
        read(text)


def test_a_document_tells_its_line() -> None:
    assert [(document.number, document.line) for document in read("# c\na: 1\n---\n\nb: 1\n---\n- c\n")] == [
        (1, 2),
        (2, 5),
        (3, 7),
    ]


def test_json_beyond_pythons_limits_is_no_crash() -> None:
    assert values('{"a": ' + "9" * 5000 + "}") == [{"a": "9" * 5000}]
    with pytest.raises(Malformed, match="nested more than 100 levels deep"):
        read('{"a":' * 5000 + "1" + "}" * 5000)
