"""JSONPath: kubectl's dialect, what is wrong in one sentence, and bounds."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.cli.jsonpath import JsonPath, JsonPathError, evaluate

ROOT: Any = {
    "kind": "List",
    "items": [
        {
            "kind": "None",
            "metadata": {"name": "127.0.0.1", "labels": {"app.kubernetes.io/name": "x"}},
            "status": {"capacity": {"cpu": "4"}, "addresses": [{"type": "Legacy", "address": "127.0.0.1"}]},
        },
        {
            "kind": "None",
            "metadata": {"name": "127.0.0.2"},
            "status": {
                "capacity": {"cpu": "8"},
                "addresses": [{"type": "Legacy", "address": "127.0.0.2"}, {"type": "another", "address": "127.0.0.3"}],
            },
        },
    ],
    "users": [
        {"name": "myself", "user": {}, "n": 1, "on": True},
        {"name": "e2e", "user": {"username": "admin", "password": "secret"}, "n": 2, "on": False, "nets": ["a", "b"]},
    ],
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        # kubectl's documentation
        ("kind is {.kind}", "kind is List"),
        ("{['kind']}", "List"),
        ("{..name}", "127.0.0.1 127.0.0.2 myself e2e"),
        ("{.items[*].metadata.name}", "127.0.0.1 127.0.0.2"),
        ("{.users[0].name}", "myself"),
        (
            "{.items[*]['metadata.name', 'status.capacity']}",
            '127.0.0.1 127.0.0.2 {"cpu":"4"} {"cpu":"8"}',
        ),
        ('{.users[?(@.name=="e2e")].user.password}', "secret"),
        (
            "{range .items[*]}[{.metadata.name}, {.status.capacity}] {end}",
            '[127.0.0.1, {"cpu":"4"}] [127.0.0.2, {"cpu":"8"}] ',
        ),
        ("{range .items[*]}{.metadata.name}{'\\t'}{end}", "127.0.0.1\t127.0.0.2\t"),
        ("{.items[0].metadata.labels.app\\.kubernetes\\.io/name}", "x"),
        ("{.items[0].metadata.labels['app\\.kubernetes\\.io/name']}", "x"),
        # Elements
        ("{.users[-1].name} {.users[0:1].name} {.users[:].name} {.users[1:].name}", "e2e myself myself e2e e2e"),
        ("{.users[0,1].name} {.users[::2].name} {.users[1:1].name}", "myself e2e myself "),
        ("{.users.*.n}", "1 2"),
        # Filters
        ("{.users[?(@.n>1)].name} {.users[?(@.n<=1)].name} {.users[?(@.n!=1)].name}", "e2e myself e2e"),
        ("{.users[?(@.on==true)].name} {.users[?(@.user.username)].name}", "myself e2e"),
        ("{.users[?(@.name=='e2e')].n}{.users[?(.name == \"e2e\")].n}", "22"),
        ('{.users[1].nets[?(@=="b")]}', "b"),
        ("{.users[?(@.name=='a)] b')].n}", ""),
        # Ranges within ranges, and what follows them
        (
            "{range .items[*]}{range .status.addresses[*]}{.address},{end};{end}{.kind}",
            "127.0.0.1,;127.0.0.2,127.0.0.3,;List",
        ),
        ("{range .nothing[*]}a{end}b", "b"),
        # Values
        ("{.users[*].user}", '{} {"password":"secret","username":"admin"}'),
        ("{.users[0].n} {.users[0].on}", "1 true"),
        ('{true}{1}{1.5}{"a\\"b\\n"}', 'true11.5a"b\n'),
        ("{.nope} {.kind.nope} {.nope.more[0]}", "  "),
        ("{$.kind} {@.kind} { .kind }", "List List List"),
        # Without braces: kubectl prints the path itself, which nobody wants.
        (".kind", "List"),
        ("just text", "just text"),
    ],
)
def test_what_templates_say(template: str, text: str) -> None:
    assert JsonPath(template).render(ROOT) == text


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{", "column 2: unclosed action: expected }"),
        ("{.a", "column 4: unclosed action: expected }"),
        ("{range .x}", "column 11: {range} without {end}"),
        ("{end}", "column 6: {end} without {range}"),
        ("{foo}", "column 5: unrecognized identifier foo"),
        ("{.users[}", "column 9: invalid array index"),
        ("{.users[0}", "column 10: unterminated array: expected ]"),
        ("{.users[::0]}", "column 12: step must be > 0"),
        ("{.users[?(@.n)}", "column 14: unterminated filter: expected )]"),
        ("{.users[?(@.name=~'e')]}", "column 17: unrecognized filter operator =~: there are == != < <= > >="),
        ("{.users[?()]}", "column 11: a filter needs a path, or a comparison"),
        ("{'a}", "column 2: unterminated quoted string"),
        ("{....name}", "column 6: invalid multiple recursive descent"),
        ("{.users[9]}", "array index out of bounds: index 9, length 2"),
        ("{.kind[0]}", "List is not a list and has no elements"),
        ("{.kind[?(@.x)]}", "List is not a list and cannot be filtered"),
        ("{.users[?(@.n=='1')].name}", "incompatible types for comparison: 1 is a number, 1 is text"),
    ],
)
def test_what_is_wrong_is_one_sentence(template: str, sentence: str) -> None:
    with pytest.raises(JsonPathError) as caught:
        JsonPath(template).render(ROOT)
    assert str(caught.value) == f"jsonpath: {sentence}"


@pytest.mark.parametrize("template", ["{[" + "*," * 400 + "*][" + "*," * 400 + "*]}", "{..*" + "..*" * 40 + "}"])
def test_no_template_looks_at_everything_for_ever(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "MAX_VALUES", 100_000)
    deep: Any = {}
    for _ in range(40):
        deep = {"a": deep, "b": [deep]}
    with pytest.raises(JsonPathError, match="too many values"):
        JsonPath(template).render([[1] * 2000, deep])


PIECES = st.sampled_from(
    [
        *("{", "}", "[", "]", "(", ")", "?(", "@", "$", ".", "..", "*", ",", ":", "'", '"', "\\", " ", "\n"),
        *("range", "end", "true", "kind", "items", "name", "0", "-1", "1.5", "==", "<", "=~", "&&", ".users", "é"),
    ]
)


@given(st.lists(PIECES, max_size=15).map("".join) | st.text(max_size=30))
def test_no_text_is_more_than_an_error(text: str) -> None:
    for template in (text, f"{{{text}}}", f"{{.users[{text}]}}", f"{{range .items[*]}}{{{text}}}{{end}}"):
        with suppress(JsonPathError):
            JsonPath(template).render(ROOT)
