"""Which policies apply to whom, and where they stand."""

from __future__ import annotations

import re

import pytest

from tests.unit.calc.cluster import resource
from tests.unit.explain.scene import OBJECTS, policy
from tortie.errors import UsageError
from tortie.explain import Cluster
from tortie.explain.listing import Place, endpoints_of, find_endpoint, find_policy, policies_of, rules_of
from tortie.model.resource import Quarantined, ResourceKey

HOST = resource("HostEndpoint", "b-eth0", {"node": "b", "interfaceName": "eth0"}, {"role": "host"})
FIRST = resource("Tier", "first", {"order": 1, "defaultAction": "Pass"})
OBJECTS_MORE = (
    *OBJECTS,
    HOST,
    FIRST,
    resource("GlobalNetworkPolicy", "first.all", {"tier": "first", "selector": "all()", "types": ["Ingress"]}),
    policy("through", selector="role == 'host'", applyOnForward=True, types=["Ingress"]),
    resource("StagedGlobalNetworkPolicy", "default.soon", {"tier": "default", "order": 5, "selector": "app == 'db'"}),
)
CLUSTER = Cluster(OBJECTS_MORE)


def shown(place: Place) -> str:
    return f"{place.chain} {place.number} {place.tier or '-'} {place.policy.name} {place.tier_default}".rstrip()


def of(text: str) -> list[str]:
    return [shown(place) for place in policies_of(CLUSTER, find_endpoint(CLUSTER, text))]


def test_of_a_workload() -> None:
    assert of("db") == [
        "ingress 1 first first.all Pass",
        "ingress 2 default default.soon Deny",
        "ingress 3 default default.db Deny",
        "ingress 4 - open",
        "egress 1 default default.soon Pass",
        "egress 2 - open",
    ]
    assert of("10.65.0.1") == ["ingress 1 first first.all Pass", "ingress 2 - open", "egress 1 - open"]


def test_of_a_host_endpoint() -> None:
    assert of("b-eth0") == [
        "ingress 1 first first.all Pass",
        "ingress 2 default default.through Deny",
        "forward ingress 1 default default.through Deny",
    ]


def test_of_a_policy() -> None:
    def nodes(text: str) -> list[tuple[str, str]]:
        return [(place.endpoint.name, place.node) for place in endpoints_of(CLUSTER, find_policy(CLUSTER, text))]

    assert nodes("default.db") == [("b-tortie-db-eth0", "b")]
    assert {node for _, node in nodes("first.all")} == {"a", "b"}
    assert len(nodes("Profile/open")) == 6  # of three endpoints, either way


def test_a_broken_policy_closes_whom_it_selects() -> None:
    document = {"spec": {"selector": "app == 'web'", "types": ["Egress"]}}
    broken = Quarantined(key=ResourceKey("GlobalNetworkPolicy", "", "default.b"), problems=(), document=document)
    cluster = Cluster([*OBJECTS, broken])
    (place,) = endpoints_of(cluster, find_policy(cluster, "default.b"))
    assert (place.endpoint.name, place.chain) == ("a-tortie-web-eth0", "egress")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("default.dbb", "there is no policy or profile called 'default.dbb'; did you mean 'default.db'?"),
        ("NetworkPolicy/default.db", "there is no policy or profile called"),
    ],
)
def test_a_policy_that_is_not_there(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        find_policy(CLUSTER, text)


def test_a_node_is_no_endpoint() -> None:
    with pytest.raises(UsageError, match="a is no endpoint: policies apply to workload endpoints and host endpoints"):
        find_endpoint(CLUSTER, "a")


def test_a_name_of_two_kinds() -> None:
    cluster = Cluster([*OBJECTS, resource("StagedGlobalNetworkPolicy", "default.db", {"tier": "default"})])
    with pytest.raises(UsageError, match=r"GlobalNetworkPolicy/default\.db, StagedGlobalNetworkPolicy/default\.db"):
        find_policy(cluster, "default.db")
    assert find_policy(cluster, "GlobalNetworkPolicy/default.db").kind == "GlobalNetworkPolicy"


def test_what_a_set_above_the_limit_closes_is_listed_as_closed() -> None:
    cluster = Cluster([*OBJECTS, resource("FelixConfiguration", "default", {"maxIpsetSize": 1})])
    (db,) = (key for key in cluster.keys if "-db-" in key.name)
    (closed,) = {place.policy for place in policies_of(cluster, db)}
    assert closed.name == "default.db"
    (rule,) = rules_of(cluster, closed, "egress")
    assert rule.name == "egress, as a whole"
    assert rule.text.startswith("closed, since the set of app ==")
