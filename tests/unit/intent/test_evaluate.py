"""Rules against packets, and chains of them: what matches, what decides, in what order."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from tests.unit.intent.policy_text import chain, key, packet, policy, profile, rule
from tortie.intent.evaluate import Tables, decide, matches
from tortie.intent.policy import Address, AddressSet, Direction, NamedPort, Network, PortSet, RuleOrigin

ORIGIN = RuleOrigin("default", key("p"), Direction.INGRESS, 0)

WEB = AddressSet(
    id="web",
    addresses=set[Address]({ip_address("10.65.0.1"), ip_address("fd00:65::1")}),
    networks=set[Network]({ip_network("10.9.0.0/16"), ip_network("10.9.8.0/24")}),
)
HTTP = PortSet(id="http", members={NamedPort(6, ip_address("10.65.0.2"), 8080)})
TABLES = Tables({}, {"web": WEB, "none": AddressSet(id="none")}, {"http": HTTP})

TCP = "- 10.65.0.1:1000 > 10.65.0.2:80 tcp"
UDP = "- 10.65.0.1:1000 > 10.65.0.2:80 udp"
TCP6 = "- [fd00:65::1]:1000 > [fd00:65::2]:80 tcp"
HTTP_ALT = "- 1.1.1.1:9 > 10.65.0.2:8080 tcp"
PING = "- 10.65.0.1 > 10.65.0.2 icmp 8/0"
PING6 = "- fd00:65::1 > fd00:65::2 icmpv6 128/0"
TOO_BIG = "- 10.65.0.1 > 10.65.0.2 icmp 3/4"
GRE = "- 10.65.0.1 > 10.65.0.2 gre"


@pytest.mark.parametrize(
    ("text", "matching", "others"),
    [
        ("Allow", [TCP, UDP, TCP6, PING, PING6, GRE], []),
        ("Allow v4", [TCP, PING], [TCP6, PING6]),
        ("Allow v6", [TCP6, PING6], [TCP, PING]),
        ("Allow tcp", [TCP, TCP6], [UDP, PING, GRE]),
        ("Allow not-tcp", [UDP, PING, PING6, GRE], [TCP, TCP6]),
        ("Allow tcp not-tcp", [], [TCP, UDP]),
        # ICMP: a type alone, a type with a code, and their negation as a pair.
        ("Allow icmp icmp=8", [PING], [TOO_BIG, PING6, TCP]),
        ("Allow icmp icmp=3/4", [TOO_BIG], [PING, "- 10.65.0.1 > 10.65.0.2 icmp 3/1"]),
        ("Allow icmp icmp!=3/4", [PING, "- 10.65.0.1 > 10.65.0.2 icmp 3/1"], [TOO_BIG, TCP]),
        ("Allow icmp icmp!=3", [PING], [TOO_BIG, "- 10.65.0.1 > 10.65.0.2 icmp 3/1"]),
        ("Allow icmp icmp=3 icmp!=3/4", ["- 10.65.0.1 > 10.65.0.2 icmp 3/1"], [TOO_BIG, PING]),
        ("Allow icmpv6 icmp=128/0", [PING6], [PING]),
        # Prefixes.
        ("Allow source=10.65.0.0/24", [TCP], [TCP6, "- 10.65.1.1:1 > 10.65.0.2:80 tcp"]),
        ("Allow source=10.64.0.0/24,10.65.0.0/24", [TCP], ["- 10.66.0.1:1 > 10.65.0.2:80 tcp"]),
        ("Allow source!=10.65.0.1/32", ["- 10.65.0.3:1 > 10.65.0.2:80 tcp"], [TCP]),
        ("Allow source=10.65.0.0/24 source!=10.65.0.0/31", ["- 10.65.0.2:1 > 10.65.0.2:80 tcp"], [TCP]),
        ("Allow destination=10.65.0.2/32", [TCP], ["- 10.65.0.2:1 > 10.65.0.1:80 tcp"]),
        ("Allow source=fd00::/16", [TCP6], [TCP]),
        # Sets: members of both families, and prefixes that overlap.
        ("Allow source=in:web", [TCP, TCP6, "- 10.9.8.1:1 > 10.65.0.2:80 tcp"], ["- 10.8.0.1:1 > 10.65.0.2:80 tcp"]),
        ("Allow source!=in:web", ["- 10.8.0.1:1 > 10.65.0.2:80 tcp"], [TCP, TCP6]),
        ("Allow source=in:none", [], [TCP, TCP6]),
        ("Allow source!=in:none", [TCP, TCP6], []),
        ("Allow source=in:web source!=10.9.0.0/16", [TCP], ["- 10.9.8.1:1 > 10.65.0.2:80 tcp"]),
        # Ports: any of numbers, ranges and names; a packet without ports has none of them.
        ("Allow tcp destination=80", [TCP], [UDP, "- 10.65.0.1:80 > 10.65.0.2:81 tcp"]),
        ("Allow tcp destination=70:80,443", [TCP, "- 1.1.1.1:9 > 1.1.1.2:443 tcp"], ["- 1.1.1.1:9 > 1.1.1.2:81 tcp"]),
        ("Allow tcp source=1000", [TCP], ["- 10.65.0.1:80 > 10.65.0.2:1000 tcp"]),
        ("Allow tcp destination!=80", ["- 10.65.0.1:9 > 10.65.0.2:81 tcp"], [TCP]),
        ("Allow destination=named:http", [HTTP_ALT], [TCP, "- 1.1.1.1:9 > 10.65.0.2:8080 udp"]),
        ("Allow tcp destination=80,named:http", [TCP, HTTP_ALT], ["- 1.1.1.1:9 > 10.65.0.3:8080 tcp"]),
        ("Allow tcp destination!=named:http", [TCP], [HTTP_ALT]),
        ("Allow destination!=80", [PING, GRE], [TCP, UDP]),
        ("Allow sctp destination=80", ["- 10.65.0.1:1 > 10.65.0.2:80 sctp"], [TCP]),
        # One element of each list, all lists.
        ("Allow tcp source=in:web destination=10.65.0.0/24 destination=80", [TCP], ["- 10.65.0.1:1 > 10.6.0.2:80 tcp"]),
    ],
)
def test_matching(text: str, matching: list[str], others: list[str]) -> None:
    one = rule(text, ORIGIN)
    assert [each for each in matching if not matches(one, packet(each), TABLES)] == []
    assert [each for each in others if matches(one, packet(each), TABLES)] == []


POLICIES = [
    policy("allow", ingress="Allow tcp destination=80"),
    policy("deny", ingress="Deny tcp destination=80"),
    policy("pass", ingress="Pass"),
    policy("log", ingress="Log\nLog tcp"),
    policy("log-deny", ingress="Log\nDeny"),
    policy("nothing"),
    policy("only-egress", egress="Allow"),
    policy("staged-deny", ingress="Deny", staged=True),
    profile("p-allow", ingress="Allow"),
    profile("p-deny", ingress="Deny"),
    profile("p-pass", ingress="Pass\nDeny"),
    profile("p-log", ingress="Log"),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The first that decides.
        ("default=allow", "allow:Allow"),
        ("default=allow,deny", "allow:Allow"),
        ("default=deny,allow", "deny:Deny"),
        ("default=nothing,allow", "allow:Allow"),
        ("default=log,allow", "log:Log log:Log allow:Allow"),
        ("default=log-deny,allow", "log-deny:Log log-deny:Deny"),
        # The end of a tier.
        ("default=nothing", "default:Deny"),
        ("default=log", "log:Log log:Log default:Deny"),
        ("default=only-egress", "default:Deny"),
        ("ops=nothing default=allow", "ops:Deny"),
        ("ops:pass=nothing default=allow", "ops:Pass allow:Allow"),
        ("ops:pass=nothing default:pass=nothing", "ops:Pass default:Pass"),
        # Pass leaves the tier, past what follows in it.
        ("ops=pass,deny default=allow", "pass:Pass allow:Allow"),
        ("ops=pass,deny", "pass:Pass"),
        ("ops=pass | p-allow", "pass:Pass p-allow:Allow"),
        # Staged policies are counted and decide nothing, not even that a tier was asked.
        ("default=staged-deny,allow", "staged-deny:Deny(staged) allow:Allow"),
        ("default:pass=staged-deny | p-allow", "staged-deny:Deny(staged) default:Pass p-allow:Allow"),
        ("default=staged-deny | p-allow", "staged-deny:Deny(staged) default:Deny"),
        # Profiles: in their order, after all tiers; Pass only leaves the one that says it.
        ("| p-allow", "p-allow:Allow"),
        ("| p-deny,p-allow", "p-deny:Deny"),
        ("| p-pass,p-allow", "p-pass:Pass p-allow:Allow"),
        ("| p-log", "p-log:Log"),
        ("| p-log,p-deny", "p-log:Log p-deny:Deny"),
        ("default=allow | p-deny", "allow:Allow"),
        ("default=nothing | p-allow", "default:Deny"),
        ("", ""),
    ],
)
def test_a_chain(text: str, expected: str) -> None:
    tables = Tables({each.key: each for each in POLICIES}, {}, {})
    hits = [
        f"{hit.rule.origin.owner.name if hit.rule else hit.tier}:{hit.action}{'(staged)' if hit.staged else ''}"
        for hit in decide(chain(text), Direction.INGRESS, packet(TCP), tables)
    ]
    assert " ".join(hits) == expected
