"""What the store holds, read and written back: nothing is lost, nothing raises, what is wrong is quarantined."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.model.documents import SPECS, TIME, UID, document, json_values, key, spoiled_documents
from tortie.errors import InvalidResource, Problem, Sort
from tortie.model import (
    Quarantined,
    Resource,
    ResourceKey,
    from_store,
    from_user,
    to_store,
    unknown_fields,
    with_spec,
)
from tortie.model.kinds import KINDS


def read(body: object, of: ResourceKey) -> Resource[Any]:
    resource = from_store(of, msgspec.json.encode(body), 7)
    assert isinstance(resource, Resource), resource
    return resource


def problems(data: bytes, of: ResourceKey) -> tuple[Problem, ...]:
    quarantined = from_store(of, data, 7)
    assert isinstance(quarantined, Quarantined)
    assert (quarantined.key, quarantined.revision) == (of, 7)
    return quarantined.problems


@pytest.mark.parametrize("kind", SPECS)
class TestEveryKind:
    def test_has_a_valid_example(self, kind: str) -> None:
        assert set(SPECS) == set(KINDS)

    def test_a_rewrite_changes_nothing(self, kind: str) -> None:
        body = document(kind)
        assert msgspec.json.decode(to_store(read(body, key(kind)))) == body

    def test_is_read_in_one_go(self, kind: str) -> None:
        value = msgspec.json.encode(document(kind))
        resource = from_store(key(kind), value)
        assert isinstance(resource, Resource)
        assert resource.source is value
        assert resource.document == document(kind)

    def test_metadata_and_revision(self, kind: str) -> None:
        resource = read(document(kind), key(kind))
        assert resource.key == key(kind)
        assert resource.metadata.name == key(kind).name
        assert (resource.metadata.uid, resource.metadata.creation_timestamp) == (UID, TIME)
        assert resource.metadata.labels["rack"] == "rack1"
        assert resource.revision == 7

    def test_unknown_fields_survive_everywhere(self, kind: str) -> None:
        body = document(kind)
        body["newPart"] = {"a": [1, None]}
        body["metadata"]["newMeta"] = "x"
        body["spec"]["newField"] = {"deep": [{"er": 2**60}]}
        resource = read(body, key(kind))
        assert msgspec.json.decode(to_store(resource)) == body
        assert set(unknown_fields(resource)) == {"newPart", "metadata.newMeta", "spec.newField"}

    def test_resource_version_is_never_stored(self, kind: str) -> None:
        body = document(kind)
        body["metadata"]["resourceVersion"] = "12"
        assert msgspec.json.decode(to_store(read(body, key(kind)))) == document(kind)

    def test_null_is_absent(self, kind: str) -> None:
        body = document(kind)
        body["metadata"] |= {"annotations": None, "ownerReferences": None, "generation": None}
        body["spec"] |= {
            field: None for field in KINDS[kind].spec.__struct_encode_fields__ if field not in body["spec"]
        }
        assert read(body, key(kind)).spec == read(document(kind), key(kind)).spec


class TestNulls:
    """What Go's decoder makes of null: a field that is absent, but in a map of texts one that is there and empty."""

    def test_a_label_without_a_value_is_there(self) -> None:
        body = document("Node")
        body["metadata"]["labels"] = {"gpu": None, "rack": "a"}
        resource = read(body, key("Node"))
        assert resource.metadata.labels == {"gpu": "", "rack": "a"}
        assert msgspec.json.decode(to_store(resource))["metadata"]["labels"] == {"gpu": "", "rack": "a"}

    def test_a_creation_without_a_time_is_absent(self) -> None:
        body = document("Node")
        body["metadata"]["creationTimestamp"] = None
        resource = read(body, key("Node"))
        assert resource.metadata.creation_timestamp == ""
        assert "creationTimestamp" not in msgspec.json.decode(to_store(resource))["metadata"]

    def test_in_a_list_of_texts_it_is_an_empty_text_and_refused(self) -> None:
        body = document("BGPPeer", filters=["a", None])
        assert [problem.path for problem in problems(msgspec.json.encode(body), key("BGPPeer"))] == ["spec.filters[1]"]


