"""Who else programs this host's routes and policy: a second agent, or Calico's Felix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tortie.doctor.finding import Result, Unseen, error, warning
from tortie.doctor.host import Host
from tortie.doctor.network import FELIX_ROUTE_PROTOCOL, Network
from tortie.doctor.processes import Process


def check(host: Host) -> Iterator[Result]:
    yield from judge(host.processes, host.network)


def judge(processes: Sequence[Process], network: Network) -> Iterator[Result]:
    agents = [each for each in processes if each.is_agent]
    # Of those that are surely here: another lab host's agent is in another network namespace.
    here = [each for each in agents if each.here]
    if len(here) > 1:
        yield error(
            f"{len(here)} agents of tortie run in this network namespace",
            ", ".join(map(str, here)),
            "each removes the routes that it does not want, which are the other's",
            "systemctl status tortie-agent, and end the one that is not its",
        )
    if any(each.here is None for each in agents):
        yield Unseen("agents of other users", "only root may see in which network namespace a process is")
    felix = [each for each in processes if each.is_felix]
    if felix:
        yield error(
            "Calico's Felix runs on this host",
            str(felix[0]),
            "both program the same workload interfaces: Felix filters and routes what it takes for its own",
            "one agent a host: stop Felix here (calico-node, calico-felix); other hosts of the cluster may keep theirs",
        )
    left = network.routes.get(FELIX_ROUTE_PROTOCOL, 0)
    if left:
        yield warning(
            f"{left} routes in the main table are Felix's",
            f"routes of protocol {FELIX_ROUTE_PROTOCOL}",
            "a route equal to one of tortie's stays, and the endpoint is then not routed by tortie",
            f"ip route show proto {FELIX_ROUTE_PROTOCOL}; when Felix is gone: ip route flush proto"
            f" {FELIX_ROUTE_PROTOCOL}",
        )
