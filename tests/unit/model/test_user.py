"""Documents of users: everything wrong is said at once, and an update loses nothing it does not know."""

from __future__ import annotations

import copy
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.model.documents import SPECS, TIME, UID, document, json_values, key, spoiled_documents
from tortie.errors import InvalidResource, Problem
from tortie.model import Resource, ResourceKey, from_store, from_user, identify, stamped, to_store, unknown_fields


def stored(body: dict[str, Any], kind: str) -> Resource[Any]:
    resource = from_store(key(kind), msgspec.json.encode(body), 7)
    assert isinstance(resource, Resource), resource
    return resource


def problems(body: Any, was: Resource[Any] | None = None) -> tuple[Problem, ...]:
    with pytest.raises(InvalidResource) as caught:
        from_user(body, stored=was)
    return caught.value.problems


def places(body: Any, was: Resource[Any] | None = None) -> list[str]:
    return [problem.path for problem in problems(body, was)]


@pytest.mark.parametrize("kind", SPECS)
class TestEveryKind:
    def test_its_example_is_taken(self, kind: str) -> None:
        resource = from_user(document(kind))
        assert resource.key == key(kind)
        assert resource.spec == stored(document(kind), kind).spec

    def test_an_unknown_field_is_an_error(self, kind: str) -> None:
        body = document(kind)
        body["newPart"] = 1
        body["metadata"]["newMeta"] = 1
        body["spec"]["newField"] = 1
        assert set(places(body)) == {"newPart", "metadata.newMeta", "spec.newField"}

    def test_an_unknown_field_that_the_stored_object_has_is_kept(self, kind: str) -> None:
        body = document(kind)
        body["newPart"] = {"a": 1}
        body["metadata"]["newMeta"] = "x"
        body["spec"]["newField"] = 1
        was = stored(body, kind)
        again = from_user(copy.deepcopy(body) | {"spec": {**body["spec"], "newField": 2}}, stored=was)
        assert set(unknown_fields(again)) == {"newPart", "metadata.newMeta", "spec.newField"}
        assert msgspec.json.decode(to_store(again)) == body | {"spec": {**body["spec"], "newField": 2}}

    def test_an_update_that_does_not_mention_an_unknown_field_keeps_it(self, kind: str) -> None:
        body = document(kind)
        body["newPart"] = {"a": 1}
        body["spec"]["newField"] = {"b": [2]}
        again = from_user(document(kind), stored=stored(body, kind))
        assert msgspec.json.decode(to_store(again)) == body


WRONG: dict[str, tuple[str, dict[str, Any], str, str, str]] = {
    # case: kind, fields of the spec; path, value and reason of the one problem
    "misspelt field": ("Node", {"bgp": {"asNumbr": 1}}, "spec.bgp.asNumbr", "", "did you mean 'asNumber'?"),
    "text for a number": ("IPPool", {"blockSize": "26"}, "spec.blockSize", "26", "whole number, without quotes"),
    "fraction for a text": ("WorkloadEndpoint", {"node": 1.5}, "spec.node", "1.5", "must be lower-case letters"),
    "fraction for a number": ("IPPool", {"blockSize": 26.0}, "spec.blockSize", "26.0", "must be a whole number"),
    "text for a boolean": ("IPPool", {"disabled": "true"}, "spec.disabled", "true", "true or false, without quotes"),
    "number for a boolean": ("IPPool", {"disabled": 1}, "spec.disabled", "1", "must be true or false"),
    "one for a list": ("IPPool", {"allowedUses": "Tunnel"}, "spec.allowedUses", "text", "must be a list"),
    "null in a list": ("IPPool", {"allowedUses": [None]}, "spec.allowedUses[0]", "null", "must be one of"),
    "object in a list": ("BGPPeer", {"filters": [{}]}, "spec.filters[0]", "an object", "must be lower-case"),
    "list for an object": ("Node", {"bgp": []}, "spec.bgp", "a list", "must be an object"),
    "missing field": ("IPPool", {"cidr": None}, "spec.cidr", "", "is required"),
    "missing in a list": (
        "BGPConfiguration",
        {"communities": [{"value": "1:2"}]},
        "spec.communities[0].name",
        "",
        "required",
    ),
    "wrong family": ("Node", {"bgp": {"ipv4Address": "fd00::1/64"}}, "spec.bgp.ipv4Address", "fd00::1/64", "IPv4"),
    "word in lower case": ("IPPool", {"ipipMode": "always"}, "spec.ipipMode", "always", "Always, CrossSubnet, Never"),
    "out of range": ("BGPConfiguration", {"listenPort": 70000}, "spec.listenPort", "70000", "from 1 to 65535"),
    "interface name": ("WorkloadEndpoint", {"interfaceName": "x" * 16}, "spec.interfaceName", "x" * 16, "1 to 15"),
    "selector": ("IPPool", {"nodeSelector": "a = 'b'"}, "spec.nodeSelector", "a = 'b'", "at column 3"),
    "global()": ("IPPool", {"nodeSelector": "global()"}, "spec.nodeSelector", "global()", "namespaceSelector"),
    "label value": ("Profile", {"labelsToApply": {"a": 1.1}}, "spec.labelsToApply.a", "1.1", "put it in quotes"),
    "duration": ("BGPPeer", {"keepaliveTime": 30}, "spec.keepaliveTime", "30", 'such as "30s"'),
}