def test_escapes_of_go_are_read_and_any_form_is_written() -> None:
    body = document("Node")
    body["metadata"]["annotations"] = {"a": "<b> & c"}
    escaped = msgspec.json.encode(body).replace(b"<b> & c", b"\\u003cb\\u003e \\u0026 c")
    resource = from_store(key("Node"), escaped)
    assert isinstance(resource, Resource)
    assert resource.metadata.annotations == {"a": "<b> & c"}
    assert msgspec.json.decode(to_store(resource)) == body


class TestUnknownFieldsWithinLists:
    def body(self) -> dict[str, Any]:
        peer = {"name": "dns", "protocol": "UDP", "port": 53, "hostPort": 0, "hostIP": "", "newField": "dns"}
        body = document("WorkloadEndpoint")
        body["spec"]["ports"] = [{**body["spec"]["ports"][0], "newField": "http"}, peer]
        return body

    def test_follow_their_element(self) -> None:
        body = self.body()
        resource = read(body, key("WorkloadEndpoint"))
        first, second = resource.spec.ports
        changed = with_spec(resource, replace(resource.spec, ports=(second, first, replace(first, port=81))))
        ports = msgspec.json.decode(to_store(changed))["spec"]["ports"]
        assert [port.get("newField") for port in ports] == ["dns", "http", None]

    def test_stay_with_an_element_that_changes_in_its_place(self) -> None:
        resource = read(self.body(), key("WorkloadEndpoint"))
        first, second = resource.spec.ports
        changed = with_spec(resource, replace(resource.spec, ports=(replace(first, port=81), second)))
        ports = msgspec.json.decode(to_store(changed))["spec"]["ports"]
        assert [(port["port"], port["newField"]) for port in ports] == [(81, "http"), (53, "dns")]

    def test_go_with_an_element_that_goes(self) -> None:
        resource = read(self.body(), key("WorkloadEndpoint"))
        changed = with_spec(resource, replace(resource.spec, ports=resource.spec.ports[1:]))
        ports = msgspec.json.decode(to_store(changed))["spec"]["ports"]
        assert [port["newField"] for port in ports] == ["dns"]

    def test_survive_beside_null(self) -> None:
        body = self.body()
        body["spec"]["ports"][0]["hostIP"] = None
        ports = msgspec.json.decode(to_store(read(body, key("WorkloadEndpoint"))))["spec"]["ports"]
        assert ports == self.body()["spec"]["ports"]

    def test_survive_in_an_object_that_holds_nothing_else(self) -> None:
        body = document("Profile")
        body["spec"]["ingress"][0]["source"] = {"invented": {"a": 1}}
        assert msgspec.json.decode(to_store(read(body, key("Profile")))) == body

    def test_are_named_with_their_place(self) -> None:
        resource = read(self.body(), key("WorkloadEndpoint"))
        assert unknown_fields(resource) == ("spec.ports[0].newField", "spec.ports[1].newField")


class TestSpelling:
    """A value keeps the form it was written in for as long as it means the same."""

    def test_kept_beside_a_change(self) -> None:
        body = document("WorkloadEndpoint", ipNetworks=["10.65.0.24", "FD00::24"], mac="02-11-22-33-44-55")
        resource = read(body, key("WorkloadEndpoint"))
        changed = with_spec(resource, replace(resource.spec, profiles=("other",)))
        body["spec"]["profiles"] = ["other"]
        assert msgspec.json.decode(to_store(changed)) == body

    def test_canonical_for_what_changed(self) -> None:
        body = document("WorkloadEndpoint", ipNetworks=["10.65.0.24", "FD00::24"], ipNATs=None)
        resource = read(body, key("WorkloadEndpoint"))
        addresses = resource.spec.ip_networks
        changed = with_spec(resource, replace(resource.spec, ip_networks=(addresses[1], addresses[0] + 1)))
        assert msgspec.json.decode(to_store(changed))["spec"]["ipNetworks"] == ["FD00::24", "10.65.0.25/32"]

    def test_types_of_calico_are_always_canonical(self) -> None:
        resource = read(document("BGPPeer", asNumber="0.64601", keepaliveTime="90s"), key("BGPPeer"))
        spec = msgspec.json.decode(to_store(resource))["spec"]
        assert (spec["asNumber"], spec["keepaliveTime"]) == (64601, "1m30s")


