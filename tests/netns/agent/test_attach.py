"""Attach and detach through a real agent: what stands afterwards, and that a failure leaves nothing."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.netns.agent.running import ApiError, RunningAgent
from tests.netns.conftest import NetnsFactory
from tortie.kernel import netns as kernel_netns

HOST_END = "calide4e752220c"  # cali + sha1("default.web.eth0")
ENDPOINT = "default/host--a-tortie-web-eth0"


def stored(agent: RunningAgent) -> dict[str, Any]:
    """The WorkloadEndpoints of the store, by the last part of their keys."""
    with sqlite3.connect(f"file:{agent.store}?mode=ro", uri=True) as store:
        rows = store.execute("select key, value from kv where key like '%/workloadendpoints/%'").fetchall()
    store.close()
    return {key.rpartition("/")[2]: json.loads(value) for key, value in rows}


def links(agent: RunningAgent) -> dict[str, int]:
    """Indexes by name: a link made anew has another."""
    return {each["ifname"]: each["ifindex"] for each in json.loads(agent.namespace.run("ip -j link"))}


def test_a_veth_from_nothing_to_routed(agent: RunningAgent, netns: NetnsFactory) -> None:
    guest = netns("web")
    result = agent.attach("web", netns=guest.path, addresses=["10.65.0.24", "fd00:65::24"], labels={"app": "web"})
    assert (result["interface"], result["waiting"]) == (HOST_END, "")
    assert agent.routes() == ["10.65.0.24", "fd00:65::24"]
    assert agent.status()["endpoints"][ENDPOINT]["state"] == "up"
    document = stored(agent)["host--a-tortie-web-eth0"]
    assert document["spec"]["ipNetworks"] == ["10.65.0.24/32", "fd00:65::24/128"]
    assert document["spec"]["profiles"] == ["projectcalico-default-allow"]
    assert document["metadata"]["labels"]["app"] == "web"
    routes = [line.split()[:5] for line in guest.run("ip route").splitlines()]
    assert routes == [["default", "via", "169.254.1.1", "dev", "eth0"], ["169.254.1.1", "dev", "eth0", "proto", "116"]]
    assert "default via fe80::ecee:eeff:feee:eeee dev eth0" in guest.run("ip -6 route")
    neighbours = guest.run("ip neigh show nud permanent")
    assert "169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee" in neighbours
    assert "fe80::ecee:eeff:feee:eeee dev eth0 lladdr ee:ee:ee:ee:ee:ee" in neighbours
    agent.namespace.run("ping -c1 -W2 10.65.0.24 && ping -c1 -W2 fd00:65::24")


def test_repeating_an_attach_changes_nothing(agent: RunningAgent, netns: NetnsFactory) -> None:
    guest = netns("web")
    request = {"netns": guest.path, "addresses": ["10.65.0.24"]}
    first = agent.attach("web", **request)
    before, links_before = agent.status(), links(agent)
    assert agent.attach("web", **request) == first
    after = agent.status()
    assert (after["revision"], after["writes"]) == (before["revision"], before["writes"])
    assert links(agent) == links_before


def test_an_attach_with_other_addresses_replaces_them(agent: RunningAgent, netns: NetnsFactory) -> None:
    guest = netns("web")
    agent.attach("web", netns=guest.path, addresses=["10.65.0.24"])
    agent.attach("web", netns=guest.path, addresses=["10.65.0.25"])
    assert agent.routes() == ["10.65.0.25"]
    assert "10.65.0.24" not in guest.run("ip addr")
    agent.namespace.run("ping -c1 -W2 10.65.0.25")


def test_the_first_packet_passes_also_when_both_ends_would_get_one_index(
    agent: RunningAgent, netns: NetnsFactory
) -> None:
    guest = netns("web")
    assert list(links(agent)) == ["lo"], "a host and a guest alike: both ends would get index 2"
    agent.attach("web", netns=guest.path, addresses=["10.65.0.24"])
    ends = links(agent)[HOST_END], json.loads(guest.run("ip -j link show eth0"))[0]["ifindex"]
    assert ends[0] != ends[1]
    agent.namespace.run("ping -c1 -W1 10.65.0.24")


def test_detach_removes_all_and_may_be_repeated(agent: RunningAgent, netns: NetnsFactory) -> None:
    guest = netns("web")
    before = links(agent)
    agent.attach("web", netns=guest.path, addresses=["10.65.0.24"])
    agent.detach("web")
    assert agent.routes() == []
    assert (links(agent), stored(agent), agent.status()["endpoints"]) == (before, {}, {})
    agent.detach("web")
    agent.attach("web", netns=guest.path, addresses=["10.65.0.24"])
    assert agent.routes() == ["10.65.0.24"]


def test_the_workload_died_and_comes_again(agent: RunningAgent, netns: NetnsFactory) -> None:
    guest = netns("web")
    agent.attach("web", netns=guest.path, addresses=["10.65.0.24"])
    kernel_netns.delete(guest.name)
    agent.wait(lambda board: board["endpoints"][ENDPOINT]["state"] == "down")
    again = netns("web2")
    agent.attach("web", netns=again.path, addresses=["10.65.0.24"])
    agent.namespace.run("ping -c1 -W2 10.65.0.24")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"netns": "/run/netns/there-is-none", "addresses": ["10.65.0.24"]}, "there-is-none"),
        ({"netns": "{guest}", "addresses": ["10.65.0.24.1"]}, "10.65.0.24.1"),
        ({"netns": "{guest}", "addresses": ["10.65.0.0/24"]}, "single"),
        ({"netns": "{guest}", "addresses": ["127.0.0.1"]}, "127.0.0.1"),
        ({"netns": "{guest}", "addresses": ["::ffff:10.65.0.24"]}, "10.65.0.24"),
        ({"netns": "{guest}", "addresses": []}, "address"),
        ({"netns": "{guest}", "addresses": ["10.65.0.24", "10.65.0.24/32"]}, "twice"),
        ({"netns": "{host}", "addresses": ["10.65.0.24"]}, "host's own"),
        ({"addresses": ["10.65.0.24"]}, "--netns"),
        ({"netns": "{guest}", "tap": "tap1", "mac": "02:00:00:00:00:01", "addresses": ["10.65.0.24"]}, "not both"),
        ({"tap": "tap1", "addresses": ["10.65.0.24"]}, "MAC"),
        ({"tap": "tap1", "mac": "03:00:00:00:00:01", "addresses": ["10.65.0.24"]}, "multicast"),
        ({"tap": "tap1", "mac": "nonsense", "addresses": ["10.65.0.24"]}, "nonsense"),
        ({"netns": "{guest}", "addresses": ["10.65.0.24"], "mtu": 100}, "MTU"),
        ({"netns": "{guest}", "addresses": ["10.65.0.24"], "labels": {"bad label": "x"}}, "bad label"),
        ({"netns": "{guest}", "addresses": ["10.65.0.24"], "namespace": "a/b"}, "a/b"),
        ({"netns": "{guest}", "addresses": ["10.65.0.24"], "adress": "10.65.0.24"}, "adress"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    agent: RunningAgent, netns: NetnsFactory, request_: dict[str, Any], words: str
) -> None:
    guest = netns("web")
    if "netns" in request_:
        request_ = {**request_, "netns": request_["netns"].format(guest=guest.path, host=agent.namespace.path)}
    before = links(agent)
    with pytest.raises(ApiError) as refused:
        agent.attach("web", **request_)
    assert words in str(refused.value)
    assert (links(agent), stored(agent), agent.routes()) == (before, {}, [])
    assert "eth0" not in guest.run("ip link")


def test_an_address_that_another_endpoint_holds_is_refused(agent: RunningAgent, netns: NetnsFactory) -> None:
    agent.attach("web", netns=netns("web").path, addresses=["10.65.0.24"])
    with pytest.raises(ApiError) as refused:
        agent.attach("db", netns=netns("db").path, addresses=["10.65.0.24"])
    assert "host--a-tortie-web-eth0" in str(refused.value)
    assert list(stored(agent)) == ["host--a-tortie-web-eth0"]


def test_an_attach_that_is_never_routed_is_undone(agent: RunningAgent, netns: NetnsFactory) -> None:
    guest = netns("web")
    run = agent.namespace.run
    run("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up")
    run("ip route add 10.65.0.24 dev up0")
    before = links(agent)
    with pytest.raises(ApiError) as refused:
        agent.attach("web", netns=guest.path, addresses=["10.65.0.24"], timeout_s=2)
    assert "somebody else" in str(refused.value)
    agent.wait(lambda board: board["endpoints"] == {})
    assert (links(agent), stored(agent)) == (before, {})
    assert "10.65.0.24 dev up0" in run("ip route")
    run("ip route del 10.65.0.24")
    agent.attach("web", netns=guest.path, addresses=["10.65.0.24"])


def test_a_change_that_is_never_routed_leaves_what_was_attached(agent: RunningAgent, netns: NetnsFactory) -> None:
    guest = netns("web")
    run = agent.namespace.run
    run("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up")
    run("ip tuntap add dev tap1 mode tap && ip link set tap1 up")
    agent.attach("web", netns=guest.path, addresses=["10.65.0.24"], mtu=1400)
    agent.attach("vm", tap="tap1", mac="02:00:00:00:00:01", addresses=["10.65.0.26"], mtu=1400)
    before = stored(agent)
    run("ip route add 10.65.0.25 dev up0")
    with pytest.raises(ApiError, match="somebody else"):
        agent.attach("web", netns=guest.path, addresses=["10.65.0.25"], mtu=1300, timeout_s=2)
    with pytest.raises(ApiError, match="carrier"):
        agent.attach(
            "vm", tap="tap1", mac="02:00:00:00:00:01", addresses=["10.65.0.26"], mtu=1300, wait=True, timeout_s=1
        )
    agent.wait(lambda board: board["endpoints"][ENDPOINT]["state"] == "up")
    assert {name: each["spec"] for name, each in stored(agent).items()} == {
        name: each["spec"] for name, each in before.items()
    }
    assert "mtu 1400" in guest.run("ip link show eth0")
    assert "mtu 1400" in run("ip link show tap1")
    run("ping -c1 -W2 10.65.0.24")


def test_another_mac_or_mtu_reaches_a_pair_that_stands(agent: RunningAgent, netns: NetnsFactory) -> None:
    guest = netns("web")
    agent.attach("web", netns=guest.path, addresses=["10.65.0.24"])
    result = agent.attach("web", netns=guest.path, addresses=["10.65.0.24"], mac="02:00:00:00:00:77", mtu=1400)
    assert result["mac"] == "02:00:00:00:00:77"
    shown = guest.run("ip link show eth0")
    assert "02:00:00:00:00:77" in shown
    assert "mtu 1400" in shown
    assert "mtu 1400" in agent.namespace.run(f"ip link show {HOST_END}")
    agent.namespace.run("ping -c1 -W2 10.65.0.24")
    other = netns("db")
    agent.attach("db", netns=other.path, addresses=["10.65.0.25"])
    guest.run("ping -c1 -W2 10.65.0.25")


def test_a_namespace_with_an_eth0_of_its_own_keeps_it(agent: RunningAgent, netns: NetnsFactory) -> None:
    guest = netns("web")
    guest.run("ip link add eth0 type bridge")
    before = guest.run("ip -j link")
    with pytest.raises(ApiError, match="eth0"):
        agent.attach("web", netns=guest.path, addresses=["10.65.0.24"])
    assert guest.run("ip -j link") == before


def test_a_tap_waits_for_its_guest(agent: RunningAgent) -> None:
    agent.namespace.run("ip tuntap add dev tapa429fb36-04 mode tap && ip link set tapa429fb36-04 up")
    request = {"tap": "tapa429fb36-04", "mac": "FA-16-3E-AA-BB-CC", "addresses": ["10.65.0.24"]}
    result = agent.attach("vm1", **request)
    assert "carrier" in result["waiting"]
    assert agent.routes() == []
    with pytest.raises(ApiError, match="carrier"):
        agent.attach("vm1", **request, wait=True, timeout_s=0.5)
    assert "fe:16:3e:aa:bb:cc" in agent.namespace.run("ip link show tapa429fb36-04")
    agent.detach("vm1")
    assert "tapa429fb36-04" in links(agent), "a tap is its hypervisor's"


def test_the_mtu_is_that_of_the_uplink(agent: RunningAgent, netns: NetnsFactory) -> None:
    run = agent.namespace.run
    run("ip link add up0 mtu 1400 type veth peer name up1 && ip addr add 172.18.203.126/24 dev up0")
    node = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "Node",
        "metadata": {"name": "host-a"},
        "spec": {"bgp": {"ipv4Address": "172.18.203.126/24"}},
    }
    file = agent.directory / "node.json"
    file.write_text(json.dumps(node))
    run(f"{agent.python} -m tortie -c {agent.config} apply -f {file}")
    guest = netns("web")
    agent.attach("web", netns=guest.path, addresses=["10.65.0.24"])
    assert "mtu 1400" in run(f"ip link show {HOST_END}")
    assert "mtu 1400" in guest.run("ip link show eth0")
    explicit = netns("db")
    agent.attach("db", netns=explicit.path, addresses=["10.65.0.25"], mtu=1300)
    assert "mtu 1300" in explicit.run("ip link show eth0")
    for name, mtu in (("tap1", 1500), ("tap2", 1280)):
        run(f"ip tuntap add dev {name} mode tap && ip link set {name} mtu {mtu} up")
    agent.attach("vm1", tap="tap1", mac="02:00:00:00:00:01", addresses=["10.65.0.26"])
    agent.attach("vm2", tap="tap2", mac="02:00:00:00:00:02", addresses=["10.65.0.27"])
    assert "mtu 1400" in run("ip link show tap1")
    assert "mtu 1280" in run("ip link show tap2"), "never raised unasked: the guest has the other side"
    agent.attach("vm2", tap="tap2", mac="02:00:00:00:00:02", addresses=["10.65.0.27"], mtu=1500)
    assert "mtu 1500" in run("ip link show tap2")


def test_twenty_at_once(agent: RunningAgent, netns: NetnsFactory) -> None:
    guests = [netns(f"w{i}") for i in range(20)]
    with ThreadPoolExecutor(20) as pool:
        jobs = [
            pool.submit(agent.attach, f"w{i}", netns=guest.path, addresses=[f"10.65.1.{i}"])
            for i, guest in enumerate(guests)
        ]
        for job in jobs:
            job.result()
    assert len(agent.routes()) == 20
    assert all(report["state"] == "up" for report in agent.status()["endpoints"].values())


def test_detaching_a_tap_leaves_what_others_put_on_it(agent: RunningAgent) -> None:
    """With its last IPv4 address, which is ours, the kernel would drop it."""
    agent.namespace.run("""ip tuntap add tap9 mode tap; ip link set tap9 up
    ip route add 198.51.100.7 dev tap9 mtu 1400 proto 80; ip neigh add 198.51.100.7 lladdr 02:00:00:00:00:97 dev tap9
    """)
    shown = "ip -d route show dev tap9; ip neigh show dev tap9 nud permanent"
    before = agent.namespace.run(shown)
    agent.attach("vm", tap="tap9", mac="02:00:00:00:00:01", addresses=["10.65.0.25"])
    agent.detach("vm")
    agent.wait(lambda board: not board["pending"])
    assert agent.namespace.run(shown) == before
    assert "169.254.1.1" not in agent.namespace.run("ip addr show dev tap9")
