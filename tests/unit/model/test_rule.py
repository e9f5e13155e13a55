"""Rules of policies and profiles: which combinations of fields make sense."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any, Literal

import msgspec
import pytest

from tests.unit.model.documents import document
from tortie.errors import InvalidResource
from tortie.model import from_user, to_store
from tortie.model.rule import Entity

# A rule and the places in it that are wrong; as ingress unless it says otherwise.
RULES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"action": "Pass"}, []),
    ({"action": "allow"}, [".action"]),
    ({"ipVersion": 5}, [".ipVersion"]),
    ({"protocol": "TCP"}, []),
    ({"protocol": "tcp"}, [".protocol"]),
    ({"protocol": 0}, [".protocol"]),
    ({"protocol": "TCP", "destination": {"ports": [80, "1:2", "http"]}}, []),
    ({"protocol": 132, "source": {"notPorts": [80]}}, []),
    ({"destination": {"ports": ["http"]}}, []),
    ({"destination": {"ports": ["http", 80]}}, [".destination.ports[1]"]),
    ({"protocol": "UDPLite", "source": {"notPorts": [80]}}, [".source.notPorts[0]"]),
    ({"protocol": "TCP", "destination": {"ports": [0]}}, [".destination.ports[0]"]),
    ({"protocol": "TCP", "destination": {"notPorts": ["0:80"]}}, [".destination.notPorts[0]"]),
    ({"protocol": "TCP", "destination": {"ports": ["80:79"]}}, [".destination.ports[0]"]),
    ({"protocol": "TCP", "destination": {"ports": [65536]}}, [".destination.ports[0]"]),
    ({"protocol": "TCP", "destination": {"ports": ["a b"]}}, [".destination.ports[0]"]),
    ({"notProtocol": "TCP", "destination": {"ports": [80]}}, [".destination.ports[0]"]),
    ({"protocol": "TCP", "destination": {"ports": [80] * 50}}, []),
    ({"protocol": "TCP", "destination": {"ports": [80] * 51}}, [".destination.ports"]),
    ({"protocol": "ICMP", "icmp": {"type": 8, "code": 0}}, []),
    ({"protocol": 58, "notICMP": {"type": 128}}, []),
    ({"protocol": "TCP", "icmp": {"type": 8}}, [".icmp"]),
    ({"icmp": {"type": 8}}, [".icmp"]),
    ({"protocol": "ICMP", "icmp": {"code": 0}}, [".icmp.code"]),
    ({"protocol": "ICMP", "icmp": {"type": 255}}, [".icmp.type"]),
    ({"protocol": "ICMP", "icmp": {"type": 254, "code": 256}}, [".icmp.code"]),
    ({"protocol": 1, "icmp": {"type": 8}}, []),
    ({"protocol": 58, "icmp": {"type": 128, "code": 0}}, []),
    ({"protocol": 58, "icmp": {"type": 128}, "ipVersion": 6}, []),
    ({"protocol": 58, "icmp": {"type": 128}, "ipVersion": 4}, [".protocol"]),
    ({"protocol": "ICMPv6", "ipVersion": 4}, [".protocol"]),
    ({"notProtocol": 1, "ipVersion": 6}, [".notProtocol"]),
    ({"notProtocol": 58, "ipVersion": 6}, []),
    ({"notProtocol": "ICMP"}, []),
    ({"notICMP": {"type": 8}}, [".notICMP"]),
    ({"protocol": "ICMP", "notICMP": {"code": 1}}, [".notICMP.code"]),
    ({"protocol": "ICMP", "source": {"nets": ["fd00::/8"]}}, []),
    ({"protocol": 256}, [".protocol"]),
    ({"protocol": "ICMP", "ipVersion": 4}, []),
    ({"protocol": "ICMP", "ipVersion": 6}, [".protocol"]),
    ({"protocol": 1, "ipVersion": 6}, [".protocol"]),
    ({"notProtocol": "ICMPv6", "ipVersion": 4}, [".notProtocol"]),
    ({"source": {"nets": ["10.0.0.0/8", "192.0.2.1"]}}, []),
    ({"source": {"nets": ["10.0.0.0/8"]}, "destination": {"notNets": ["fd00::/8"]}}, [""]),
    ({"source": {"nets": ["10.0.0.0/8"]}, "ipVersion": 6}, [".ipVersion"]),
    ({"source": {"nets": ["10.0.0.1/8"]}, "ipVersion": 4}, []),
    ({"source": {"nets": ["10.0.0.0/8", "fd00::/8"]}}, [""]),
    ({"source": {"nets": ["fd00::1"], "notNets": ["fd00::2"]}, "ipVersion": 6}, []),
    ({"source": {"nets": ["fd00::1"]}, "destination": {"nets": ["fd00::2"]}, "ipVersion": 4}, [".ipVersion"]),
    ({"source": {"nets": ["10.0.0.0/33"]}}, [".source.nets[0]"]),
    ({"source": {"nets": ["office"]}}, [".source.nets[0]"]),
    ({"source": {"nets": ["0.0.0.0/0"]}}, []),
    ({"destination": {"notNets": ["fd00::/8", "::/0"]}}, [".destination.notNets[1]"]),
    ({"source": {"notNets": ["0.0.0.0/0"]}}, [".source.notNets[0]"]),
    ({"source": {"nets": ["10.0.0.0/8"] * 257}}, [".source.nets"]),
    ({"source": {"selector": "a == 'b'", "notSelector": "has(c)", "namespaceSelector": "global()"}}, []),
    ({"source": {"namespaceSelector": "!global()"}}, [".source.namespaceSelector"]),
    ({"source": {"selector": "global()"}}, [".source.selector"]),
    ({"source": {"serviceAccounts": {"names": ["a"], "selector": "has(x)"}}}, []),
    ({"source": {"services": {"name": "s", "namespace": "n"}}}, []),
    ({"source": {"services": {"name": "s"}, "ports": ["http"], "notPorts": ["dns"]}}, []),
    ({"source": {"services": {"name": "S"}}}, [".source.services.name"]),
    (
        {"source": {"serviceAccounts": {"names": ["a b"], "selector": "global()"}}},
        [
            ".source.serviceAccounts.names[0]",
            ".source.serviceAccounts.selector",
        ],
    ),
    ({"source": {"services": {"name": "s"}, "serviceAccounts": {}}}, [".source.services"]),
    ({"source": {"services": {"name": "s"}, "selector": "all()"}}, [".source.services"]),
    ({"source": {"services": {"namespace": "n"}}}, [".source.services.name"]),
    ({"source": {"services": {"name": "s"}, "nets": ["10.0.0.0/8"]}}, [".source.services"]),
    ({"destination": {"services": {"name": "s"}}}, [".destination.services"]),
    ({"http": {"methods": ["GET"], "paths": [{"exact": "/a"}, {"prefix": "/b"}]}}, []),
    ({"http": {"methods": ["GET"]}, "protocol": "UDP"}, [".http"]),
    ({"http": {"methods": ["GET"]}, "action": "Deny"}, [".http"]),
    ({"http": {"methods": ["GET"]}, "protocol": 6}, []),
    ({"http": {}}, []),
    ({"http": {"methods": ["GET", "PUT", "GET"]}}, [".http.methods"]),
    ({"http": {"methods": [f"M{number}" for number in range(21)]}}, [".http.methods"]),
    ({"http": {"paths": [{"exact": "/a"}] * 21}}, [".http.paths"]),
    ({"http": {"paths": [{"exact": "/a", "prefix": "/b"}, {}]}}, [".http.paths[0]", ".http.paths[1]"]),
    ({"http": {"paths": [{"exact": "a"}, {"prefix": "/a?b"}]}}, [".http.paths[0].exact", ".http.paths[1].prefix"]),
    ({"source": {"selector": f"a == '{'x' * 1017}'"}}, []),
    ({"source": {"selector": f"a == '{'x' * 1018}'"}}, [".source.selector"]),
    ({"metadata": {"annotations": {"a": "b"}}}, []),
    ({"metadata": {"annotations": {"a b": ""}}}, [".metadata.annotations.a b"]),
]


def places(rule: dict[str, Any], direction: Literal["ingress", "egress"]) -> list[str]:
    try:
        from_user(document("Profile") | {"spec": {direction: [{"action": "Allow"}, {"action": "Allow"} | rule]}})
    except InvalidResource as error:
        return [problem.path.removeprefix(f"spec.{direction}[1]") for problem in error.problems]
    return []


@pytest.mark.parametrize(("rule", "wrong"), RULES)
def test_rules(rule: dict[str, Any], wrong: list[str]) -> None:
    assert places(rule, "ingress") == wrong


def test_services_stand_at_the_far_end() -> None:
    assert places({"destination": {"services": {"name": "s"}}}, "egress") == []
    assert places({"source": {"services": {"name": "s"}}}, "egress") == [".source.services"]


def test_http_is_for_ingress() -> None:
    assert places({"http": {"methods": ["GET"]}}, "egress") == [".http"]


def test_services_of_egress_have_the_ports_of_their_endpoints() -> None:
    rule = {"destination": {"services": {"name": "s"}, "ports": ["http"]}}
    assert places(rule, "egress") == [".destination.services"]


def test_prefixes_are_stored_without_host_bits_and_else_as_they_were_written() -> None:
    nets = ["10.0.0.1/8", "10.0.0.1", "10.0.0.0/16", "192.0.2.1/32"]
    stored = from_user(document("Profile") | {"spec": {"egress": [{"action": "Deny", "source": {"nets": nets}}]}})
    assert stored.spec.egress[0].source.nets == tuple(map(ip_network, ["10.0.0.0/8", *nets[1:]]))
    (rule,) = msgspec.json.decode(to_store(stored))["spec"]["egress"]
    assert rule["source"]["nets"] == ["10.0.0.0/8", *nets[1:]]


def test_there_is_a_limit() -> None:
    body = document("Profile") | {"spec": {"egress": [{"action": "Allow"}] * 1024}}
    resource = from_user(body)
    assert resource.spec.egress[0].source == Entity()
    assert resource.document["spec"] == body["spec"]
    body["spec"]["egress"].append({"action": "Allow"})
    with pytest.raises(InvalidResource, match="at most 1024 items"):
        from_user(body)