class TestLeavingOut:
    def test_empty_optional_fields_are_left_out(self) -> None:
        body = document("IPPool", disabled=False, disableBGPExport=False)
        assert msgspec.json.decode(to_store(read(body, key("IPPool")))) == document("IPPool")

    def test_false_and_zero_of_three_valued_fields_are_written(self) -> None:
        spec = msgspec.json.decode(to_store(read(document("ClusterInformation"), key("ClusterInformation"))))["spec"]
        assert spec["datastoreReady"] is False

    def test_an_explicit_empty_list_of_failsafe_ports_is_written(self) -> None:
        body = document("FelixConfiguration")
        resource = read(body, key("FelixConfiguration"))
        assert resource.spec.failsafe_inbound_host_ports == ()
        assert resource.spec.failsafe_outbound_host_ports is None
        assert msgspec.json.decode(to_store(resource)) == body


QUARANTINED = {
    "number for a text": (b'{"metadata":{"uid":5},"spec":{"cidr":"10.0.0.0/16"}}', "metadata.uid", "must be text"),
    "fraction": (b'{"spec":{"cidr":"10.0.0.0/16","blockSize":26.0}}', "spec.blockSize", "must be a whole number"),
    "time": (
        b'{"metadata":{"creationTimestamp":"soon"},"spec":{"cidr":"10.0.0.0/16"}}',
        "metadata.creationTimestamp",
        "must be a time such as",
    ),
    "digits without end": (b'{"spec":{"cidr":"10.0.0.0/16","blockSize":%s}}' % (b"1" * 5000), "", "is not JSON"),
    "empty value": (b"", "", "is not JSON"),
    "text": (b"Never", "", "is not JSON"),
    "not UTF-8": (b'"\xff"', "", "is not JSON"),
    "half a document": (b'{"kind":', "", "is not JSON"),
    "number out of range": (b"1e999", "", "is not JSON"),
    "brackets without end": (b"[" * 100_000, "", "nested too deeply"),
    "a list": (b"[]", "", "must be an object"),
    "null": (b"null", "", "must be an object"),
    "no spec": (b"{}", "spec.cidr", "is required"),
    "spec is a text": (b'{"spec":"x"}', "spec", "must be an object"),
    "metadata is a list": (b'{"metadata":[],"spec":{"cidr":"10.0.0.0/16"}}', "metadata", "must be an object"),
    "wrong type": (b'{"spec":{"cidr":"10.0.0.0/16","blockSize":"26"}}', "spec.blockSize", "must be a whole number"),
    "beyond 64 bits": (b'{"spec":{"cidr":"10.0.0.0/16","blockSize":1%s}}' % (b"0" * 30), "spec.blockSize", "20 to 32"),
    "unknown word": (b'{"spec":{"cidr":"10.0.0.0/16","ipipMode":"never"}}', "spec.ipipMode", "must be one of"),
    "broken rule": (b'{"spec":{"cidr":"10.0.0.0/16","blockSize":19}}', "spec.blockSize", "from 20 to 32"),
    "other kind": (b'{"kind":"Node","spec":{"cidr":"10.0.0.0/16"}}', "kind", "must be IPPool"),
    "other version": (b'{"apiVersion":"v1","spec":{"cidr":"10.0.0.0/16"}}', "apiVersion", "projectcalico.org/v3"),
    "other name": (b'{"metadata":{"name":"b"},"spec":{"cidr":"10.0.0.0/16"}}', "metadata.name", "must be pool-a"),
    "namespace": (b'{"metadata":{"namespace":"b"},"spec":{"cidr":"10.0.0.0/16"}}', "metadata.namespace", "absent"),
    "label": (b'{"metadata":{"labels":{"a":"b c"}},"spec":{"cidr":"10.0.0.0/16"}}', "metadata.labels.a", "value"),
}


