"""What the agent of this host counted, and what its kernel holds, beside what the datastore says.

The agents of other hosts cannot be asked: their sockets are theirs. Without an agent everything else is shown as it is,
and a line on stderr says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import click

from tortie.cli import agent_client
from tortie.cli.packets import line_of, protocol_name
from tortie.explain.observed import Count, Observed, RuleKey

# Of one question, well below what HTTP servers take as a line.
MOST_QUERY_BYTES = 4000

MEANING = (
    "PACKETS and BYTES: what each rule decided on {node} since it was written there, for all its endpoints together. A "
    "connection counts with its first packet, what is not tracked with each."
)


class RuleCounts(NamedTuple):
    """Of a node; its name is empty when nobody was asked, or nobody answered."""

    node: str
    counts: Mapping[RuleKey, Count]


NOBODY_ASKED = RuleCounts("", {})


def count_rules(api_socket: Path, policies: Iterable[str]) -> RuleCounts:
    """Asks the agent of this host; one that does not answer is told of, and counts nothing."""
    counts: dict[RuleKey, Count] = {}
    node = ""
    try:
        for query in _queries(policies):
            answer = agent_client.get(api_socket, f"/v1/counters?{query}", agent_client.MARGIN_S)
            node = answer["node"]
            for policy, rules in answer["policies"].items():
                for each in rules:
                    counts[policy, each["direction"], each["rule"]] = Count(each["packets"], each["bytes"])
    except agent_client.AgentError as error:
        click.echo(f"without counters: {error}", err=True)
        return NOBODY_ASKED
    return RuleCounts(node, counts)


def _queries(policies: Iterable[str]) -> Iterator[str]:
    query = ""
    for key in dict.fromkeys(policies):
        one = f"policy={quote(key)}"
        if query and len(query) + len(one) > MOST_QUERY_BYTES:
            yield query
            query = ""
        query += f"&{one}" if query else one
    if query:
        yield query


def observe(api_socket: Path, source: str, destination: str, policies: Iterable[str]) -> Observed | None:
    """What this host's kernel holds about packets between two addresses, and how often the rules decided."""
    try:
        facts = agent_client.get(api_socket, f"/v1/facts?source={source}&destination={destination}")
    except agent_client.AgentError as error:
        click.echo(f"without counters and what the kernel holds: {error}", err=True)
        return None
    counted = count_rules(api_socket, policies)
    return Observed(node=facts["node"], counts=counted.counts, lines=tuple(in_words(facts)), facts=facts)


# --- Facts in words


def in_words(facts: Mapping[str, Any]) -> Iterator[str]:
    """Line by line, each with what it is about at its head."""
    yield f"policy       in force up to revision {facts['enforced_revision']}, taken up to {facts['revision']}"
    for end in facts["ends"]:
        yield f"interface    {_end(end)}"
    for hop in facts["hops"]:
        yield f"route        {_hop(hop)}"
    for each in facts["connections"]:
        yield f"tracked      {_tracked(each)}"
    if facts["more_connections"]:
        yield "tracked      and more"
    yield from (f"dropped      {line_of(event)}" for event in facts["drops"])


def _end(end: Mapping[str, Any]) -> str:
    said = "is up" if end["up"] else "has no carrier, or is down" if end["exists"] else "does not exist"
    reason = f"; {end['reason']}" if end["reason"] else ""
    lacking = f"; its policy is not in force: {end['lacking']}" if end["lacking"] else ""
    return f"{end['interface']} of {end['endpoint']} {said}{reason}{lacking}"


def _hop(hop: Mapping[str, Any]) -> str:
    if not hop["routed"]:
        return f"there is none to {hop['to']}: packets are refused"
    if hop["local"]:
        return f"{hop['to']} is this host itself"
    via = f" via {hop['gateway']}" if hop["gateway"] else ""
    who = hop["gateway"] or hop["to"]
    beside = f"{who} has {hop['neighbour']}, {hop['neighbour_state']}" if hop["neighbour"] else f"{who} has no MAC yet"
    state = f"; {who} does not answer" if hop["neighbour_state"] in ("failed", "incomplete") else f"; {beside}"
    return f"to {hop['to']}{via} dev {hop['interface']}, by {hop['by']}{state}"


def _tracked(each: Mapping[str, Any]) -> str:
    ends = " -> ".join(
        f"[{each[end]}]:{each[f'{end}_port']}" if ":" in each[end] else f"{each[end]}:{each[f'{end}_port']}"
        for end in ("source", "destination")
    )
    answered = "answered" if each["answered"] else "unanswered"
    return f"{protocol_name(each['protocol'])} {ends}, {answered}: its packets pass without a look at policy"
