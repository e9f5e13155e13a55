"""tortie datastore migrate: calicoctl's file, words and codes."""

from __future__ import annotations

import json

import pytest

from tests.unit.cli.conftest import Tortie
from tests.unit.cli.test_datastore import content, put
from tortie.model.keys import IPAM

CLUSTER = """
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: a}
spec: {cidr: 10.65.0.0/16}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: node-1, labels: {rack: a}}
spec: {bgp: {ipv4Address: 172.18.203.1/24}}
---
apiVersion: projectcalico.org/v3
kind: BGPFilter
metadata: {name: f}
spec: {exportV4: [{action: Accept}]}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: p}
spec: {peerIP: 192.0.2.1, asNumber: 64512, filters: [f]}
---
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: infra}
spec: {order: 10}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: elsewhere}
spec: {tier: infra, selector: all()}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p}
spec: {tier: infra, selector: all()}
---
apiVersion: projectcalico.org/v3
kind: Profile
metadata: {name: not-exported}
spec: {}
"""
KINDS = ("ippool", "node", "bgpfilter", "bgppeer", "tier", "globalnetworkpolicy", "clusterinformation")
BLOCK = {"cidr": "10.65.0.0/30", "sequenceNumber": 1787405600123456792, "unallocated": [0, 1, 2, 3]}
IPAM_KEYS = {
    f"{IPAM}assignment/ipv4/block/10.65.0.0-30": BLOCK,
    f"{IPAM}host/node-1/ipv4/block/10.65.0.0-30": {"state": "confirmed", "deleted": False},
    f"{IPAM}handle/h": {"block": {}, "deleted": False},
    f"{IPAM}config": {"auto_allocate_blocks": True},
}


@pytest.fixture
def filled(tortie: Tortie) -> Tortie:
    assert tortie("apply", "-f", "-", stdin=CLUSTER).code == 0
    for key, value in IPAM_KEYS.items():
        put(tortie.store, key, json.dumps(value).encode())
    return tortie


def test_an_open_store_is_not_exported(filled: Tortie) -> None:
    sentence = "datastore is not locked. Run the `tortie datastore migrate lock` command in order to begin migration\n"
    assert filled("datastore", "migrate", "export") == (1, "", sentence)


def test_export_has_three_parts(filled: Tortie) -> None:
    filled("datastore", "migrate", "lock")
    said = filled("datastore", "migrate", "export")
    assert (said.code, said.stderr) == (0, "")
    resources, cluster, ipam = said.stdout.split("===\n")
    assert "name: not-exported" not in resources
    assert "uid" not in resources
    assert "kind: IPPoolList" in resources
    assert json.loads(cluster)["spec"]["datastoreReady"] is False
    assert json.loads(ipam) == {
        "block_affinities": [
            {
                "Key": f"{IPAM}host/node-1/ipv4/block/10.65.0.0-30",
                "Value": {"state": "confirmed", "deleted": False},
                "TTL": 0,
            }
        ],
        "blocks": [{"Key": f"{IPAM}assignment/ipv4/block/10.65.0.0-30", "Value": BLOCK, "TTL": 0}],
        "handles": [{"Key": f"{IPAM}handle/h", "Value": {"block": {}, "deleted": False}, "TTL": 0}],
        "config": {"Key": f"{IPAM}config", "Value": {"auto_allocate_blocks": True}, "TTL": 0},
    }


def test_import_into_an_empty_store_and_no_other(filled: Tortie) -> None:
    filled("datastore", "migrate", "lock")
    file = filled.write("etcd-data", filled("datastore", "migrate", "export").stdout)
    before = {kind: filled.items(kind) for kind in KINDS}
    filled.store = filled.directory / "new.db"
    filled.environment["TORTIE_DATASTORE"] = f"sqlite://{filled.store}"
    said = filled("datastore", "migrate", "import", "-f", file)
    assert (said.code, said.stderr) == (0, "")
    assert said.stdout.splitlines() == [
        "Successfully applied 10 resource(s)",
        "Importing IPAM resources",
        "Successfully applied 4 IPAM resource(s)",
        "Datastore information successfully imported. Please refer to the datastore migration documentation for next "
        "steps.",
    ]
    for kind, items in before.items():
        assert [item["spec"] for item in filled.items(kind)] == [item["spec"] for item in items]
    assert filled.items("node")[0]["metadata"]["labels"] == {"rack": "a"}
    stored = content(filled.store)
    assert "/calico/resources/v3/projectcalico.org/networkpolicies/elsewhere/p" in stored
    assert {key: json.loads(stored[key]) for key in IPAM_KEYS} == IPAM_KEYS
    said = filled("datastore", "migrate", "import", "-f", file)
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr.startswith("datastore already has Calico resources: found existing Calico ")
    assert content(filled.store) == stored


@pytest.mark.parametrize(
    "text",
    ["", "a\n===\nb\n", "---\n===\n{}\n===\n{}\n", "a\n===\n{}\n===\n{}\n===\n", b"\xff", "---\n===\n[\n===\n{}\n"],
)
def test_a_file_that_is_none_is_refused(tortie: Tortie, text: str | bytes) -> None:
    said = tortie("datastore", "migrate", "import", "-f", tortie.write("f", text))
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr.startswith("error while reading migration file: imported file: f is improperly formatted.")
    assert not tortie.store.exists()


def test_a_node_with_another_name_in_kubernetes_is_for_calicoctl(filled: Tortie) -> None:
    filled("patch", "node", "node-1", "-p", '{"spec": {"orchRefs": [{"nodeName": "b", "orchestrator": "k8s"}]}}')
    filled("datastore", "lock")
    said = filled("datastore", "migrate", "export")
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr.startswith("node node-1 is called b in Kubernetes")


def test_policy_names(tortie: Tortie) -> None:
    old = b'{"metadata": {"name": "default.a"}, "spec": {"tier": "default"}}'
    key = "/calico/resources/v3/projectcalico.org/globalnetworkpolicies/"
    put(tortie.store, f"{key}default.a", old)
    words = ("datastore", "migrate-policy-names")
    assert tortie(*words) == (0, "Policy name migration complete, migrated 1 policies.\n", "")
    assert list(content(tortie.store)) == [f"{key}a"]
    assert tortie(*words) == (0, "Policy name migration complete, migrated 0 policies.\n", "")
