"""Rules as users write them, as rules that this node applies."""

from __future__ import annotations

from typing import Any

import pytest

from tortie.calc.rules import SERVICE_ACCOUNT_LABEL, NamedPorts, Translated, applies_to, set_id, translate, with_prefix
from tortie.intent.policy import Direction, Icmp, PortRange, RuleOrigin
from tortie.model.names import NAMESPACE_LABEL
from tortie.model.resource import ResourceKey
from tortie.model.rule import Rule
from tortie.model.schema import convert
from tortie.model.selector import Selector, parse
from tortie.model.selector.ast import Has

ORIGIN = RuleOrigin("default", ResourceKey("NetworkPolicy", "ns", "p"), Direction.INGRESS, 3)


def translated(namespace: str = "", **fields: Any) -> Translated | None:
    return translate(convert({"action": "Allow", **fields}, Rule), ORIGIN, namespace)


def found(namespace: str = "", **fields: Any) -> Translated:
    result = translated(namespace, **fields)
    assert result is not None
    return result


class TestFamily:
    @pytest.mark.parametrize(
        ("fields", "family"),
        [
            ({}, None),
            ({"ipVersion": 6}, 6),
            ({"protocol": "TCP"}, None),
            ({"protocol": "ICMP"}, 4),
            ({"protocol": "ICMPv6"}, 6),
            # A number means what its name means.
            ({"protocol": 1}, 4),
            ({"protocol": 58}, 6),
            ({"protocol": 1, "icmp": {"type": 8}}, 4),
            ({"notProtocol": "ICMP"}, None),
            ({"source": {"nets": ["10.0.0.0/8"]}}, 4),
            ({"destination": {"notNets": ["fd00::/8"]}}, 6),
        ],
    )
    def test_follows_from_any_part(self, fields: dict[str, Any], family: int | None) -> None:
        assert found(**fields).rule.family == family

    @pytest.mark.parametrize(
        "fields",
        [
            {"ipVersion": 4, "protocol": "ICMPv6"},
            {"protocol": 58, "source": {"nets": ["10.0.0.0/8"]}},
            {"source": {"nets": ["10.0.0.0/8"]}, "destination": {"nets": ["fd00::/8"]}},
            {"protocol": "TCP", "notProtocol": "TCP"},
            {"protocol": "TCP", "notProtocol": 6},
        ],
    )
    def test_a_contradiction_matches_nothing(self, fields: dict[str, Any]) -> None:
        assert translated(**fields) is None


class TestMatches:
    def test_everything_but_peers_is_taken_as_it_is(self) -> None:
        rule = found(
            action="Log",
            protocol="UDPLite",
            notProtocol=6,
            source={"nets": ["10.0.0.0/8"], "notNets": ["10.1.0.0/16"], "ports": [1, "5:7"]},
            destination={"notPorts": ["0:9", 70]},
        ).rule
        assert (rule.origin, str(rule.action)) == (ORIGIN, "Log")
        assert (rule.protocol, rule.not_protocol) == (136, 6)
        assert [str(net) for net in rule.source.nets] == ["10.0.0.0/8"]
        assert [str(net) for net in rule.source.not_nets] == ["10.1.0.0/16"]
        assert rule.source.ports == (PortRange(1, 1), PortRange(5, 7))
        assert rule.destination.not_ports == (PortRange(0, 9), PortRange(70, 70))

    @pytest.mark.parametrize(
        ("icmp", "expected"), [({"type": 3}, Icmp(3)), ({"type": 3, "code": 0}, Icmp(3, 0)), ({}, None)]
    )
    def test_icmp(self, icmp: dict[str, int], expected: Icmp | None) -> None:
        assert found(protocol="ICMP", icmp=icmp).rule.icmp == expected
        assert found(protocol="ICMP", notICMP=icmp).rule.not_icmp == expected

    @pytest.mark.parametrize("action", ["Allow", "Pass", "Log"])
    def test_what_only_kubernetes_knows_opens_nothing(self, action: str) -> None:
        assert translated(action=action, http={"methods": ["GET"]}) is None
        assert translated(action=action, source={"services": {"name": "web", "namespace": "x"}}) is None

    def test_and_closes_more_rather_than_less(self) -> None:
        rule = found(action="Deny", protocol="TCP", destination={"services": {"name": "web"}}).rule
        assert (rule.protocol, rule.destination) == (6, type(rule.destination)())


def in_full(text: str) -> str:
    """The selector with the two labels that its table abbreviates, in its canonical form."""
    for short, label in (("<ns>", NAMESPACE_LABEL), ("<sa>", SERVICE_ACCOUNT_LABEL)):
        text = text.replace(short, label)
    return parse(text).text


