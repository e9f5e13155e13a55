"""Host endpoints: to the host, from it, through it, before tracking and before translation, as the judge says."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from ipaddress import ip_network

import msgspec
import pytest

from tests.contract.arena import HOST_ADDRESSES
from tests.contract.test_life import MACS, OPEN, Host, host
from tests.unit.intent.policy_text import chain, packet, policy, workload
from tortie.intent.packet import Flow, Packet
from tortie.intent.policy import BothWays, FailsafePort, HostEndpointPolicy, PolicySettings
from tortie.intent.state import PolicyChanges, PolicyState
from tortie.intent.verdict import Verdict, verdict
from tortie.model.resource import ResourceKey

__all__ = ["host"]


POLICIES = [
    OPEN,
    policy("host", ingress="Allow tcp destination=443\nAllow udp", egress="Allow udp destination=443"),
    policy("through", ingress="Deny udp\nAllow", egress="Deny tcp destination=81\nAllow"),
    policy("before", ingress="Deny source=198.51.100.66/32\nAllow tcp destination=8443"),
    policy("raw", ingress="Deny source=198.51.100.99/32\nAllow udp destination=53", egress="Allow udp source=53"),
]
NORMAL = BothWays(ingress=chain("default=host"), egress=chain("default=host"))
FORWARD = BothWays(ingress=chain("default=through"), egress=chain("default=through"))


def host_endpoint(name: str, interface: str = "", **fields: object) -> HostEndpointPolicy:
    return HostEndpointPolicy(key=ResourceKey("HostEndpoint", "", name), interface=interface, **fields)  # type: ignore[arg-type]


BY_NAME = host_endpoint(
    "named",
    "eth0",
    normal=NORMAL,
    forward=FORWARD,
    untracked=BothWays(ingress=chain("default:pass=raw"), egress=chain("default:pass=raw")),
    pre_dnat=chain("default:pass=before"),
)
BY_ADDRESS = msgspec.structs.replace(BY_NAME, interface="", addresses=HOST_ADDRESSES[:1])
REST = msgspec.structs.replace(BY_NAME, interface="*", untracked=BothWays())
SILENT = host_endpoint("named", "eth0")
CHANGES = PolicyChanges(
    policies={each.key: each for each in POLICIES},
    workloads={
        each.key: each
        for each in (
            workload("a", "10.65.0.1,fd00:65::1", ingress="| open", egress="| open"),
            workload("b", "10.65.0.2,fd00:65::2", ingress="| open", egress="| open"),
        )
    },
    settings=PolicySettings(
        failsafe_inbound=(FailsafePort(6, 22), FailsafePort(6, 179, ip_network("172.18.203.0/24"))),
        failsafe_outbound=(FailsafePort(17, 67),),
    ),
)
US = "172.18.203.125"
CASES = [
    f"eth0 198.51.100.1:9 > {US}:443 tcp",
    f"eth0 198.51.100.1:9 > {US}:80 tcp",
    f"eth0 198.51.100.1:9 > {US}:80 udp",
    f"eth0 198.51.100.1:9 > {US}:22 tcp",
    f"eth0 198.51.100.99:9 > {US}:22 tcp",
    f"eth0 198.51.100.1:9 > {US}:179 tcp",
    f"eth0 172.18.203.9:9 > {US}:179 tcp",
    f"eth0 198.51.100.1:9 > {US}:8443 tcp",
    f"eth0 198.51.100.66:9 > {US}:443 tcp",
    f"eth0 198.51.100.66:9 > {US}:22 tcp",
    f"eth0 198.51.100.99:9 > {US}:443 tcp",
    f"eth0 198.51.100.1:9 > {US}:53 udp",
    "eth0 [2001:db8::1]:9 > [fd00:18::125]:443 tcp",
    "eth0 [2001:db8::1]:9 > [fd00:18::125]:80 tcp",
    "eth0 198.51.100.1:9 > 10.65.0.1:80 tcp",
    "eth0 198.51.100.1:9 > 10.65.0.1:80 udp",
    "eth0 198.51.100.66:9 > 10.65.0.1:80 tcp",
    "eth0 198.51.100.99:9 > 10.65.0.1:80 tcp",
    "eth0 [2001:db8::1]:9 > [fd00:65::1]:80 udp",
    "eth0 198.51.100.1:9 > 192.0.2.7:80 udp",
    "eth0 198.51.100.1:9 > 192.0.2.7:80 tcp",
    "calia 10.65.0.1:9 > 198.51.100.1:81 tcp",
    "calia 10.65.0.1:9 > 198.51.100.1:82 tcp",
    "calia 10.65.0.1:9 > 10.65.0.2:81 tcp",
    f"calia 10.65.0.1:9 > {US}:443 tcp",
    f"- {US}:9 > 198.51.100.1:443 udp",
    f"- {US}:9 > 198.51.100.1:80 udp",
    f"- {US}:9 > 198.51.100.1:67 udp",
    f"- {US}:53 > 198.51.100.1:80 udp",
    f"- {US}:9 > 10.65.0.1:80 udp",
]


def test_a_policy_is_as_before_when_a_host_endpoint_that_shared_it_goes(host: Host) -> None:
    """Its rules are one look-up, in one map wherever they are asked."""
    rules = "\n".join(f"Allow tcp destination={port}" for port in range(80, 90))
    shared = policy("shared", ingress=rules)
    receiver = workload("b", "10.65.0.2", ingress="default=shared", egress="| open")
    forward = BothWays(ingress=chain("default=shared"))
    endpoint = host_endpoint("named", "eth0", forward=forward)
    host.take(PolicyChanges(policies={OPEN.key: OPEN, shared.key: shared}, workloads={receiver.key: receiver}))
    before = host.rules()
    host.take(PolicyChanges(host_endpoints={endpoint.key: endpoint}))
    texts = ["eth0 198.51.100.1:9 > 10.65.0.2:85 tcp", "eth0 198.51.100.1:9 > 10.65.0.2:95 tcp"]
    assert host.passes(*texts) == [True, False]
    host.take(PolicyChanges(host_endpoints={endpoint.key: None}))
    assert host.passes(*texts) == [True, False]
    assert host.rules() == before


class Witness:
    """Counts what reaches the host's own programs, behind everybody's rules."""

    def __init__(self, host: Host) -> None:
        self._run = host.arena.namespace.run
        self._run("nft add table inet witness")
        self._run("nft 'add chain inet witness input { type filter hook input priority 300; }'")
        self._run("nft add rule inet witness input meta l4proto '{ tcp, udp }' iifname != lo counter")

    def count(self) -> int:
        return int(self._run("nft list chain inet witness input").split("packets ")[1].split()[0])


def passes(host: Host, witness: Witness, one: Packet, mark: int) -> bool:
    """Whether a packet gets to where it is going: out of an interface, or to the host."""
    before = witness.count()
    if one.interface:
        host.arena.send(msgspec.structs.replace(one, source_mac=MACS[one.interface]), mark)
    else:
        host.arena.namespace.call(lambda: send_as_host(one, mark))
    route = host.arena.fib.route(one.destination)
    if route is not None and not route.interface:
        return witness.count() > before
    return any(frame.destination == one.destination for _, frame in host.arena.received(set()).values())


def disagreements(host: Host, state: PolicyState, cases: Iterable[str]) -> list[tuple[str, Verdict]]:
    """The packets that get somewhere though the judge stops them, or do not though he lets them pass."""
    witness = Witness(host)
    wrong = []
    for number, text in enumerate(cases):
        host.arena.forget_flows(host.socket)
        one = packet(text)
        judged = verdict(state, one, Flow.NEW, host.arena.fib)
        if passes(host, witness, one, number) != (judged.action == "accept"):
            wrong.append((text, judged))
    return wrong


def with_endpoints(endpoints: Sequence[HostEndpointPolicy]) -> PolicyChanges:
    """The changes with these host endpoints, each under a name of its own."""
    keys = [each.key._replace(name=f"{number}") for number, each in enumerate(endpoints)]
    named = {key: msgspec.structs.replace(each, key=key) for key, each in zip(keys, endpoints, strict=True)}
    return msgspec.structs.replace(CHANGES, host_endpoints=named)


def send_as_host(one: Packet, mark: int) -> None:
    from tests.contract.wire import MAGIC, MARK

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((str(one.source), one.source_port or 0))
        try:
            sender.sendto(MARK.pack(MAGIC, mark), (str(one.destination), one.destination_port or 0))
        except PermissionError:
            return  # as the kernel tells of a packet that was dropped on its way out


@pytest.mark.parametrize(
    "endpoints",
    [[], [BY_NAME], [BY_ADDRESS], [REST], [SILENT], [REST, SILENT]],
    ids=["none", "by name", "by address", "the rest", "silent", "the rest beside one"],
)
def test_the_kernel_does_what_the_judge_says(host: Host, endpoints: list[HostEndpointPolicy]) -> None:
    changes = with_endpoints(endpoints)
    state = PolicyState()
    state.take(changes)
    host.driver.see(host.arena.fib.addresses)
    host.take(changes)
    assert disagreements(host, state, CASES) == []
    host.backend.take(PolicyChanges(host_endpoints=dict.fromkeys(changes.host_endpoints)))
    host.settle()
    assert "host-" not in host.ruleset().replace("to-host", "")


@pytest.mark.parametrize("endpoints", [[REST], [BY_NAME, REST], [SILENT, REST]], ids=["rest", "beside", "silent"])
def test_the_hosts_own_interface_is_not_a_workloads(host: Host, endpoints: list[HostEndpointPolicy]) -> None:
    """Though it begins like one, and though an endpoint names it."""
    changes = with_endpoints(endpoints)
    state = PolicyState(exempt_interfaces=frozenset({"calib"}))
    state.take(changes)
    host.driver.see(host.arena.fib.addresses)
    host.backend.exempt(frozenset({"calib"}))
    host.take(changes)
    cases = [
        *(
            f"calib 198.51.100.{last}:9 > {US}:{port} {kind}"
            for last in (1, 99)
            for port in (443, 80)
            for kind in ("tcp", "udp")
        ),
        f"calib 198.51.100.66:9 > {US}:8443 tcp",
        "calib 10.65.0.2:9 > 192.0.2.7:80 udp",
        "calib 10.65.0.2:9 > 192.0.2.7:80 tcp",
        "calib 198.51.100.1:9 > 10.65.0.1:80 tcp",
        "eth0 198.51.100.1:9 > 10.65.0.2:80 tcp",
        "eth0 198.51.100.1:9 > 10.65.0.2:81 tcp",
        "calia 10.65.0.1:9 > 10.65.0.2:81 tcp",
        "calia 10.65.0.1:9 > 10.65.0.2:80 tcp",
        f"- {US}:9 > 10.65.0.2:80 udp",
        f"- {US}:9 > 10.65.0.2:443 udp",
    ]
    assert disagreements(host, state, cases) == []


def test_an_endpoint_by_address_is_where_its_address_is(host: Host) -> None:
    to_us, there = packet(f"eth0 198.51.100.1:9 > {US}:80 tcp"), host.arena.fib.addresses
    host.take(msgspec.structs.replace(CHANGES, host_endpoints={BY_ADDRESS.key: BY_ADDRESS}))
    witness = Witness(host)
    for number, (held, passed) in enumerate((({}, True), (there, False), ({**there, "eth0": frozenset()}, True))):
        host.driver.see(held)
        host.settle()
        host.arena.forget_flows(host.socket)
        assert passes(host, witness, to_us, number) == passed


def test_host_endpoints_are_adopted_without_a_write(host: Host) -> None:
    changes = msgspec.structs.replace(CHANGES, host_endpoints={BY_ADDRESS.key: BY_ADDRESS})
    host.driver.see(host.arena.fib.addresses)
    host.take(changes)
    host.stop()
    host.start()
    host.driver.see(host.arena.fib.addresses)
    host.take(changes)
    assert host.backend.writes == 0