@pytest.mark.parametrize("case", WRONG)
def test_one_fault_is_one_problem_with_its_place(case: str) -> None:
    kind, fields, path, value, reason = WRONG[case]
    (problem,) = problems(document(kind, **fields))
    assert (problem.path, problem.value) == (path, value)
    assert reason in problem.reason


HEADS: dict[str, tuple[Any, list[str]]] = {
    "nothing": (None, [""]),
    "a list": ([], [""]),
    "empty": ({}, ["kind", "apiVersion"]),
    "no kind": ({"apiVersion": "projectcalico.org/v3"}, ["kind"]),
    "unknown kind": ({"kind": "IPool", "apiVersion": "projectcalico.org/v3"}, ["kind"]),
    "kind is a list": ({"kind": [1], "apiVersion": "projectcalico.org/v3"}, ["kind"]),
    "other version": ({"kind": "Node", "apiVersion": "v1"}, ["apiVersion"]),
    "no name": ({"kind": "Node", "apiVersion": "projectcalico.org/v3"}, ["metadata.name"]),
    "name is a fraction": (document("Node") | {"metadata": {"name": 1.5}}, ["metadata.name"]),
    "time is none": (
        document("Node") | {"metadata": {"name": "a", "creationTimestamp": "soon"}},
        ["metadata.creationTimestamp"],
    ),
    "name in capitals": (document("Node") | {"metadata": {"name": "Node-A"}}, ["metadata.name"]),
    "generated name": (
        document("Node") | {"metadata": {"generateName": "n-"}},
        ["metadata.generateName", "metadata.name"],
    ),
    "metadata is a text": (document("Node") | {"metadata": "n"}, ["metadata", "metadata.name"]),
    "namespace of a global kind": (
        document("Node") | {"metadata": {"name": "n", "namespace": "x"}},
        ["metadata.namespace"],
    ),
    "bad label": (document("Node") | {"metadata": {"name": "n", "labels": {"a b": "c"}}}, ["metadata.labels.a b"]),
    "version is no number": (
        document("Node") | {"metadata": {"name": "n", "resourceVersion": "x"}},
        ["metadata.resourceVersion"],
    ),
    "status": (document("Node") | {"status": {"podCIDRs": 1}}, ["status.podCIDRs"]),
    "status of a kind without": (document("Profile") | {"status": {}}, ["status"]),
}


@pytest.mark.parametrize("case", HEADS)
def test_heads(case: str) -> None:
    body, expected = HEADS[case]
    assert places(body) == expected


def test_all_faults_are_told_at_once() -> None:
    body = document("IPPool", cidr="10.65.0.1/16", natOutgoin=True)
    body["metadata"] = {"name": "Pool", "labels": {"version": 1.1}}
    body["extra"] = 1
    assert set(places(body)) == {"metadata.name", "metadata.labels.version", "extra", "spec.natOutgoin", "spec.cidr"}


def test_broken_rules_are_told_beside_faults_of_metadata() -> None:
    body = document("IPPool", cidr="169.254.0.0/16", blockSize=8)
    body["metadata"] = {"name": "Pool", "labels": {"version": 1.1}}
    assert set(places(body)) == {"metadata.name", "metadata.labels.version", "spec.cidr", "spec.blockSize"}


