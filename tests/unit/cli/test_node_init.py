"""node init: what becomes of the Node. The host's addresses are given; tests/netns asks a real one."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from typing import Any

import pytest

from tests.unit.cli.conftest import Tortie
from tortie.cli import node_address, node_init
from tortie.cli.host_addresses import Held
from tortie.cli.node_address import METHODS
from tortie.host.preparation import whole
from tortie.host.preparation.whole import Preparation
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
        self.sources = {4: "172.18.203.125", 6: "fd00::125"}  # by the default route
        self.towards: dict[str, str] = {}  # by other routes


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()
    monkeypatch.setattr(Preparation, "is_for_this_namespace", lambda: False)
    monkeypatch.setattr(node_init, "held_addresses", lambda: made.held)

    def source(version: int, destination: str) -> Any:
        text = made.towards.get(destination) or made.sources.get(version)
        return ip_address(text) if text else None

    monkeypatch.setattr(node_address, "source_towards", source)
    for variable in ("IP", "IP6", "AS", "IP_AUTODETECTION_METHOD", "IP6_AUTODETECTION_METHOD"):
        monkeypatch.delenv(variable, raising=False)
    return made


def test_the_default_is_the_address_of_the_default_route(tortie: Tortie) -> None:
    assert tortie("node", "init") == (
        0,
        "Node(node-1) created: 172.18.203.125/24 on eth0 (by the default route), AS of the cluster\n",
        "",
    )
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
    assert (
        tortie("node", "init").stdout
        == "Node(node-1) created: fd00::125/64 on eth0 (by the default route), AS of the cluster\n"
    )


def test_a_host_without_a_default_route(tortie: Tortie, host: Host) -> None:
    host.sources.clear()
    sentence = "; ".join(
        f"no IPv{version} address to take for this node (it has no route to anybody): give --{option} CIDR or"
        f" --{option}-autodetection-method"
        for version, option in ((4, "ip"), (6, "ip6"))
    )
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
    warning = "the Node keeps its address, but 10.0.0.5 is used by the default route: --ip 10.0.0.5 would change it"
    assert tortie("node", "init").stderr == f"Warning: {warning}\n"
    assert tortie("node", "init", "--ip", "10.0.0.5") == (
        0,
        "Node(node-1) updated: 10.0.0.5/8 on eth1, AS of the cluster\n",
        "",
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "--ip fd00::1",
            "--ip fd00::1: must be an address with prefix length, such as 172.18.203.125/24, or autodetect, or none",
        ),
        (
            "--ip6 10.0.0.1",
            "--ip6 10.0.0.1: must be an address with prefix length, such as 2001:db8::125/64, or autodetect, or none",
        ),
        (
            "--ip 10.0.0.1/33",
            "--ip 10.0.0.1/33: must be an address with prefix length, such as 172.18.203.125/24, or autodetect, or"
            " none",
        ),
        ("--ip 127.0.0.1/8", "--ip 127.0.0.1/8: cannot be a node's address, since other nodes do not reach it"),
        ("--ip6 fe80::1/64", "--ip6 fe80::1/64: cannot be a node's address, since other nodes do not reach it"),
        (
            "--ip-autodetection-method kubernetes-internal-ip",
            "--ip-autodetection-method: kubernetes-internal-ip asks Kubernetes for the address, which is not there:"
            f" {METHODS}",
        ),
        (
            "--ip6-autodetection-method cidr=x",
            "--ip6-autodetection-method: method 'cidr=x': 'x' does not appear to be an IPv4 or IPv6 network",
        ),
        (
            "--ip-autodetection-method interface=(",
            "--ip-autodetection-method: method 'interface=(': missing ), unterminated subpattern at position 0",
        ),
        ("--ip-autodetection-method best", f"--ip-autodetection-method: method 'best' is none: {METHODS}"),
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


class TestDetection:
    """A host with six kinds of addresses: what each method takes, and what it says of the others."""

    @pytest.fixture(autouse=True)
    def six(self, host: Host) -> None:
        host.held = [
            Held(ip_interface("127.0.0.1/8"), "lo", 1),
            Held(ip_interface("172.18.203.125/24"), "eth0", 2),
            Held(ip_interface("172.18.203.100/24"), "eth0", 2, secondary=True),
            Held(ip_interface("172.18.203.99/32"), "eth0", 2),
            Held(ip_interface("10.0.0.5/8"), "eth1", 3),
            Held(ip_interface("192.0.2.1/24"), "br0", 4, bridge=True),
            Held(ip_interface("172.17.0.1/16"), "docker0", 5, bridge=True),
            Held(ip_interface("169.254.7.7/16"), "eth2", 6),
        ]

    @pytest.mark.parametrize(
        ("method", "address"),
        [
            ("first-found", "10.0.0.5/8"),  # the one whose interface was made last
            ("interface=eth0", "172.18.203.125/24"),
            ("interface=nothing,th[0]", "172.18.203.125/24"),
            ("interface=br", "192.0.2.1/24"),  # named by the user
            ("skip-interface=eth1", "172.18.203.125/24"),
            ("cidr=198.51.100.0/24, 172.18.0.0/16", "172.18.203.125/24"),
            ("can-reach=far.example", "10.0.0.5/8"),
        ],
    )
    def test_methods(self, tortie: Tortie, host: Host, method: str, address: str) -> None:
        host.towards["far.example"] = "10.0.0.5"
        said = tortie("node", "init", "--ip", "autodetect", "--ip-autodetection-method", method)
        assert said.stdout.startswith(f"Node(node-1) created: {address} on ")
        assert f"({method.replace(', ', ',')})" in said.stdout

    @pytest.mark.parametrize("method", ["cidr=172.18.203.99/32", "interface=eth2", "skip-interface=eth"])
    def test_what_fits_nothing(self, tortie: Tortie, method: str) -> None:
        said = tortie("node", "init", "--ip-autodetection-method", method, "--ip6", "none")
        assert (said.code, said.stdout) == (1, "")
        assert said.stderr.startswith("Error: no IPv4 address to take for this node (")

    def test_peers_come_before_the_default_route(self, tortie: Tortie, host: Host) -> None:
        tortie.put(
            ResourceKey("BGPPeer", "", "tor"),
            {
                "kind": "BGPPeer",
                "apiVersion": "projectcalico.org/v3",
                "metadata": {"name": "tor"},
                "spec": {"peerIP": "10.0.0.1", "asNumber": 64601},
            },
        )
        host.towards["10.0.0.1"] = "10.0.0.5"
        said = tortie("node", "init")
        assert said.stdout == "Node(node-1) created: 10.0.0.5/8 on eth1 (towards BGPPeer(tor)), AS of the cluster\n"

    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            ("172.17.0.1", "172.17.0.1/16 on docker0, by the default route: a bridge"),
            ("172.18.203.99", "172.18.203.99/32 on eth0, by the default route: a single address, as virtual ones are"),
            ("169.254.7.7", "169.254.7.7/16 on eth2, by the default route: other hosts do not reach it"),
        ],
    )
    def test_what_is_never_chosen(self, tortie: Tortie, host: Host, source: str, reason: str) -> None:
        host.sources = {4: source}
        said = tortie("node", "init")
        assert (said.code, said.stdout) == (1, "")
        assert f"({reason})" in said.stderr

    def test_environment_as_calico_has_it(self, tortie: Tortie, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("IP", "autodetect")
        monkeypatch.setenv("IP_AUTODETECTION_METHOD", "interface=eth1")
        monkeypatch.setenv("AS", "65001")
        assert "10.0.0.5/8 on eth1 (interface=eth1), AS 65001" in tortie("node", "init").stdout
        # The flag wins, and what is stored stays when nothing is found.
        said = tortie("node", "init", "--ip-autodetection-method", "interface=gone")
        assert said.stdout == "Node(node-1) unchanged: 10.0.0.5/8 on eth1, AS 65001\n"
        assert "Warning: the Node keeps 10.0.0.5/8: no IPv4 address to take" in said.stderr

    def test_a_stored_address_is_detected_again_only_when_asked(self, tortie: Tortie) -> None:
        tortie("node", "init", "--ip", "10.0.0.5")
        for words in ((), ("--ip", "none"), ("--ip-autodetection-method", "interface=eth0")):
            assert "10.0.0.5/8 on eth1" in tortie("node", "init", *words).stdout
        assert "172.18.203.125/24" in tortie("node", "init", "--ip", "autodetect").stdout

    def test_a_temporary_ipv6_address_gives_way_to_the_lasting_one(self, tortie: Tortie, host: Host) -> None:
        host.held += [
            Held(ip_interface("fd00::abcd/64"), "eth0", 2, temporary=True),
            Held(ip_interface("fd00::125/64"), "eth0", 2),
        ]
        host.sources = {6: "fd00::abcd"}
        assert "fd00::125/64 on eth0 (by the default route)" in tortie("node", "init").stdout


class FakeHost:
    """A host with one thing to do, once."""

    def __init__(self, failing: bool = False) -> None:
        self.todo = ["write /etc/a: so that b\n    +c", "run d"]
        self.failing = failing

    def __call__(self, settings: object) -> FakeHost:
        return self

    @staticmethod
    def is_for_this_namespace() -> bool:
        return True

    def missing(self) -> list[str]:
        return ["packages: bird2"]

    def left_alone(self) -> list[str]:
        return ["/etc/b was written by somebody else"]

    def steps(self) -> list[str]:
        return self.todo

    def do(self) -> list[str]:
        self.todo = []
        return ["/etc/a cannot be written: no space"] * self.failing


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    made = FakeHost()
    monkeypatch.setattr(whole, "Preparation", made)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return made


NODE = "Node(node-1): 172.18.203.125/24 on eth0, AS of the cluster\n"
NEW = "172.18.203.125/24 on eth0 (by the default route), AS of the cluster"
WARNINGS = "Warning: this host lacks packages: bird2\nWarning: /etc/b was written by somebody else\n"


def test_a_dry_run_tells_all_and_does_nothing(tortie: Tortie, fake: FakeHost) -> None:
    said = tortie("node", "init", "--dry-run")
    new = f"create Node(node-1), and the datastore {tortie.store}: {NEW}\n"
    assert said == (0, f"{new}write /etc/a: so that b\n    +c\nrun d\n", WARNINGS)
    assert (fake.todo, tortie.store.exists()) == (["write /etc/a: so that b\n    +c", "run d"], False)
    tortie("node", "init")
    assert tortie("node", "init", "--dry-run").stdout.startswith(f"leave {NODE}")
    assert tortie("node", "init", "--dry-run", "--as", "7").stdout.startswith("update Node(node-1): ")


def test_where_nobody_can_be_asked_the_node_alone_is_written_unless_it_was_agreed_to(
    tortie: Tortie, fake: FakeHost
) -> None:
    said = tortie("node", "init")
    assert (said.code, said.stdout.splitlines()) == (0, [f"Node(node-1) created: {NEW}"])
    assert said.stderr.endswith("this host is not prepared: see `tortie node init --dry-run`, and do it with --yes\n")
    assert fake.todo
    said = tortie("node", "init", "--yes")
    assert (said.code, said.stderr) == (0, WARNINGS)
    assert said.stdout.splitlines()[2:] == ["run d", f"Node(node-1) unchanged: {NODE[14:-1]}"]
    assert not fake.todo


def test_a_failure_is_told_and_the_node_written(tortie: Tortie, fake: FakeHost) -> None:
    fake.failing = True
    said = tortie("node", "init", "--yes")
    assert (said.code, "Error: /etc/a cannot be written: no space\n" in said.stderr) == (1, True)
    assert tortie.names("node") == ["node-1"]


@pytest.mark.parametrize("words", [("--name", "other"), ()])
def test_another_node_or_another_user_prepares_nothing(
    tortie: Tortie, fake: FakeHost, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    if not words:
        monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "prepare" not in "".join(map(str, tortie("node", "init", *words)))
    assert fake.todo
