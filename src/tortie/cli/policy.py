"""`tortie policy` and `tortie endpoint`: which policies apply to whom."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import click

from tortie.cli import terminal
from tortie.cli.configuration import config_option, settings
from tortie.cli.explain import read_cluster
from tortie.cli.observed import MEANING, NOBODY_ASKED, RuleCounts, count_rules
from tortie.cli.report_form import form_option
from tortie.cli.tables import aligned
from tortie.explain import Cluster
from tortie.explain.listing import Listed, Place, endpoints_of, find_endpoint, find_policy, policies_of, rules_of

if TYPE_CHECKING:
    from tortie.bootstrap import Bootstrap


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
    """List the endpoints that a policy or a profile applies to, on all nodes, where it is asked, and its rules.

    \b
    tortie policy endpoints default.db
    tortie policy endpoints production/web -o json | jq -r '.[].endpoint'
    tortie policy endpoints Profile/open

    Computed from the objects in the datastore. PACKETS and BYTES are what each rule decided on this host since it was
    written here, for all endpoints of this host together, as its agent counts: a connection counts with its first
    packet, what is not tracked with each. A - stands for what is not known here.
    """
    host = settings()
    cluster = read_cluster(host.access)
    key = find_policy(cluster, name)
    places = endpoints_of(cluster, key)
    counted = _counted(host, places)
    if _told_otherwise(cluster, places, counted, form, f"{key} applies to nobody"):
        return
    heading = ("ENDPOINT", "NODE", "CHAIN", "TIER", "PLACE")
    rows = [(each.endpoint.full_name, each.node, each.chain, each.tier or "-", str(each.number)) for each in places]
    click.echo(terminal.with_heading(aligned([heading, *rows])))
    directions = dict.fromkeys(each.direction for each in places)
    rules = [rule for direction in directions for rule in rules_of(cluster, key, direction)]
    cells = [(rule.name, rule.text, *_figures(counted, rule)) for rule in rules]
    click.echo(terminal.with_heading(aligned([("RULE", "SAYS", "PACKETS", "BYTES"), *cells])), nl=False)
    _say_what_counts(counted)


@endpoint.command()
@click.argument("name", metavar="ENDPOINT")
@form_option
@config_option
def policies(name: str, form: str) -> None:
    """List the policies and profiles that apply to an endpoint, in the order in which they are asked, and their rules.

    \b
    tortie endpoint policies web
    tortie endpoint policies default/web
    tortie endpoint policies eth0-of-node-1 -o json

    ENDPOINT is a workload, an endpoint's name, an address of it, or a host endpoint. A tier's last policy shows what
    becomes of a packet that no policy of the tier decided. Computed from the objects in the datastore. PACKETS and
    BYTES are what each rule decided on the endpoint's host since it was written there, for all endpoints of that host
    together, as its agent counts: a connection counts with its first packet, what is not tracked with each. They are
    known on that host only; elsewhere, and without its agent, there is a -.
    """
    host = settings()
    cluster = read_cluster(host.access)
    key = find_endpoint(cluster, name)
    places = policies_of(cluster, key)
    counted = _counted(host, places)
    if _told_otherwise(cluster, places, counted, form, f"nothing applies to {key}"):
        return
    rows: list[tuple[str, ...]] = []
    for place, following in zip_longest(places, places[1:]):
        is_last = following is None or (following.chain, following.tier) != (place.chain, place.tier)
        then = place.tier_default if is_last and place.tier else ""
        head = (place.chain, str(place.number), place.tier or "-", str(place.policy), then)
        rules = rules_of(cluster, place.policy, place.direction)
        cells = [(rule.name, rule.text, *_figures(counted, rule)) for rule in rules] or [("-", "", "", "")]
        # What all rules of a policy share is said once.
        rows += [((*head, *cells[0])), *(("",) * len(head) + each for each in cells[1:])]
    heading = ("CHAIN", "PLACE", "TIER", "POLICY", "THEN", "RULE", "SAYS", "PACKETS", "BYTES")
    click.echo(terminal.with_heading(aligned([heading, *rows])), nl=False)
    _say_what_counts(counted)


def _counted(host: Bootstrap, places: Sequence[Place]) -> RuleCounts:
    """What this host's agent counted, if any of the endpoints is here."""
    if all(place.node != host.node for place in places):
        return NOBODY_ASKED
    return count_rules(host.api_socket, [str(place.policy) for place in places])


def _told_otherwise(cluster: Cluster, places: Sequence[Place], counted: RuleCounts, form: str, nothing: str) -> bool:
    if form == "json":
        click.echo(json.dumps([_json(cluster, place, counted) for place in places], indent=2))
    elif not places:
        click.echo(nothing)
    return form == "json" or not places


def _figures(counted: RuleCounts, rule: Listed) -> tuple[str, str]:
    count = counted.counts.get(rule.key)
    return ("-", "-") if count is None else (str(count.packets), str(count.octets))


def _say_what_counts(counted: RuleCounts) -> None:
    if counted.node:
        click.echo(f"\n{MEANING.format(node=counted.node)}")


def _json(cluster: Cluster, place: Place, counted: RuleCounts) -> dict[str, object]:
    here = counted.counts if place.node == counted.node else {}
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
        "rules": [
            {
                "direction": rule.key[1],
                "rule": rule.key[2],
                "text": rule.text,
                "packets": None if (count := here.get(rule.key)) is None else count.packets,
                "bytes": None if count is None else count.octets,
            }
            for rule in rules_of(cluster, place.policy, place.direction)
        ],
    }