def test_broken_rules_are_told_beside_values_out_of_range() -> None:
    assert set(places(document("IPPool", ipipMode="always", blockSize=8))) == {"spec.ipipMode", "spec.blockSize"}
    rules = [{"action": "Accept", "priority": 0}, {"action": "Accept", "cidr": "10.0.0.0/8"}]
    operations = [{"setPriority": {"value": 1}}]
    misspelt = [{"action": "reject", "operations": operations}, {"action": "Reject", "operations": operations}]
    assert set(places(document("BGPFilter", exportV4=rules, importV6=misspelt))) == {
        "spec.exportV4[0].priority",
        "spec.exportV4[1].matchOperator",
        "spec.importV6[0].action",
        "spec.importV6[1].operations",
    }


@pytest.mark.parametrize(
    ("kind", "fields", "path"),
    [
        ("BGPPeer", {"peerIP": "router"}, "spec.peerIP"),  # reachableBy needs peerIP
        ("Node", {"bgp": {"ipv4Address": "fd00::1/64"}}, "spec.bgp.ipv4Address"),  # bgp must not be empty
        ("WorkloadEndpoint", {"containerID": "-"}, "spec.containerID"),  # the name follows from the spec
        (
            "BGPFilter",
            {"exportV4": [{"action": "Accept", "cidr": "x", "matchOperator": "In"}]},
            "spec.exportV4[0].cidr",
        ),
        ("IPPool", {"allowedUses": ["Service"], "disableBGPExport": True}, "spec.allowedUses[0]"),
    ],
)
def test_a_value_out_of_range_is_not_also_missing(kind: str, fields: dict[str, Any], path: str) -> None:
    assert places(document(kind, **fields)) == [path]


@pytest.mark.parametrize(
    ("field", "value"), [("mac", "x"), ("node", "N"), ("ipNetworks", "10.65.0.24"), ("newField", 1)]
)
def test_a_name_that_would_follow_from_the_spec_is_not_missing(field: str, value: object) -> None:
    body = document("WorkloadEndpoint", ipNATs=None) | {"metadata": {}}
    body["spec"][field] = value
    assert places(body) == [f"spec.{field}"]


def test_a_misspelt_field_is_not_also_missing() -> None:
    assert places(document("BGPPeer", peerIP=None, peerIPs="192.0.2.1")) == ["spec.peerIPs"]


def test_the_error_names_the_object() -> None:
    with pytest.raises(InvalidResource) as caught:
        from_user(document("WorkloadEndpoint", mac="x"))
    assert caught.value.subject == "WorkloadEndpoint(default/node--1-cni-3f2a9c41d7be-eth0)"


def test_no_password_is_quoted() -> None:
    for password in ("hunter2", {"hunter2": "hunter2"}, {"secretKeyRef": "hunter2"}, {"secretKeyRef": ["hunter2"]}):
        found = problems(document("BGPPeer", password=password))
        assert not [problem for problem in found if problem.value == "hunter2" or "hunter2" in problem.reason]


class TestAsCalicoReads:
    """What a reader of YAML and Go's decoder make of what a user wrote, calicoctl's users rely on."""

    def test_names_of_fields_in_other_capitals(self) -> None:
        body = document("IPPool", cidr=None, CIDR="10.65.0.0/16", blockSize=None, BlockSize=27)
        body["Metadata"] = body.pop("metadata")
        body["SPEC"] = body.pop("spec")
        resource = from_user(body)
        assert (resource.key.name, str(resource.spec.cidr), resource.spec.block_size) == ("pool-a", "10.65.0.0/16", 27)
        assert not {"CIDR", "BlockSize"} & resource.document["spec"].keys()

    def test_deep_inside_too(self) -> None:
        rule = {"Action": "Accept", "cidr": "10.0.0.0/8", "matchoperator": "In", "prefixlength": {"MIN": 24}}
        (read,) = from_user(document("BGPFilter", exportV4=[rule])).spec.export_v4
        assert (read.match_operator, read.prefix_length.min) == ("In", 24)

    def test_not_beside_the_right_name(self) -> None:
        assert places(document("IPPool", blocksize=27)) == ["spec.blocksize"]

    def test_keys_of_maps_are_no_names_of_fields(self) -> None:
        body = document("Node")
        body["metadata"]["labels"] = {"Rack": "a", "rack": "b"}
        assert from_user(body).metadata.labels == {"Rack": "a", "rack": "b"}

    def test_whole_numbers_and_booleans_for_texts(self) -> None:
        body = document("Node", orchRefs=[{"nodeName": 7, "orchestrator": True}])
        body["metadata"] |= {"name": 1, "labels": {"zone": 3, "gpu": False, "empty": None}}
        resource = from_user(body)
        assert (resource.key.name, resource.spec.orch_refs[0].node_name) == ("1", "7")
        assert resource.spec.orch_refs[0].orchestrator == "true"
        assert resource.document["metadata"]["labels"] == {"zone": "3", "gpu": "false", "empty": ""}

    def test_no_text_for_a_number(self) -> None:
        assert places(document("BGPPeer", reachableBy=1, ttlSecurity="1")) == ["spec.reachableBy", "spec.ttlSecurity"]


