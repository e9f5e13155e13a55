"""Which store a host may follow: judged by what it says, and by nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tortie.agent.admission import Admission
from tortie.datastore import format
from tortie.datastore.api import Batch, Event, Item, Listing
from tortie.datastore.cluster import CLUSTER_PATH
from tortie.errors import ForeignCluster, FormatTooNew
from tortie.model.keys import RESOURCES

OURS, THEIRS = "8c1f0d3e5b7a49cfa1e2d3c4b5a69788", "0" * 32


def information(guid: str) -> bytes:
    return json.dumps({"metadata": {"name": "default"}, "spec": {"clusterGUID": guid}}).encode()


def listing(guid: str | None) -> Listing:
    found = [] if guid is None else [Item(CLUSTER_PATH, information(guid), 7, 2)]
    return Listing([*found, Item(f"{RESOURCES}nodes/a", b"{}", 3, 3)], 9)


@pytest.fixture
def accepted(tmp_path: Path) -> Path:
    return tmp_path / "accepted-cluster"


@pytest.fixture
def admission(accepted: Path) -> Admission:
    return Admission(OURS, accepted, "etcd://there")


@pytest.mark.parametrize("guid", [OURS, THEIRS, None])
def test_a_host_of_no_cluster_takes_any_and_belongs_to_it_then(accepted: Path, guid: str | None) -> None:
    admission = Admission("", accepted, "etcd://there")
    admission.judge(RESOURCES, listing(guid))
    assert (admission.cluster, admission.refusal) == (guid or "", None)
    if guid is not None:
        with pytest.raises(ForeignCluster):
            admission.judge(RESOURCES, listing("f" * 32))


def test_the_own_cluster_is_taken_wherever_it_is_and_however_broken(admission: Admission) -> None:
    admission.judge(RESOURCES, listing(OURS))
    broken = b'{"spec": {"clusterGUID": "%s", "datastoreReady": "perhaps"}}' % OURS.encode()
    admission.judge(RESOURCES, Batch((Event(CLUSTER_PATH, broken, 10),), 10))
    assert admission.refusal is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (listing(THEIRS), f"datastore etcd://there holds cluster {THEIRS}, and this host belongs to cluster {OURS}"),
        (listing(None), "as an empty store does"),
        (Listing([], 1), "as an empty store does"),
        (Batch((Event(f"{RESOURCES}nodes/a", None, 8), Event(CLUSTER_PATH, None, 8)), 8), "as an empty store does"),
        (Batch((Event(CLUSTER_PATH, information(THEIRS), 8),), 8), f"holds cluster {THEIRS}"),
        (Batch((Event(CLUSTER_PATH, b"nonsense", 8),), 8), "as an empty store does"),
    ],
)
def test_another_cluster_or_none_is_refused_with_what_to_do(
    admission: Admission, said: Listing | Batch, words: str
) -> None:
    with pytest.raises(ForeignCluster) as refused:
        admission.judge(RESOURCES, said)
    assert words in str(refused.value)
    assert "tortie node init --new-cluster" in str(refused.value)
    assert admission.refusal is refused.value
    assert admission.cluster == OURS
    admission.judge(RESOURCES, listing(OURS))
    assert admission.refusal is None


def test_what_says_nothing_of_the_cluster_is_no_reason(admission: Admission) -> None:
    admission.judge(RESOURCES, Batch((Event(f"{RESOURCES}nodes/a", None, 8),), 8))
    admission.judge(format.KEY, Listing([], 8))
    assert admission.refusal is None


def test_what_the_operator_accepted_is_taken_and_nothing_else(admission: Admission, accepted: Path) -> None:
    accepted.write_text(f"{THEIRS}\n")
    with pytest.raises(ForeignCluster):
        admission.judge(RESOURCES, listing(None))
    with pytest.raises(ForeignCluster):
        admission.judge(RESOURCES, listing("f" * 32))
    admission.judge(RESOURCES, listing(THEIRS))
    assert admission.cluster == THEIRS
    admission.remembered(OURS)
    assert accepted.exists(), "the snapshot still tells of the old one"
    admission.remembered(THEIRS)
    assert not accepted.exists()
    admission.remembered(THEIRS)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b'{"format": 2}', "has format 2, and this tortie knows formats up to 1: upgrade tortie here"),
        (b"two", "cannot be read"),
        (b'{"format": "2"}', "tells no version"),
        (b"[]", "tells no version"),
    ],
)
def test_a_format_that_is_not_known_is_refused(admission: Admission, value: bytes, words: str) -> None:
    for said in (Listing([Item(format.KEY, value, 8, 8)], 8), Batch((Event(format.KEY, value, 8),), 8)):
        with pytest.raises(FormatTooNew) as refused:
            admission.judge(format.KEY, said)
        assert words in str(refused.value)
        assert admission.refusal is refused.value
        admission.judge(format.KEY, Batch((Event(format.KEY, b'{"format": 1}', 9),), 9))
        assert admission.refusal is None
