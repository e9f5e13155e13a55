"""node init: what becomes of the Node. The host's addresses are given; tests/netns asks a real one."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest

from tests.unit.cli.conftest import Tortie
from tortie.cli import node_init
from tortie.cli.host_addresses import Held
from tortie.model.resource import ResourceKey


class Host:
    """A host with these addresses and default routes."""

    def __init__(self) -> None:
        self.held = [
            Held(ip_interface("127.0.0.1/8"), "lo"),
            Held(ip_interface("172.18.203.125/24"), "eth0"),
            Held(ip_interface("10.0.0.5/8"), "eth1"),
            Held(ip_interface("fd00::125/64"), "eth0"),
        ]
        self.sources = {4: "172.18.203.125", 6: "fd00::125"}


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()
    monkeypatch.setattr(node_init, "held_addresses", lambda: made.held)
    sources = made.sources
    monkeypatch.setattr(
        node_init, "default_source", lambda version: ip_address(sources[version]) if version in sources else None
    )
    return made


def test_the_default_is_the_address_of_the_default_route(tortie: Tortie) -> None:
    assert tortie("node", "init") == (0, "Node(node-1) created: 172.18.203.125/24 on eth0, AS of the cluster\n", "")
    [node] = tortie.items("node")
    assert (node["metadata"]["name"], node["spec"]) == ("node-1", {"bgp": {"ipv4Address": "172.18.203.125/24"}})
    assert tortie.names("clusterinformation") == ["default"]


def test_doing_it_again_changes_nothing(tortie: Tortie) -> None:
    tortie("node", "init")
    before = tortie.items("node")
    assert tortie("node", "init").stdout == "Node(node-1) unchanged: 172.18.203.125/24 on eth0, AS of the cluster\n"
    assert tortie.items("node") == before


def test_a_host_with_ipv6_alone(tortie: Tortie, host: Host) -> None:
    del host.sources[4]
    assert tortie("node", "init").stdout == "Node(node-1) created: fd00::125/64 on eth0, AS of the cluster\n"


def test_a_host_without_a_default_route(tortie: Tortie, host: Host) -> None:
    host.sources.clear()
    sentence = "this host has no default route to take its address from: give --ip CIDR or --ip6 CIDR"
    assert tortie("node", "init") == (1, "", f"Error: {sentence}\n")
    assert tortie.names("node") == []


def test_everything_may_be_given(tortie: Tortie) -> None:
    said = tortie("node", "init", "--ip", "10.0.0.5", "--ip6", "fd00::125/64", "--as", "1.10", "--name", "other")
    assert said == (
        0,
        "Node(other) created: 10.0.0.5/8 on eth1, fd00::125/64 on eth0, AS 65546\n",
        'Warning: the agent of this host is node node-1: set node = "other" for it\n',
    )
    [node] = tortie.items("node")
    assert node["spec"]["bgp"] == {"asNumber": 65546, "ipv4Address": "10.0.0.5/8", "ipv6Address": "fd00::125/64"}


def test_what_is_not_asked_for_stays(tortie: Tortie) -> None:
    document = {
        "kind": "Node",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {
            "name": "node-1",
            "uid": "u",
            "creationTimestamp": "2026-01-31T00:00:00Z",
            "labels": {"rack": "r1"},
        },
        "spec": {
            "bgp": {"ipv4Address": "172.18.203.125/24", "routeReflectorClusterID": "1.0.0.1", "shiny": 1},
            "alsoNew": {"a": [1]},
            "orchRefs": [{"orchestrator": "openstack"}],
        },
    }
    tortie.put(ResourceKey("Node", "", "node-1"), document)
    assert tortie("node", "init", "--as", "65001").stdout.startswith("Node(node-1) updated: ")
    [node] = tortie.items("node")
    assert node["metadata"]["labels"] == {"rack": "r1"}
    assert node["metadata"]["uid"] == "u"
    assert node["spec"] == {
        "bgp": {
            "asNumber": 65001,
            "ipv4Address": "172.18.203.125/24",
            "routeReflectorClusterID": "1.0.0.1",
            "shiny": 1,
        },
        "alsoNew": {"a": [1]},
        "orchRefs": [{"orchestrator": "openstack"}],
    }


def test_an_address_that_another_node_has_is_refused(tortie: Tortie) -> None:
    tortie("node", "init", "--name", "old")
    before = tortie.items("node")
    said = tortie("node", "init")
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr.startswith("Error: 172.18.203.125 is the address of Node(old) already: ")
    assert tortie.items("node") == before


def test_an_address_that_the_host_does_not_have_is_a_warning(tortie: Tortie) -> None:
    said = tortie("node", "init", "--ip", "192.0.2.7")
    assert said == (
        0,
        "Node(node-1) created: 192.0.2.7/32, AS of the cluster\n",
        "Warning: no interface of this host has 192.0.2.7: other nodes will not reach it\n",
    )


def test_an_address_that_moved_is_told_and_not_followed(tortie: Tortie, host: Host) -> None:
    tortie("node", "init")
    host.sources[4] = "10.0.0.5"
    warning = "the Node keeps its address, but the default route leaves from 10.0.0.5: --ip 10.0.0.5 would change it"
    assert tortie("node", "init").stderr == f"Warning: {warning}\n"
    assert tortie("node", "init", "--ip", "10.0.0.5") == (
        0,
        "Node(node-1) updated: 10.0.0.5/8 on eth1, AS of the cluster\n",
        "",
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--ip fd00::1", "--ip fd00::1: must be an address with prefix length, such as 172.18.203.125/24"),
        ("--ip6 10.0.0.1", "--ip6 10.0.0.1: must be an address with prefix length, such as 2001:db8::125/64"),
        ("--ip 10.0.0.1/33", "--ip 10.0.0.1/33: must be an address with prefix length, such as 172.18.203.125/24"),
        ("--ip 127.0.0.1/8", "--ip 127.0.0.1/8: cannot be a node's address, since other nodes do not reach it"),
        ("--ip6 fe80::1/64", "--ip6 fe80::1/64: cannot be a node's address, since other nodes do not reach it"),
        ("--as x", "--as x: must be an AS number: 0 to 4294967295, or dotted as 1.10"),
    ],
)
def test_bad_usage(tortie: Tortie, words: str, sentence: str) -> None:
    assert tortie("node", "init", *words.split()) == (2, "", f"Error: {sentence}\n")
    assert not tortie.store.exists()


def test_a_name_that_no_node_may_have(tortie: Tortie) -> None:
    said = tortie("node", "init", "--name", "A_B")
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr.startswith("Error: Node(A_B): metadata.name: must be lower-case letters")