class TestYaml:
    """What a YAML reader makes of a file that is no JSON."""

    def test_times_are_text(self) -> None:
        body = document("Node")
        body["metadata"] |= {
            "creationTimestamp": datetime(2026, 8, 22, 13, 33, 20, tzinfo=UTC),
            "labels": {"since": date(2026, 8, 22)},
        }
        assert from_user(body).metadata.labels == {"since": "2026-08-22"}

    @pytest.mark.parametrize(
        ("odd", "path"),
        [
            ({1: "a"}, "spec.bgp"),
            ({None: "a"}, "spec.bgp"),
            ({"a": b"x"}, "spec.bgp.a"),
            ({"a": {1, 2}}, "spec.bgp.a"),
            ({"a": float("nan")}, "spec.bgp.a"),
            ({"a": [float("inf")]}, "spec.bgp.a[0]"),
            ({"a": 10**5000}, "spec.bgp.a"),
            ({"a": "\ud800"}, "spec.bgp.a"),
            ({"\ud800": "a"}, "spec.bgp"),
        ],
    )
    def test_what_json_cannot_hold(self, odd: Any, path: str) -> None:
        assert places(document("Node", bgp=odd)) == [path]

    def test_a_document_within_itself(self) -> None:
        body = document("Node")
        body["spec"]["bgp"] = body
        (problem,) = problems(body)
        assert "nested too deeply" in problem.reason
        with pytest.raises(InvalidResource):
            identify(body)

    def test_the_source_is_not_touched(self) -> None:
        body = document("Node", bgp={"asNumber": "1.10", "ipv4Address": None})
        before = copy.deepcopy(body)
        from_user(body)
        assert body == before


class TestCreate:
    def test_takes_only_name_labels_and_annotations_of_metadata(self) -> None:
        body = document("Node")
        body["metadata"] |= {"annotations": {"a": "b"}, "generation": 3, "finalizers": ["x"], "selfLink": "/x"}
        resource = from_user(body)
        assert resource.document["metadata"] == {
            "name": "node-1",
            "labels": {"rack": "rack1"},
            "annotations": {"a": "b"},
        }
        assert (resource.metadata.uid, resource.metadata.creation_timestamp) == ("", "")

    def test_gets_its_identity_from_the_edge(self) -> None:
        resource = stamped(from_user(document("Node")), UID, TIME)
        assert msgspec.json.decode(to_store(resource)) == document("Node")

    def test_the_version_asked_for_is_its_revision(self) -> None:
        body = document("Node")
        body["metadata"]["resourceVersion"] = "12"
        assert from_user(body).revision == 12
        assert "resourceVersion" not in from_user(body).document["metadata"]

    def test_empty_optional_fields_are_left_out(self) -> None:
        body = document("IPPool", disabled=False, disableBGPExport=False, blockSize=0)
        assert msgspec.json.decode(to_store(stamped(from_user(body), UID, TIME))) == document("IPPool")

    def test_namespace_is_filled_in(self) -> None:
        body = document("WorkloadEndpoint")
        del body["metadata"]["namespace"]
        assert from_user(body).key.namespace == "default"
        assert from_user(body, namespace="other").key.namespace == "other"
        assert from_user(body, namespace="other").document["metadata"]["namespace"] == "other"

    def test_name_of_an_endpoint_is_filled_in(self) -> None:
        body = document("WorkloadEndpoint")
        del body["metadata"]["name"]
        assert from_user(body).key == key("WorkloadEndpoint")
        assert from_user(body).document["metadata"]["name"] == key("WorkloadEndpoint").name