@pytest.mark.parametrize("case", QUARANTINED)
def test_what_is_wrong_is_quarantined_with_its_place(case: str) -> None:
    data, path, reason = QUARANTINED[case]
    (problem,) = problems(data, key("IPPool"))
    assert problem.path == path
    assert reason in str(problem)


@pytest.mark.parametrize("part", [b"1e999", b"1" * 5000, b'"\xff"', b'{"\xff":1}', b"[" * 500 + b"1e999" + b"]" * 500])
@pytest.mark.parametrize("place", [b'"newPart":%s,', b'"metadata":{"newMeta":%s},', b'"spec":{"newField":%s},'])
def test_what_is_kept_unread_is_json_too(place: bytes, part: bytes) -> None:
    whole = msgspec.json.encode(document("IPPool"))
    data = whole.replace(b"{", b"{" + place % part, 1)
    (problem,) = problems(data, key("IPPool"))
    assert "is not JSON" in str(problem)


def test_what_is_nested_too_deeply_for_others_is_quarantined_at_once() -> None:
    body = document("Node")
    deep: Any = {}
    for _ in range(400):
        deep = [deep]
    body["metadata"]["ownerReferences"] = deep
    found = from_store(key("Node"), msgspec.json.encode(body))
    assert isinstance(found, Quarantined) or isinstance(found.source, dict)


@given(spoiled_documents())
def test_both_ways_of_reading_say_the_same(spoiled: tuple[str, dict[str, Any]]) -> None:
    kind, body = spoiled
    found = from_store(key(kind), msgspec.json.encode(body))
    other = from_store(key(kind), msgspec.json.encode(body | {"newPart": 1}))  # which is never read in one go
    if isinstance(found, Quarantined):
        assert isinstance(other, Quarantined)
        assert found.problems == other.problems
    else:
        assert isinstance(other, Resource)
        assert (found.key, found.metadata, found.spec) == (other.key, other.metadata, other.spec)
        assert {**found.document, "newPart": 1} == other.document


class TestWhatAQuarantinedObjectKeeps:
    def test_its_document(self) -> None:
        body = document("IPPool", cidr="10.65.0.1/16")
        body["newPart"] = {"a": 1}
        found = from_store(key("IPPool"), msgspec.json.encode(body), 7)
        assert isinstance(found, Quarantined)
        assert found.document == body

    def test_also_when_it_is_of_another_kind(self) -> None:
        found = from_store(key("IPPool"), b'{"kind":"Node","spec":{"cidr":"10.0.0.0/16"}}')
        assert isinstance(found, Quarantined)
        assert found.document == {"kind": "Node", "spec": {"cidr": "10.0.0.0/16"}}

    @pytest.mark.parametrize("data", [b"", b"[]", b"[" * 100_000, b"null"])
    def test_none_where_there_is_none(self, data: bytes) -> None:
        found = from_store(key("IPPool"), data)
        assert isinstance(found, Quarantined)
        assert found.document is None