class TestPeers:
    @pytest.mark.parametrize(
        ("namespace", "entity", "expected"),
        [
            ("", {}, None),
            ("ns", {}, None),
            ("ns", {"nets": ["10.0.0.0/8"], "ports": [80]}, None),
            ("", {"selector": "a == 'x'"}, 'a == "x"'),
            ("", {"selector": "all()"}, "all()"),
            # The own namespace, as soon as anything is said of labels.
            ("ns", {"selector": "a == 'x'"}, '<ns> == "ns" && a == "x"'),
            ("ns", {"notSelector": "a == 'x'"}, '<ns> == "ns"'),
            ("ns", {"serviceAccounts": {"names": ["b", "a"]}}, '<ns> == "ns" && <sa> in {"a", "b"}'),
            # Other namespaces.
            ("ns", {"namespaceSelector": "env == 'prod'"}, 'pcns.env == "prod"'),
            ("ns", {"namespaceSelector": "env == 'prod'", "selector": "a == 'x'"}, 'pcns.env == "prod" && a == "x"'),
            ("ns", {"namespaceSelector": "all()"}, "has(<ns>)"),
            ("ns", {"namespaceSelector": "global()", "selector": "a == 'x'"}, '!has(<ns>) && a == "x"'),
            (
                "",
                {"namespaceSelector": "!has(env) || env in {'all()', 'x'}"},
                '!has(pcns.env) || pcns.env in {"all()", "x"}',
            ),
            # Service accounts.
            ("", {"serviceAccounts": {"selector": "team == 'blue'"}}, 'pcsa.team == "blue"'),
            ("", {"serviceAccounts": {"names": ["a"], "selector": "all()"}}, '<sa> in {"a"} && has(<sa>)'),
        ],
    )
    def test_become_one_selector(self, namespace: str, entity: dict[str, Any], expected: str | None) -> None:
        result = found(namespace, protocol="TCP", source=entity)
        sets = {set_id(each): each.text for each in result.selectors}
        texts = [sets[each] for each in result.rule.source.sets]
        assert texts == ([] if expected is None else [in_full(expected)])

    def test_those_excluded_are_a_set_of_their_own(self) -> None:
        result = found("ns", source={"notSelector": "a == 'x'"})
        assert result.rule.source.not_sets == (set_id(parse("a == 'x'")),)
        assert parse("a == 'x'") in result.selectors

    def test_equal_selectors_share_a_set(self) -> None:
        one, other = (found(source={"selector": text}) for text in ("a=='x'&&b=='y'", " a == 'x' && b == 'y'"))
        assert one.rule.source.sets == other.rule.source.sets


class TestNamedPorts:
    def test_are_sets_of_the_peers_that_the_rule_selects(self) -> None:
        result = found(protocol="UDP", destination={"selector": "a == 'x'", "ports": [53, "dns"], "notPorts": ["old"]})
        peers = parse("a == 'x'")
        dns, old = NamedPorts(peers, "dns", 17), NamedPorts(peers, "old", 17)
        end = result.rule.destination
        assert (end.ports, end.port_sets, end.not_port_sets) == ((PortRange(53, 53),), (dns.id,), (old.id,))
        assert result.named_ports == {dns, old}

    def test_are_of_everybody_and_of_tcp_when_the_rule_does_not_say(self) -> None:
        (named,) = found(destination={"ports": ["http"]}).named_ports
        assert named == NamedPorts(parse("all()"), "http", 6)

    def test_have_different_sets_for_each_part(self) -> None:
        base = NamedPorts(parse("has(a)"), "http", 6)
        others = [base._replace(name="https"), base._replace(protocol=17), base._replace(selector=parse("has(b)"))]
        assert len({each.id for each in (base, *others)}) == 4


@pytest.mark.parametrize(
    ("selector", "namespaces", "accounts", "namespace", "expected"),
    [
        (None, None, None, "", "all()"),
        (None, None, None, "ns", "projectcalico.org/namespace == 'ns'"),
        ("a == 'x' || b == 'y'", None, None, "ns", "(a == 'x' || b == 'y') && projectcalico.org/namespace == 'ns'"),
        ("a == 'x'", "all()", None, "", "a == 'x' && has(projectcalico.org/namespace)"),
        (None, "env == 'prod'", "team == 'blue'", "", "pcns.env == 'prod' && pcsa.team == 'blue'"),
    ],
)
def test_which_endpoints_a_policy_applies_to(
    selector: str | None, namespaces: str | None, accounts: str | None, namespace: str, expected: str
) -> None:
    def parsed(text: str | None) -> Selector | None:
        return None if text is None else parse(text)

    assert applies_to(parsed(selector), parsed(namespaces), parsed(accounts), namespace) == parse(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a == 'all()'", "x.a == 'all()'"),
        ("!(a != 'b' && has(c)) || all()", "!(x.a != 'b' && has(x.c)) || has(some)"),
        ("a starts with 'b' || a not in {'c'}", "x.a starts with 'b' || x.a not in {'c'}"),
        ("!all()", "!has(some)"),
    ],
)
def test_a_prefix_changes_labels_and_nothing_else(text: str, expected: str) -> None:
    assert Selector(with_prefix(parse(text).node, "x.", Has("some"))) == parse(expected)
