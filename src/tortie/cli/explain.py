"""`tortie explain`: whether one end may speak to another, and who says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

from tortie.access import Access
from tortie.cli import terminal
from tortie.cli.complete import complete_party
from tortie.cli.configuration import config_option, settings
from tortie.cli.observed import observe
from tortie.cli.report_form import form_option
from tortie.cli.store import answered, opened_store
from tortie.datastore.api import Datastore
from tortie.errors import UsageError
from tortie.explain import Cluster, Explanation, Party, explain, find_party, parse_flow
from tortie.explain.cluster import Stored
from tortie.explain.flow import ANY_PING
from tortie.explain.observed import Observed
from tortie.explain.report import as_json
from tortie.explain.words import in_words
from tortie.model import keys
from tortie.model.decode import from_store


@click.command("explain")
@click.argument("source", metavar="SRC", shell_complete=complete_party)
@click.argument("destination", metavar="DST", shell_complete=complete_party)
@click.argument("flow", metavar="[PROTO/PORT]", required=False)
@click.option("-6", "--ipv6", "ipv6", is_flag=True, help="Over IPv6, where both ends have either family.")
@form_option
@config_option
def explain_command(source: str, destination: str, flow: str | None, ipv6: bool, form: str) -> None:
    """Say whether SRC may begin to speak to DST, and which tier, policy and rule decides at each end.

    \b
    tortie explain web db tcp/5432
    tortie explain default/web 203.0.113.9 udp/53
    tortie explain 10.65.0.24 node-2 icmp -o json | jq .allowed

    SRC and DST are workloads, workload endpoints, nodes, or addresses, also of somebody outside. PROTO/PORT is
    tcp/443, udp/53, tcp/NAME, icmp, icmp/TYPE/CODE or the number of a protocol; without it a ping is meant. Both ends
    are judged by the objects in the datastore. Where one of them is on this host its agent adds how often each rule
    decided here, and what the kernel holds: interfaces, routes and neighbours, connections that are tracked already and
    so pass without being judged, and the last drops between both. Exit code 0 whatever the answer is.
    """
    kind = ANY_PING if flow is None else parse_flow(flow)
    host = settings()
    cluster = read_cluster(host.access)
    ends = find_party(cluster, source), find_party(cluster, destination)
    found = explain(cluster, *ends, kind, _family(*ends, ipv6=ipv6))
    observed = _observed(host.api_socket, found, host.node)
    if form == "json":
        click.echo(json.dumps(as_json(found, observed), indent=2))
        return
    for line in _styled(cluster, found, observed):
        terminal.echo(line)


def _observed(api_socket: Path, found: Explanation, node: str) -> Observed | None:
    """What this host's agent adds, where this host is one of both."""
    leg = next((leg for leg in found.legs if leg.node == node), None)
    if leg is None:
        return None
    ends = str(leg.packet.source), str(leg.packet.destination)
    return observe(api_socket, *ends, [str(met.rule.owner) for met in leg.met if met.rule is not None])


def read_cluster(access: Access) -> Cluster:
    """All objects as they are at one moment; whatever is broken of them is told of."""
    cluster = answered(_read(access))
    tell_of_broken(cluster)
    return cluster


def tell_of_broken(cluster: Cluster) -> None:
    """Each object that breaks the rules of its kind, and so means something else than it says."""
    for each in cluster.broken():
        click.echo(f"Warning: {each.key} breaks the rules of its kind: {each.problems[0]}", err=True)


async def _read(access: Access) -> Cluster:
    async with opened_store(access) as datastore:
        return Cluster(await objects_of(datastore))


async def objects_of(datastore: Datastore) -> list[Stored]:
    """All resources as they are at one moment, also broken ones."""
    listing = await datastore.list(keys.RESOURCES)
    named = ((keys.from_path(item.key), item) for item in listing.items)
    return [from_store(key, item.value, item.revision) for key, item in named if key is not None]


def _family(source: Party, destination: Party, *, ipv6: bool) -> int:
    """IPv4 where both ends have it, unless the user wants IPv6 or there is nothing else."""
    common = {each.version for each in source.addresses} & {each.version for each in destination.addresses}
    if not common:
        raise UsageError(f"there is no family of addresses for both: {_addresses(source)}, {_addresses(destination)}")
    return 6 if ipv6 or 4 not in common else 4


def _addresses(party: Party) -> str:
    return f"{party.text} has {', '.join(map(str, party.addresses)) or 'none'}"


def _styled(cluster: Cluster, found: Explanation, observed: Observed | None) -> Iterator[str]:
    first, *others = in_words(cluster, found, observed)
    yield click.style(first, fg="green" if found.allowed else "red", bold=True)
    yield from others
