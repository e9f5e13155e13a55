"""Names, labels, annotations, and the names that are computed."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.model import names
from tortie.model.names import (
    EndpointName,
    annotation_problems,
    host_interface_name,
    label_problems,
    name_fault,
    parse_endpoint_name,
    suggestion,
)


@pytest.mark.parametrize("name", ["a", "0", "node-1", "node1.example.org", "a--b", "a" * 253, "1.2.3"])
def test_valid_object_names(name: str) -> None:
    assert name_fault(name) == ""


@pytest.mark.parametrize(
    "name", ["A", "-a", "a-", "a..b", ".a", "a.", "a_b", "a/b", "a b", "ä", "a\n", "", "a" * 254, "a.-b"]
)
def test_invalid_object_names(name: str) -> None:
    assert name_fault(name).startswith("must be ")


@given(st.text("a0-.A\n", max_size=12))
def test_object_names_are_dotted_words_with_dashes_inside(name: str) -> None:
    words = name.split(".")
    valid = all(word.strip("-") == word != "" and set(word) <= set("a0-") for word in words)
    assert (name_fault(name) == "") == valid


LABELS = [
    # key, value, which of them is wrong
    ("app", "web", None),
    ("app", "", None),
    ("projectcalico.org/namespace", "default", None),
    ("A_b.c-D", "x.Y_z-1", None),
    ("a" * 63, "b" * 63, None),
    (f"{'d' * 253}/a", "b", None),
    ("a" * 64, "b", "key"),
    (f"{'d' * 254}/a", "b", "key"),
    ("-a", "b", "key"),
    ("a/", "b", "key"),
    ("/a", "b", "key"),
    ("a/b/c", "d", "key"),
    ("Example.org/a", "b", "key"),
    ("a b", "c", "key"),
    ("", "b", "key"),
    ("a", "b" * 64, "value"),
    ("a", "b c", "value"),
    ("a", "b/c", "value"),
    ("a", "-b", "value"),
    ("a", "b\n", "value"),
]


@pytest.mark.parametrize(("key", "value", "wrong"), LABELS)
def test_labels(key: str, value: str, wrong: str | None) -> None:
    offending = {"key": key, "value": value}
    expected = [] if wrong is None else [(f"metadata.labels.{key}", offending[wrong])]
    for beside in ({}, {}, {"beside": "others"}):  # again, when it may be known
        problems = label_problems(beside | {key: value})
        assert [(problem.path, problem.value) for problem in problems] == expected


def test_no_more_labels_are_known_to_be_right_than_there_is_room_for() -> None:
    for number in range(3 * names._MAX_SOUND_LABELS):
        assert not label_problems({"app": "web", "pod": f"pod-{number}"})
        assert label_problems({"app": "web", "pod": "x" * (64 + number)})
        assert len(names._sound_labels) <= names._MAX_SOUND_LABELS
    assert max(len(value) for _, value in names._sound_labels) <= 63


def test_both_parts_of_a_label_may_be_wrong_beside_one_that_is_right() -> None:
    problems = label_problems({"app": "web", "a b": "c d"})
    assert [(problem.path, problem.value) for problem in problems] == [
        ("metadata.labels.a b", "a b"),
        ("metadata.labels.a b", "c d"),
    ]


class TestAnnotations:
    def test_value_is_any_text_and_key_any_case(self) -> None:
        assert not list(annotation_problems({"Example.org/Key": 'any\n"text" ' * 10}))

    def test_key_is_qualified_name(self) -> None:
        assert [problem.path for problem in annotation_problems({"a b": ""})] == ["metadata.annotations.a b"]

    def test_all_together_are_limited(self) -> None:
        half = "ä" * (128 * 1024 // 2)
        assert not list(annotation_problems({"a": half, "b": half[:-2]}))
        assert [problem.path for problem in annotation_problems({"a": half, "b": half})] == ["metadata.annotations"]


ENDPOINT_NAMES = {
    ("node-1", "k8s", "frontend-5gs43", "eth0"): "node--1-k8s-frontend--5gs43-eth0",
    ("node.example.org", "tortie", "web", "eth0"): "node.example.org-tortie-web-eth0",
    ("n1", "openstack", "b7a1c3de-0f2b", "a429fb36-0c11"): "n1-openstack-b7a1c3de--0f2b-a429fb36--0c11",
    ("a--b", "c", "d", "e"): "a----b-c-d-e",
}


class TestEndpointName:
    @pytest.mark.parametrize("parts", ENDPOINT_NAMES)
    def test_doubles_dashes_within_parts(self, parts: tuple[str, str, str, str]) -> None:
        name = EndpointName(*parts)
        assert str(name) == ENDPOINT_NAMES[parts]
        assert parse_endpoint_name(str(name)) == name
        assert name.fault == ""

    @pytest.mark.parametrize(
        "text",
        ["", "-", "a", "a-b-c", "a-b-c-", "a-b-c-d-e", "-a-b-c-d", "a-b-c-d-", "a---b-c-d", "a-b-c-d--", "--a-b-c-d"],
    )
    def test_other_texts_are_no_names(self, text: str) -> None:
        assert parse_endpoint_name(text) is None

    @pytest.mark.parametrize(
        ("parts", "part"),
        [
            (("", "o", "w", "e"), "node"),
            (("n", "-o", "w", "e"), "orchestrator"),
            (("n", "o", "w-", "e"), "workload"),
            (("n", "o", "w", ""), "endpoint"),
        ],
    )
    def test_fault_names_the_part(self, parts: tuple[str, str, str, str], part: str) -> None:
        assert EndpointName(*parts).fault.startswith(part)

    @given(st.tuples(*[st.text(st.sampled_from("ab.-"), min_size=1, max_size=6)] * 4))
    def test_parts_survive_the_text(self, parts: tuple[str, str, str, str]) -> None:
        name = EndpointName(*parts)
        assert parse_endpoint_name(str(name)) == (None if name.fault else name)


class TestHostInterfaceName:
    def test_is_cali_and_the_beginning_of_a_hash(self) -> None:
        expected = "cali" + hashlib.sha1(b"default.web.eth0").hexdigest()[:11]
        assert host_interface_name("default", "web", "eth0") == expected
        assert len(expected) == 15

    def test_never_changes(self) -> None:
        # Interfaces of running workloads are found again by it.
        assert host_interface_name("default", "web", "eth0") == "calide4e752220c"


def test_suggestion() -> None:
    assert suggestion("IPPOOLS", ["ippool", "node"]) == "; did you mean 'ippool'?"
    assert suggestion("asnumber", ["asNumber"]) == "; did you mean 'asNumber'?"
    assert suggestion("zzz", ["ippool", "node"]) == ""
