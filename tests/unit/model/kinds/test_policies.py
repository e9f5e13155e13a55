"""Policies on their way to the store and back: the defaults, the tier's label, the name's annotation."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.model.documents import SPECS, TIERED, document, key
from tortie.model import KINDS, Resource, from_store, from_user, to_store, with_labels
from tortie.model.scalars import Order

RULE = [{"action": "Allow"}]


def user(kind: str, name: str = "p", metadata: dict[str, Any] | None = None, **spec: Any) -> Resource[Any]:
    body = {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name} | (metadata or {})}
    return from_user(body | {"spec": spec})


def written(resource: Resource[Any]) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.json.decode(to_store(resource))
    return document


def stored(kind: str, body: dict[str, Any]) -> Resource[Any]:
    resource = from_store(key(kind)._replace(name=body["metadata"]["name"]), msgspec.json.encode(body))
    assert isinstance(resource, Resource), resource
    return resource


@pytest.mark.parametrize("kind", sorted(TIERED))
class TestTiered:
    def test_what_is_stored_of_an_empty_policy(self, kind: str) -> None:
        staged = {"stagedAction": "Set"} if kind.startswith("Staged") else {}
        found = written(user(kind))
        assert found["spec"] == {"tier": "default", "types": ["Ingress"], **staged}
        assert found["metadata"]["labels"] == {"projectcalico.org/tier": "default"}
        assert found["metadata"]["annotations"] == {"projectcalico.org/metadata": '{"name":"p"}'}

    def test_what_is_stored_of_a_policy_in_a_tier(self, kind: str) -> None:
        metadata = {
            "labels": {"a": "b", "projectcalico.org/tier": "forged"},
            "annotations": {"note": "n", "projectcalico.org/metadata": '{"name":"forged"}'},
        }
        found = written(user(kind, "ops.p", metadata, tier="ops", order=5))
        assert found["spec"]["tier"] == "ops"
        assert found["metadata"]["name"] == "ops.p"
        assert found["metadata"]["labels"] == {"a": "b", "projectcalico.org/tier": "ops"}
        assert found["metadata"]["annotations"] == {"note": "n", "projectcalico.org/metadata": '{"name":"ops.p"}'}

    @pytest.mark.parametrize(
        ("rules", "types"),
        [
            ({}, ["Ingress"]),
            ({"ingress": RULE}, ["Ingress"]),
            ({"egress": RULE}, ["Egress"]),
            ({"ingress": RULE, "egress": RULE}, ["Ingress", "Egress"]),
            ({"ingress": RULE, "types": ["Egress"]}, ["Egress"]),
            ({"egress": RULE, "types": []}, ["Egress"]),
        ],
    )
    def test_types_follow_from_the_rules(self, kind: str, rules: dict[str, Any], types: list[str]) -> None:
        assert written(user(kind, **rules))["spec"]["types"] == types

    def test_types_of_a_stored_policy_stay_absent_which_means_both(self, kind: str) -> None:
        assert stored(kind, document(kind, types=None)).spec.types == ()

    def test_what_is_read(self, kind: str) -> None:
        body = document(kind)
        body["metadata"]["annotations"]["note"] = "n"
        read = stored(kind, body)
        assert read.metadata.annotations == {"note": "n"}
        assert read.metadata.name == SPECS[kind][0]

    def test_what_is_read_of_a_policy_of_openstack(self, kind: str) -> None:
        body = document(kind, tier=None, types=None)
        body["metadata"] = {"name": "ossg.default.b7" if "Global" not in kind else "b7"}
        if KINDS[kind].namespaced:
            body["metadata"]["namespace"] = "default"
        read = stored(kind, body)
        assert (read.spec.tier, read.metadata.labels) == ("default", {"projectcalico.org/tier": "default"})

    def test_the_name_is_that_of_the_key(self, kind: str) -> None:
        """Before version 3.32 `default.` stood before names, and not in the annotation."""
        body = document(kind)
        body["metadata"]["name"] = "default.web"
        body["metadata"]["annotations"] = {"projectcalico.org/metadata": '{"name":"web"}'}
        read = stored(kind, body)
        assert read.metadata.name == "default.web"
        assert written(read)["metadata"]["annotations"] == {"projectcalico.org/metadata": '{"name":"default.web"}'}

    def test_other_labels_keep_the_tier(self, kind: str) -> None:
        labels = written(with_labels(stored(kind, document(kind)), {"a": "b"}))["metadata"]["labels"]
        assert labels == {"a": "b", "projectcalico.org/tier": SPECS[kind][1]["tier"]}

    def test_an_order_is_stored_as_it_was_written(self, kind: str) -> None:
        for order in (0, 100, 1.5, -3, 10**15):
            policy = user(kind, order=order)
            assert policy.spec.order == Order(order)
            assert f'"order":{order}' in to_store(policy).decode()


@pytest.mark.parametrize("kind", [*sorted(TIERED), "StagedKubernetesNetworkPolicy"])
def test_a_status_is_kept(kind: str) -> None:
    status = {"conditions": [{"type": "Valid", "status": "True", "reason": "Valid", "message": ""}]}
    assert written(stored(kind, document(kind) | {"status": status}))["status"] == status
    assert written(from_user(document(kind) | {"status": status}))["status"] == status
    assert "status" not in written(from_user(document(kind)))


@pytest.mark.parametrize("kind", ["StagedNetworkPolicy", "StagedGlobalNetworkPolicy"])
def test_a_staged_deletion_has_no_types(kind: str) -> None:
    policy = user(kind, stagedAction="Delete", tier="ops", types=["Ingress"])
    assert written(policy)["spec"] == {"stagedAction": "Delete", "tier": "ops"}


def test_a_staged_policy_of_kubernetes_is_in_no_tier_and_always_selects() -> None:
    found = written(user("StagedKubernetesNetworkPolicy"))
    assert found["spec"] == {"stagedAction": "Set", "podSelector": {}}
    assert found["metadata"] == {"name": "p", "namespace": "default"}


def test_a_tier_has_defaults_and_a_status() -> None:
    found = written(user("Tier"))
    assert (found["spec"], found["status"]) == ({"order": 1000000, "defaultAction": "Deny"}, {})


def test_tiers_are_listed_by_order() -> None:
    tiers = [user("Tier", name, order=order) for name, order in (("c", 1), ("a", 20), ("b", 3), ("default", None))]
    assert [tier.key.name for tier in sorted(tiers, key=KINDS["Tier"].list_order)] == ["c", "b", "a", "default"]
