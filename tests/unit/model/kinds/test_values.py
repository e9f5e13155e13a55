"""The values that kinds offer beside their specs."""

from __future__ import annotations

from ipaddress import ip_network

import msgspec
import pytest

from tortie.model import KINDS, Resource, from_store
from tortie.model.kinds.clusterinformation import ClusterInformationSpec, initialised
from tortie.model.kinds.ippool import IPPoolSpec, pools_overlap
from tortie.model.kinds.profile import DEFAULT_ALLOW
from tortie.model.rule import Rule
from tortie.model.write import document_of


class TestDefaultAllow:
    def test_allows_everything(self) -> None:
        allow_all = (Rule(action="Allow"),)
        assert (DEFAULT_ALLOW.spec.ingress, DEFAULT_ALLOW.spec.egress) == (allow_all, allow_all)

    def test_its_document_says_the_same(self) -> None:
        assert document_of(DEFAULT_ALLOW) == DEFAULT_ALLOW.document

    def test_is_the_only_built_in_object(self) -> None:
        assert [kind.name for kind in KINDS.values() if kind.built_in] == ["Profile"]
        assert KINDS["Profile"].built_in == (DEFAULT_ALLOW,)

    def test_a_stored_copy_is_quarantined(self) -> None:
        found = from_store(DEFAULT_ALLOW.key, msgspec.json.encode(DEFAULT_ALLOW.document))
        assert not isinstance(found, Resource)


def test_only_cluster_information_is_read_only() -> None:
    assert [kind.name for kind in KINDS.values() if kind.read_only] == ["ClusterInformation"]


class TestInitialised:
    def test_from_nothing(self) -> None:
        made = initialised(None, guid="g", cluster_type="tortie")
        assert made == ClusterInformationSpec(cluster_guid="g", cluster_type="tortie", datastore_ready=True)

    def test_fills_in_only_what_is_missing(self) -> None:
        before = ClusterInformationSpec(cluster_guid="old", cluster_type="openstack", calico_version="v3.32.1")
        after = initialised(before, guid="g", cluster_type="tortie")
        assert (after.cluster_guid, after.cluster_type) == ("old", "openstack,tortie")
        assert (after.calico_version, after.datastore_ready) == ("v3.32.1", True)

    def test_a_locked_datastore_stays_locked(self) -> None:
        locked = ClusterInformationSpec(cluster_guid="g", cluster_type="tortie", datastore_ready=False)
        assert initialised(locked, guid="other", cluster_type="tortie") == locked


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("10.65.0.0/16", "10.65.128.0/17", True),
        ("10.65.0.0/16", "10.66.0.0/16", False),
        ("0.0.0.0/0", "::/0", False),
        ("fd00::/8", "fd00:65::/64", True),
    ],
)
def test_pools_overlap(one: str, other: str, overlap: bool) -> None:
    pools = [IPPoolSpec(cidr=ip_network(cidr)) for cidr in (one, other)]
    assert pools_overlap(*pools) is overlap
    assert pools_overlap(*reversed(pools)) is overlap