class TestSortsOfProblems:
    CASES: ClassVar[dict[str, tuple[str, dict[str, Any], Sort]]] = {
        "a number for a text": ("Node", {"orchRefs": [{"nodeName": 1.5}]}, Sort.TYPE),
        "a text for a number": ("IPPool", {"blockSize": "26"}, Sort.TYPE),
        "a text for a list": ("BGPPeer", {"filters": "a"}, Sort.TYPE),
        "a list for an object": ("Node", {"bgp": []}, Sort.TYPE),
        "a number for a word": ("IPPool", {"ipipMode": 1}, Sort.TYPE),
        "a number for an address": ("BGPPeer", {"reachableBy": 1}, Sort.TYPE),
        "no AS number": ("BGPPeer", {"asNumber": "many"}, Sort.TYPE),
        "no duration": ("BGPPeer", {"keepaliveTime": "soon"}, Sort.TYPE),
        "a number that is no duration": ("BGPPeer", {"keepaliveTime": 30}, Sort.TYPE),
        "an unknown word": ("IPPool", {"ipipMode": "never"}, Sort.RULE),
        "a number out of range": ("BGPPeer", {"ttlSecurity": 256}, Sort.RULE),
        "no address": ("BGPPeer", {"reachableBy": "there"}, Sort.RULE),
        "no selector": ("BGPPeer", {"nodeSelector": "a =="}, Sort.RULE),
        "a missing field": ("IPPool", {"cidr": None}, Sort.RULE),
        "a broken rule": ("IPPool", {"blockSize": 19}, Sort.RULE),
        "an unknown field": ("IPPool", {"cidrs": []}, Sort.UNKNOWN_FIELD),
    }

    @pytest.mark.parametrize("case", CASES)
    def test_of_a_document(self, case: str) -> None:
        kind, fields, sort = self.CASES[case]
        with pytest.raises(InvalidResource) as caught:
            from_user(document(kind, **fields))
        assert [problem.sort for problem in caught.value.problems] == [sort]

    def test_outside_of_the_spec(self) -> None:
        body = document("Node") | {"newPart": 1}
        body["metadata"]["newMeta"] = 1
        with pytest.raises(InvalidResource) as caught:
            from_user(body)
        assert {problem.sort for problem in caught.value.problems} == {Sort.UNKNOWN_FIELD}

    @pytest.mark.parametrize("data", [b"", b"[]", b"[" * 100_000])
    def test_of_what_is_no_document(self, data: bytes) -> None:
        assert [problem.sort for problem in problems(data, key("IPPool"))] == [Sort.TYPE]


class TestBlanks:
    """An empty text where Calico has a mere text is an absent one; where it parses one, it is none."""

    def test_are_absent_and_not_written(self) -> None:
        body = document("BGPPeer", peerIP="", reachableBy="", nextHopMode="", nodeSelector="")
        peer = from_user(body)
        assert (peer.spec.peer_ip, peer.spec.next_hop_mode, peer.spec.node_selector) == (None, None, None)
        assert not {"peerIP", "reachableBy", "nextHopMode", "nodeSelector"} & peer.document["spec"].keys()

    def test_are_absent_in_the_store_too(self) -> None:
        assert read(document("BGPPeer", peerIP="", reachableBy=""), key("BGPPeer")).spec.peer_ip is None

    @pytest.mark.parametrize("field", ["asNumber", "keepaliveTime", "ttlSecurity"])
    def test_are_no_numbers_and_durations(self, field: str) -> None:
        with pytest.raises(InvalidResource):
            from_user(document("BGPPeer", **{field: ""}))


def test_every_problem_is_told() -> None:
    body = document("IPPool", cidr="10.65.0.1/16", blockSize="26", ipipMode="never")
    body["metadata"]["labels"] = {"a": 1}
    found = problems(msgspec.json.encode(body), key("IPPool"))
    assert {problem.path for problem in found} == {
        "metadata.labels.a",
        "spec.cidr",
        "spec.blockSize",
        "spec.ipipMode",
    }


def test_a_name_that_cannot_be_is_quarantined() -> None:
    upper = ResourceKey("Node", "", "Node-A")
    assert [problem.path for problem in problems(b'{"spec":{}}', upper)] == ["metadata.name"]


@given(st.sampled_from(sorted(SPECS)), st.binary(max_size=64))
def test_no_bytes_raise(kind: str, data: bytes) -> None:
    assert isinstance(from_store(key(kind), data), Resource | Quarantined)


@given(st.sampled_from(sorted(SPECS)), json_values)
def test_no_json_raises(kind: str, value: object) -> None:
    assert isinstance(from_store(key(kind), msgspec.json.encode(value)), Resource | Quarantined)


@given(spoiled_documents())
def test_a_spoiled_document_is_read_or_explained(spoiled: tuple[str, dict[str, Any]]) -> None:
    kind, body = spoiled
    found = from_store(key(kind), msgspec.json.encode(body))
    if isinstance(found, Quarantined):
        assert found.problems
        # Never msgspec's own words: the walk has found all that the decoder refuses.
        assert not [problem for problem in found.problems if "Expected `" in problem.reason]
    else:
        again = from_store(key(kind), to_store(found))
        assert isinstance(again, Resource)
        assert to_store(again) == to_store(found)
