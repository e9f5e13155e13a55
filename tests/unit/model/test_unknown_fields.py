"""A field that a newer Calico added survives a read, a change through the model, and a write: wherever it stands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import msgspec
import msgspec.inspect as mi
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.model.documents import SPECS, document, json_values, key
from tortie.model import KINDS, Resource, from_store, to_store, with_labels, with_spec
from tortie.model.check import plain_type, type_info
from tortie.model.document import ObjectMeta
from tortie.model.scalars import AsNumber, Order, Protocol
from tortie.model.schema import Spec

# A change of each kind's spec through the model: in place, deep inside, or of a list's order.
CHANGES: dict[str, Callable[[Any], Any]] = {
    "IPPool": lambda spec: replace(spec, nat_outgoing=not spec.nat_outgoing),
    "IPReservation": lambda spec: replace(spec, reserved_cidrs=spec.reserved_cidrs[::-1]),
    "BGPConfiguration": lambda spec: replace(
        spec, communities=(replace(spec.communities[0], value="64512:2"), *spec.communities[1:])
    ),
    "BGPPeer": lambda spec: replace(spec, as_number=AsNumber(65000)),
    "BGPFilter": lambda spec: replace(
        spec,
        export_v4=spec.export_v4[::-1],
        import_v6=tuple(replace(rule, priority=7) for rule in spec.import_v6),
    ),
    "Node": lambda spec: replace(spec, bgp=replace(spec.bgp, as_number=AsNumber(65000))),
    "WorkloadEndpoint": lambda spec: replace(spec, ports=tuple(replace(port, port=81) for port in spec.ports)),
    "Profile": lambda spec: replace(spec, ingress=spec.ingress[::-1]),
    "Tier": lambda spec: replace(spec, default_action="Deny"),
    "NetworkPolicy": lambda spec: replace(
        spec,
        ingress=spec.ingress[::-1],
        egress=(replace(spec.egress[0], protocol=Protocol(6)), *spec.egress[1:]),
    ),
    "GlobalNetworkPolicy": lambda spec: replace(spec, order=Order(7)),
    "StagedNetworkPolicy": lambda spec: replace(spec, staged_action="Ignore"),
    "StagedGlobalNetworkPolicy": lambda spec: replace(spec, pre_dnat=False),
    "StagedKubernetesNetworkPolicy": lambda spec: replace(
        spec, ingress=tuple(replace(rule, from_=rule.from_[::-1]) for rule in spec.ingress)
    ),
    "HostEndpoint": lambda spec: replace(spec, ports=tuple(replace(port, port=23) for port in spec.ports)),
    "NetworkSet": lambda spec: replace(spec, nets=spec.nets[::-1]),
    "GlobalNetworkSet": lambda spec: replace(spec, nets=spec.nets[1:]),
    "FelixConfiguration": lambda spec: replace(spec, ipv6_support=False),
    "ClusterInformation": lambda spec: replace(spec, datastore_ready=True),
    "KubeControllersConfiguration": lambda spec: replace(
        spec, controllers=replace(spec.controllers, node=replace(spec.controllers.node, sync_labels="Disabled"))
    ),
    "CalicoNodeStatus": lambda spec: replace(spec, update_period_seconds=0),
    "IPAMConfiguration": lambda spec: replace(spec, strict_affinity=True),
    "BlockAffinity": lambda spec: replace(spec, state="pending"),
    "LiveMigration": lambda spec: replace(
        spec,
        source=replace(spec.source, workload_endpoint=replace(spec.source.workload_endpoint, hostname="node-9")),
    ),
}

NEW_FIELDS = ("newField", "x-other")


def objects(part: Any, info: mi.Type) -> Iterator[dict[str, Any]]:
    """Every object of a document that a struct stands for: where a newer Calico may add a field."""
    match plain_type(info):
        case mi.StructType(fields=fields) if isinstance(part, dict):
            yield part
            for field in fields:
                yield from objects(part.get(field.encode_name), field.type)
        case mi.VarTupleType(item_type=item) if isinstance(part, list):
            for each in part:
                yield from objects(each, item)
        case mi.DictType(value_type=item) if isinstance(part, dict):
            for each in part.values():
                yield from objects(each, item)


def all_objects(kind: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    spec: type[Spec] = KINDS[kind].spec
    found = [body, *objects(body["metadata"], type_info(ObjectMeta)), *objects(body["spec"], type_info(spec))]
    if KINDS[kind].status is not None and "status" in body:
        found.append(body["status"])
    return found


def new_fields(part: Any) -> list[str]:
    """The new fields in a document with their values, in any order: a list may have got another one."""
    match part:
        case dict():
            own = [f"{name}={msgspec.json.encode(part[name]).decode()}" for name in NEW_FIELDS if name in part]
            inner = [each for name, value in part.items() if name not in NEW_FIELDS for each in new_fields(value)]
            return sorted(own + inner)
        case list():
            return sorted(each for value in part for each in new_fields(value))
    return []


@st.composite
def newer_documents(draw: st.DrawFn, kinds: Collection[str]) -> tuple[str, dict[str, Any]]:
    """One of the kinds, and its valid document with unknown fields in any of its objects."""
    kind = draw(st.sampled_from(sorted(kinds)))
    body = document(kind)
    places = all_objects(kind, body)
    for place in draw(st.lists(st.sampled_from(range(len(places))), min_size=1, unique=True)):
        places[place][draw(st.sampled_from(NEW_FIELDS))] = draw(json_values)
    return kind, body


def read(kind: str, body: dict[str, Any]) -> Resource[Any]:
    resource = from_store(key(kind), msgspec.json.encode(body), 7)
    assert isinstance(resource, Resource), resource
    return resource


@given(newer_documents(CHANGES))
def test_a_changed_spec_keeps_them(newer: tuple[str, dict[str, Any]]) -> None:
    kind, body = newer
    resource = read(kind, body)
    changed = with_spec(resource, CHANGES[kind](resource.spec))
    after = msgspec.json.decode(to_store(changed))
    assert after["spec"] != body["spec"]
    assert new_fields(after) == new_fields(body)


@given(newer_documents(SPECS))
def test_changed_labels_keep_them_where_they_stood(newer: tuple[str, dict[str, Any]]) -> None:
    kind, body = newer
    after = msgspec.json.decode(to_store(with_labels(read(kind, body), body["metadata"]["labels"] | {"a": "b"})))
    body["metadata"]["labels"]["a"] = "b"
    assert after == body


@pytest.mark.parametrize("kind", SPECS)
def test_everywhere_at_once(kind: str) -> None:
    body = document(kind)
    for number, place in enumerate(all_objects(kind, body)):
        place["newField"] = number
    assert msgspec.json.decode(to_store(read(kind, body))) == body


def test_in_an_object_that_says_nothing_else() -> None:
    body = document("Profile", ingress=[{"action": "Allow", "source": {"newField": 1}, "destination": {}}])
    resource = from_store(key("Profile"), msgspec.json.encode(body))
    assert isinstance(resource, Resource)
    assert msgspec.json.decode(to_store(resource))["spec"]["ingress"] == [
        {"action": "Allow", "source": {"newField": 1}}
    ]
