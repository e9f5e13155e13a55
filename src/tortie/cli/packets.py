"""`tortie drops` and `tortie logs`: which packets this host dropped, and which a rule's Log action named."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import click

from tortie.cli import agent_client, terminal
from tortie.cli.configuration import config_option, settings
from tortie.cli.report_form import form_option
from tortie.cli.tables import aligned
from tortie.errors import UsageError
from tortie.explain.words import REASONS
from tortie.model.scalars import Protocol

# Of one question, while nothing happens.
WAIT_S = 20
RETRY_S = 1.0

Event = Mapping[str, Any]

follow_option = click.option("-f", "--follow", is_flag=True, help="Go on with each new packet, until interrupted.")


@click.command()
@follow_option
@click.option("--count", is_flag=True, help="Say how many packets were dropped for each reason instead.")
@form_option
@config_option
def drops(follow: bool, count: bool, form: str) -> None:
    """Show the packets that this host dropped last, and why.

    \b
    tortie drops
    tortie drops -f
    tortie drops --count
    tortie drops -f -o json | jq -r 'select(.policy == "GlobalNetworkPolicy(default.db)") | .source'

    Each line says when, between whom, and the reason: the tier, policy and rule that decided, or what a workload may
    not send. The agent keeps the last 2,000; of one endpoint ten a second are told, and how many were not. All are
    counted, by reason, since the agent started and some time before; `no-route` is counted by the kernel, for the whole
    host and without bytes.
    """
    if count:
        if follow:
            raise UsageError("--count and --follow exclude each other")
        _show_counts(form)
        return
    _show("drop", follow, form)


def _show_counts(form: str) -> None:
    dropped: Mapping[str, Any] = agent_client.get(settings().api_socket, "/v1/counters")["dropped"]
    if form == "json":
        click.echo(json.dumps(dropped, indent=2))
        return
    meanings = {str(reason): words for reason, words in REASONS.items()}
    rows = [
        (reason, str(one["packets"]), str(one["bytes"]), meanings.get(reason, "")) for reason, one in dropped.items()
    ]
    click.echo(terminal.with_heading(aligned([("REASON", "PACKETS", "BYTES", "MEANING"), *rows])), nl=False)


@click.command()
@follow_option
@form_option
@config_option
def logs(follow: bool, form: str) -> None:
    """Show the packets that rules with the action Log named last.

    \b
    tortie logs
    tortie logs -f -o json

    Each line says when, between whom, and by which rules. The agent keeps the last 2,000; of one endpoint ten a second
    are told, and how many were not.
    """
    _show("log", follow, form)


def _show(kind: str, follow: bool, form: str) -> None:
    for event in _followed(kind) if follow else _page(f"kind={kind}", 0)["events"]:
        terminal.echo(json.dumps(event) if form == "json" else line_of(event))


def _followed(kind: str) -> Iterator[Event]:
    """An agent that is restarted begins to count anew, and is waited for."""
    place, told = f"kind={kind}", ""
    while True:
        try:
            page = _page(f"{place}&wait_s={WAIT_S}", WAIT_S)
        except agent_client.Unreachable as error:
            if str(error) != told:
                click.echo(f"{error}; waiting for it", err=True)
            told = str(error)
            time.sleep(RETRY_S)
            continue
        told = ""
        if page["missed"]:
            click.echo(f"{page['missed']} were missed: they came faster than they were read", err=True)
        yield from page["events"]
        place = f"kind={kind}&since={page['number']}&counter={page['counter']}"


def _page(query: str, wait_s: float) -> Mapping[str, Any]:
    resource = f"/v1/packets?{query}"
    page: Mapping[str, Any] = agent_client.get(settings().api_socket, resource, wait_s + agent_client.MARGIN_S)
    return page


def line_of(event: Event) -> str:
    """When, between whom, and why."""
    moment = datetime.fromtimestamp(event["time_s"], UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    ends = f"{_end(event, 'source', 'sender')} -> {_end(event, 'destination', 'receiver')}"
    untold = f" (after {event['untold']} like it that were not told)" if event.get("untold") else ""
    return f"{moment} {_protocol(event)}{ends}: {_why(event)}{untold}"


def _end(event: Event, address: str, endpoint: str) -> str:
    host, port = event.get(address, "?"), event.get(f"{address}_port")
    text = host if port is None else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"{text} {event[endpoint]}" if event.get(endpoint) else text


def _protocol(event: Event) -> str:
    number = event.get("protocol")
    if number is None:
        return ""
    kind = f"/{event['icmp_type']}/{event.get('icmp_code', 0)}" if event.get("icmp_type") is not None else ""
    return f"{protocol_name(number)}{kind} "


def protocol_name(number: int) -> str:
    return next((name for name, known in Protocol.NAMES.items() if known == number), str(number))


def _why(event: Event) -> str:
    if event.get("logged_by"):
        return f"logged by {', '.join(event['logged_by'])}"
    reason = {str(known): words for known, words in REASONS.items()}.get(event["reason"], event["reason"])
    decided = event.get("rule") or (f"the end of tier {event['tier']}" if event.get("tier") else "")
    at = f", at {event['endpoint']}" if event.get("endpoint") else ""
    return f"{decided or reason}{at}"
