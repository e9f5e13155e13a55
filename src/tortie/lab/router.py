"""The router of a lab: the kernel forwards, a BIRD of its own learns where the workloads are.

It is what stands in a real network in front of the hosts, so it knows nothing of tortie: plain BGP sessions on
the link. That it learns each workload's /32 is why the machines behind it can answer workloads without NAT.
"""

from __future__ import annotations

from collections.abc import Iterator

from tortie.lab.topology import DEFAULT_AS, Router, Topology, family

_FRAME = """\
log stderr {{ info, remote, warning, error, auth, fatal, bug }};
router id {router_id};
protocol device {{ scan time 10; }}
protocol direct {{ ipv4; ipv6; }}
protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}
protocol kernel {{ ipv6 {{ import none; export where source = RTS_BGP; }}; }}
{sessions}"""

_SESSION = """\
protocol bgp {name} {{
  local {local} as {local_as};
  neighbor {neighbor} as {neighbor_as};
  direct;
  graceful restart on;
  connect delay time 1; connect retry time 2; error wait time 1, 5;
  ipv{family} {{ import all; export where source = RTS_BGP; }};
}}
"""


def render(topology: Topology, router: Router) -> str:
    """The router's BIRD configuration: a session per peer and address family."""
    return _FRAME.format(router_id=router_id(router.addresses), sessions="".join(_sessions(topology, router)))


def router_id(addresses: tuple[str, ...]) -> str:
    """An IPv4 address if there is one; any other number will do as long as it is unique among BGP speakers."""
    v4 = [address for address in addresses if family(address) == 4]
    return v4[0] if v4 else "0.0.255.254"


def _sessions(topology: Topology, router: Router) -> Iterator[str]:
    for peer in router.bgp.peers if router.bgp else ():
        host = topology.host(peer)
        for address in host.addresses:
            local = topology.gateway_of(address)
            if local and router.bgp:
                yield _SESSION.format(
                    name=f"{peer.replace('-', '_')}_v{family(address)}",
                    local=local,
                    local_as=router.bgp.as_number,
                    neighbor=address,
                    neighbor_as=host.as_number or DEFAULT_AS,
                    family=family(address),
                )
