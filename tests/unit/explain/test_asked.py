"""How a user may call ends and flows, and what is said of what means nothing."""

from __future__ import annotations

import re

import pytest

from tests.unit.explain.scene import OBJECTS, endpoint
from tortie.errors import UsageError
from tortie.explain import Cluster, FlowKind, find_party, parse_flow
from tortie.intent.packet import ICMP, ICMPV6

CLUSTER = Cluster(OBJECTS)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("tcp/443", FlowKind(6, 443)),
        ("TCP/443", FlowKind(6, 443)),
        ("udp/dns", FlowKind(17, "dns")),
        ("icmp", FlowKind(1)),
        ("icmp/3/4", FlowKind(1, None, 3, 4)),
        ("icmpv6/128", FlowKind(58, None, 128)),
        ("47", FlowKind(47)),
        ("17/53", FlowKind(17, 53)),
    ],
)
def test_flows(text: str, found: FlowKind) -> None:
    assert parse_flow(text) == found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tccp/80", "there is no protocol 'tccp'; did you mean 'tcp'?"),
        ("tcp", "TCP needs one port, such as tcp/443"),
        ("udp/", "UDP needs one port, such as udp/53"),
        ("tcp/0", "a port is a number from 1 to 65535"),
        ("tcp/99999", "a port is a number from 1 to 65535"),
        ("tcp/80/81", "TCP needs one port"),
        ("icmp/x", "type and code of ICMP are numbers from 0 to 255"),
        ("icmp/1/2/3", "type and code of ICMP are numbers from 0 to 255"),
        ("gre/1", "there is no protocol 'gre'"),
        ("47/1", "protocol 47 has no ports"),
        ("256", "there is no protocol '256'"),
        ("", "there is no protocol ''"),
        ("tcp/" + "9" * 5000, "a port is a number from 1 to 65535"),
    ],
)
def test_what_is_no_flow(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        parse_flow(text)


def test_icmp_is_that_of_the_family() -> None:
    assert parse_flow("icmp").of_family(6) == FlowKind(ICMPV6, None, 128, 0)
    assert parse_flow("icmpv6").of_family(4) == FlowKind(ICMP, None, 8, 0)


@pytest.mark.parametrize("text", ["web", "default/web", "a-tortie-web-eth0", "10.65.0.1", "fd00:65::1"])
def test_an_endpoint_by_any_of_its_names(text: str) -> None:
    party = find_party(CLUSTER, text)
    assert str(party.endpoint) == "WorkloadEndpoint(default/a-tortie-web-eth0)"
    assert party.node == "a"


@pytest.mark.parametrize("text", ["b", "172.18.203.126", "fd00:18::126"])
def test_a_node(text: str) -> None:
    party = find_party(CLUSTER, text)
    assert (party.is_host, party.node) == (True, "b")


def test_somebody_outside() -> None:
    party = find_party(CLUSTER, "192.0.2.1")
    assert (party.is_host, party.node, party.endpoint) == (False, "", None)


def test_a_name_of_several_is_refused_with_their_names() -> None:
    cluster = Cluster([*OBJECTS, endpoint("web", "b", "10.65.0.9")])
    with pytest.raises(UsageError, match="may be any of default/a-tortie-web-eth0, default/b-tortie-web-eth0"):
        find_party(cluster, "web")


def test_a_name_of_nobody_is_answered_with_the_one_that_may_be_meant() -> None:
    with pytest.raises(UsageError, match=r"there is no endpoint, workload or node called 'prob', .* 'probe'\?$"):
        find_party(CLUSTER, "prob")
