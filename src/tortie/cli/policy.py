"""`tortie policy` and `tortie endpoint`: which policies apply to whom."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from tortie.cli import terminal
from tortie.cli.configuration import config_option, settings
from tortie.cli.explain import read_cluster
from tortie.cli.report_form import form_option
from tortie.cli.tables import aligned
from tortie.explain.listing import Place, endpoints_of, find_endpoint, find_policy, policies_of


@click.group()
def policy() -> None:
    """Show whom a policy applies to.

    \b
    tortie policy endpoints default.db
    """


@click.group()
def endpoint() -> None:
    """Show which policies apply to an endpoint.

    \b
    tortie endpoint policies web
    """


@policy.command()
@click.argument("name", metavar="POLICY")
@form_option
@config_option
def endpoints(name: str, form: str) -> None:
    """List the endpoints that a policy or a profile applies to, on all nodes, and where it is asked.

    \b
    tortie policy endpoints default.db
    tortie policy endpoints production/web -o json | jq -r '.[].endpoint'
    tortie policy endpoints Profile/open

    Computed from the objects in the datastore; no agent is asked.
    """
    cluster = read_cluster(settings().access)
    key = find_policy(cluster, name)
    _show(endpoints_of(cluster, key), form, ("ENDPOINT", "NODE", "CHAIN", "TIER", "PLACE"), f"{key} applies to nobody")


@endpoint.command()
@click.argument("name", metavar="ENDPOINT")
@form_option
@config_option
def policies(name: str, form: str) -> None:
    """List the policies and profiles that apply to an endpoint, in the order in which they are asked.

    \b
    tortie endpoint policies web
    tortie endpoint policies default/web
    tortie endpoint policies eth0-of-node-1 -o json

    ENDPOINT is a workload, an endpoint's name, an address of it, or a host endpoint. A tier's last policy shows what
    becomes of a packet that no policy of the tier decided. Computed from the objects in the datastore; no agent is
    asked.
    """
    cluster = read_cluster(settings().access)
    key = find_endpoint(cluster, name)
    _show(policies_of(cluster, key), form, ("CHAIN", "PLACE", "TIER", "POLICY", "THEN"), f"nothing applies to {key}")


def _show(places: Sequence[Place], form: str, columns: Sequence[str], nothing: str) -> None:
    if form == "json":
        click.echo(json.dumps([_json(place) for place in places], indent=2))
        return
    if not places:
        click.echo(nothing)
        return
    rows = [tuple(_cell(places, index, column) for column in columns) for index in range(len(places))]
    click.echo(terminal.with_heading(aligned([tuple(columns), *rows])), nl=False)


def _cell(places: Sequence[Place], index: int, column: str) -> str:
    place = places[index]
    match column:
        case "ENDPOINT":
            return place.endpoint.full_name
        case "NODE":
            return place.node
        case "CHAIN":
            return place.chain
        case "TIER":
            return place.tier or "-"
        case "PLACE":
            return str(place.number)
        case "POLICY":
            return str(place.policy)
    following = places[index + 1] if index + 1 < len(places) else None
    is_last = following is None or (following.chain, following.tier) != (place.chain, place.tier)
    return place.tier_default if is_last and place.tier else ""


def _json(place: Place) -> dict[str, object]:
    return {
        "endpoint": place.endpoint.full_name,
        "endpointKind": place.endpoint.kind,
        "node": place.node,
        "chain": place.chain,
        "place": place.number,
        "tier": place.tier or None,
        "tierDefault": place.tier_default or None,
        "policy": place.policy.full_name,
        "policyKind": place.policy.kind,
    }
