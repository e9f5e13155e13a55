"""The three kinds of patches as functions: the examples of their definitions, and what they refuse."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tortie.cli.patches import Unpatchable, json_patch, merge, strategic


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        # RFC 7386, appendix A.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge(document: Any, patch: Any, expected: Any) -> None:
    assert unchanged(merge.apply, document, patch) == expected


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": 3}}, {"a": {"c": 2, "d": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": [{"name": "x", "v": 1}]}, {"a": [{"name": "x", "w": 2}]}, {"a": [{"name": "x", "w": 2}]}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({}, {"a": {"b": None}}, {"a": {}}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"$patch": "replace", "d": 3}}, {"a": {"d": 3}}),
        ({"a": {"b": 1}, "z": 1}, {"a": {"$patch": "delete"}}, {"a": {}, "z": 1}),
        ({"a": {"b": 1}}, {"a": {"$patch": "merge", "c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"$retainKeys": ["c", "d"], "d": 3}}, {"a": {"c": 2, "d": 3}}),
    ],
)
def test_strategic(document: Any, patch: Any, expected: Any) -> None:
    assert unchanged(strategic.apply, document, patch) == expected


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        ([1], "the patch must be an object with the fields to change"),
        (None, "the patch must be an object with the fields to change"),
        ({"a": {"$patch": "eat"}}, "a: $patch must be merge, replace or delete"),
        ({"a": {"$retainKeys": "b"}}, "a: $retainKeys must be a list of field names"),
        (
            {"a": {"$setElementOrder/b": []}},
            "a.$setElementOrder/b: this directive is for lists that merge, and Calico's resources have none",
        ),
    ],
)
def test_strategic_that_is_none(patch: Any, reason: str) -> None:
    with pytest.raises(Unpatchable) as caught:
        strategic.apply({"a": {}}, patch)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        # RFC 6902, appendix A.
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
        ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "q"}], {"foo": ["bar", "q", "baz"]}),
        ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
        ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
        ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
        (
            {"a": {"b": 1, "c": 2}, "d": {}},
            [{"op": "move", "from": "/a/b", "path": "/d/e"}],
            {"a": {"c": 2}, "d": {"e": 1}},
        ),
        (
            {"foo": ["all", "cows", "eat"]},
            [{"op": "move", "from": "/foo/0", "path": "/foo/2"}],
            {"foo": ["cows", "eat", "all"]},
        ),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1.0}], {"a": 1}),
        ({"foo": "bar"}, [{"op": "add", "path": "/child", "value": {"g": {}}}], {"foo": "bar", "child": {"g": {}}}),
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}], {"foo": "bar", "baz": "qux"}),
        ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
        ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc"]}], {"foo": ["bar", ["abc"]]}),
        # Beyond it.
        (
            {"a": [1]},
            [{"op": "copy", "from": "/a", "path": "/b"}, {"op": "add", "path": "/b/0", "value": 0}],
            {"a": [1], "b": [0, 1]},
        ),
        ({"a": 1}, [{"op": "add", "path": "", "value": {"b": 2}}], {"b": 2}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": 7}], 7),
        ({"a": None}, [{"op": "replace", "path": "/a", "value": None}], {"a": None}),
        ({"a": {"": 1}}, [{"op": "remove", "path": "/a/"}], {"a": {}}),
        ({"a": 1}, [], {"a": 1}),
    ],
)
def test_json_patch(document: Any, patch: Any, expected: Any) -> None:
    assert unchanged(json_patch.apply, document, patch) == expected


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        ({"op": "add"}, "the patch must be a list of operations (RFC 6902)"),
        ([3], "operation 1: must be an object with op and path"),
        ([{"op": "eat", "path": "/a"}], "operation 1 (eat /a): op must be add, remove, replace, move, copy or test"),
        ([{"op": "add", "path": "/b"}], "operation 1 (add /b): value is missing"),
        ([{"op": "add", "path": "b"}], "operation 1 (add b): path must be a JSON pointer, such as /spec/cidr"),
        ([{"op": "add", "path": "/~2"}], "operation 1 (add /~2): path must be a JSON pointer, such as /spec/cidr"),
        ([{"op": "copy", "path": "/b"}], "operation 1 (copy /b): from must be a JSON pointer, such as /spec/cidr"),
        ([{"op": "remove", "path": ""}], "operation 1 (remove ): the whole document cannot be removed"),
        ([{"op": "remove", "path": "/a/7"}], "operation 1 (remove /a/7): there is no such value"),
        ([{"op": "remove", "path": "/a/-"}], "operation 1 (remove /a/-): there is no such value"),
        ([{"op": "remove", "path": "/a/01"}], "operation 1 (remove /a/01): there is no such value"),
        ([{"op": "add", "path": "/a/3", "value": 1}], "operation 1 (add /a/3): there is no such value"),
        ([{"op": "add", "path": "/x/y", "value": 1}], "operation 1 (add /x/y): there is no such value"),
        ([{"op": "add", "path": "/b/y", "value": 1}], "operation 1 (add /b/y): there is no such value"),
        ([{"op": "replace", "path": "/x", "value": 1}], "operation 1 (replace /x): there is no such value"),
        (
            [{"op": "move", "from": "/a", "path": "/a/0"}],
            "operation 1 (move /a/0): a value cannot be moved into itself",
        ),
        ([{"op": "test", "path": "/t", "value": 1}], "operation 1 (test /t): the value there is another"),
        (
            [{"op": "remove", "path": "/t"}, {"op": "test", "path": "/a", "value": [1]}],
            "operation 2 (test /a): the value there is another",
        ),
    ],
)
def test_json_patch_that_cannot_be_done(patch: Any, reason: str) -> None:
    document = {"a": [1, 2], "b": "text", "t": True}
    with pytest.raises(Unpatchable) as caught:
        unchanged(json_patch.apply, document, patch)
    assert str(caught.value) == reason


def unchanged(apply: Callable[[Any, Any], Any], document: Any, patch: Any) -> Any:
    """What `apply` makes, which leaves its arguments as they are, whatever becomes of it."""
    before = copy.deepcopy((document, patch))
    try:
        return apply(document, patch)
    finally:
        assert (document, patch) == before