class TestUpdate:
    def test_identity_and_status_stay_and_labels_are_replaced(self) -> None:
        before = document("Node") | {"status": {"wireguardPublicKey": "k"}}
        before["metadata"]["annotations"] = {"a": "b"}
        body = document("Node", bgp={"asNumber": 65000})
        body["metadata"] = {"name": "node-1", "uid": "other", "labels": {"rack": "rack2"}}
        body["status"] = {"wireguardPublicKey": "A" * 43 + "="}
        after = msgspec.json.decode(to_store(from_user(body, stored=stored(before, "Node"))))
        assert after["metadata"] == {
            "name": "node-1",
            "uid": UID,
            "creationTimestamp": TIME,
            "labels": {"rack": "rack2"},
        }
        assert after["status"] == {"wireguardPublicKey": "k"}
        assert after["spec"]["bgp"] == {"asNumber": 65000}

    def test_fields_left_out_are_taken_away(self) -> None:
        again = from_user(document("BGPPeer", filters=None), stored=stored(document("BGPPeer"), "BGPPeer"))
        assert "filters" not in msgspec.json.decode(to_store(again))["spec"]

    def test_unknown_fields_in_lists_follow_their_element(self) -> None:
        before = document("WorkloadEndpoint")
        before["spec"]["ports"][0]["newField"] = "x"
        body = document("WorkloadEndpoint")
        body["spec"]["ports"].insert(0, {"name": "dns", "protocol": "UDP", "port": 53})
        again = from_user(body, stored=stored(before, "WorkloadEndpoint"))
        ports = msgspec.json.decode(to_store(again))["spec"]["ports"]
        assert [port.get("newField") for port in ports] == [None, "x"]

    def test_unknown_fields_move_with_their_element(self) -> None:
        before = document("WorkloadEndpoint")
        before["spec"]["ports"][0]["newField"] = "x"
        body = document("WorkloadEndpoint")
        body["spec"]["ports"] = [
            {"name": "dns", "protocol": "UDP", "port": 53},
            before["spec"]["ports"][0] | {"port": 81},
        ]
        again = from_user(body, stored=stored(before, "WorkloadEndpoint"))
        ports = msgspec.json.decode(to_store(again))["spec"]["ports"]
        assert [(port["port"], port.get("newField")) for port in ports] == [(53, None), (81, "x")]

    def test_an_unknown_field_elsewhere_is_still_an_error(self) -> None:
        before = document("Node")
        before["spec"]["newField"] = 1
        body = document("Node")
        body["spec"]["bgp"]["newField"] = 1
        assert places(body, stored(before, "Node")) == ["spec.bgp.newField"]

    def test_what_may_not_change(self) -> None:
        was = stored(document("IPPool"), "IPPool")
        found = problems(document("IPPool", cidr="10.66.0.0/16", blockSize=27), was)
        assert [problem.reason for problem in found] == [
            "IPPool CIDR cannot be modified",
            "IPPool BlockSize cannot be modified",
        ]


class TestIdentify:
    def test_by_name(self) -> None:
        assert identify(document("Node")) == ResourceKey("Node", "", "node-1")

    def test_in_spite_of_faults(self) -> None:
        body = document("Node", bgp=1)
        body["metadata"]["labels"] = 1
        assert identify(body) == ResourceKey("Node", "", "node-1")

    def test_by_spec(self) -> None:
        body = document("WorkloadEndpoint")
        body["metadata"] = {}
        assert identify(body) == key("WorkloadEndpoint")

    def test_not_at_all(self) -> None:
        with pytest.raises(InvalidResource, match=r"metadata\.name"):
            identify({"kind": "WorkloadEndpoint", "apiVersion": "projectcalico.org/v3"})


odd_values = st.recursive(
    json_values | st.binary(max_size=3) | st.dates() | st.datetimes() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.none() | st.integers() | st.text(max_size=3), inner),
    max_leaves=4,
)


@given(odd_values, st.sampled_from(sorted(SPECS)), st.sampled_from(["kind", "metadata", "spec", "status", "other"]))
def test_whatever_a_user_writes_is_taken_or_explained(value: object, kind: str, part: str) -> None:
    check(document(kind) | {part: value})


@given(spoiled_documents())
def test_a_spoiled_document_is_taken_or_explained(spoiled: tuple[str, dict[str, Any]]) -> None:
    check(spoiled[1])


def check(body: dict[str, Any]) -> None:
    try:
        resource = from_user(body)
    except InvalidResource as error:
        found = error.problems
    else:
        found = (Problem("none", "", ""),)
        # What a user may write, the store gives back.
        data = to_store(stamped(resource, UID, TIME))
        read = from_store(resource.key, data)
        assert isinstance(read, Resource)
        assert to_store(read) == data
    assert found
    assert not [problem for problem in found if "Expected `" in problem.reason]
