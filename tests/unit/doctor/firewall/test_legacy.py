"""iptables-legacy in words: what each option asks of a packet, and what becomes of it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import pytest

from tortie.doctor.firewall.legacy import parse, question
from tortie.doctor.firewall.packet import BGP_IN, BGP_PORT, FROM, TO, Interface, Packet
from tortie.doctor.firewall.ruleset import ACCEPT, DROP, RETURN, Action, Answer, Kind
from tortie.doctor.firewall.walk import Drop, drops

CALI, ETH = Interface("cali1", 3), Interface("eth0", 2)
OUT = Packet(FROM, "forward", 4, CALI, ETH, source=bytes((10, 65, 0, 21)))
BGP = Packet(BGP_IN, "input", 4, ETH, port=BGP_PORT)


@pytest.mark.parametrize(
    ("rule", "packet", "expected"),
    [
        ("-j ACCEPT", OUT, (True, ACCEPT)),
        ("-i cali+ -j DROP", OUT, (True, DROP)),
        ("-i cali -j DROP", OUT, None),
        ("! -i cali1 -j DROP", OUT, None),
        ("! -i docker0 -o eth0 -j REJECT --reject-with icmp-port-unreachable", OUT, (True, DROP)),
        ("-s 10.65.0.0/16 -j RETURN", OUT, (True, RETURN)),
        ("-s 10.66.0.0/16 -j DROP", OUT, None),
        ("-d 10.66.0.0/16 -j DROP", OUT, (False, DROP)),
        ("-p tcp -j DROP", OUT, (True, DROP)),
        ("-p icmp -j ACCEPT", OUT, None),
        ("-p tcp --dport 80 -j DROP", OUT, (False, DROP)),
        ("-p tcp -m multiport --dports 22,170:180 -j ACCEPT", BGP, (True, ACCEPT)),
        ("-p tcp -m multiport --dports 22,80 -j ACCEPT", BGP, None),
        ("-p udp -j DROP", BGP, None),
        ("-p tcp -m tcp --dport 170:180 -j ACCEPT", BGP, (True, ACCEPT)),
        ("-p tcp -m tcp --dport 180 -j ACCEPT", BGP, None),
        ("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", OUT, None),
        ("-m conntrack ! --ctstate INVALID -j ACCEPT", OUT, (True, ACCEPT)),
        ("-m comment --comment '-j DROP it' -j ACCEPT", OUT, (True, ACCEPT)),
        ("-m mark --mark 0x4000/0x4000 -j ACCEPT", OUT, None),
        ("-m mark ! --mark 0x4000/0x4000 -j ACCEPT", OUT, (True, ACCEPT)),
        ("-m set --match-set a dst -j ACCEPT", OUT, (False, ACCEPT)),
        ("-i docker0 -m set --match-set a dst -j ACCEPT", OUT, None),
        ("-j OTHER", OUT, (True, Action(Kind.JUMP, "OTHER"))),
        ("-g OTHER", OUT, (True, Action(Kind.GOTO, "OTHER"))),
        ("-j LOG --log-prefix DROP", OUT, None),
        ("-m comment --comment counted", OUT, None),
    ],
)
def test_a_rule(rule: str, packet: Packet, expected: tuple[bool, Action] | None) -> None:
    assert question(shlex.split(rule), {"OTHER"})(packet) == ((Answer(*expected),) if expected else ())


@dataclass
class Listing:
    """A table of filter with the chains FORWARD, ONE and TWO."""

    policy: str
    rules: list[str]

    def drops(self, packet: Packet = OUT) -> list[Drop]:
        chains = [
            f":FORWARD {self.policy} [0:0]",
            ":INPUT ACCEPT [0:0]",
            *(f":{name} - [0:0]" for name in ("ONE", "TWO")),
        ]
        text = "\n".join(["# by a test", "*filter", *chains, *(f"-A {rule}" for rule in self.rules), "COMMIT"])
        (ruleset,) = parse("ip", text)
        base = next(base for base in ruleset.bases if base.sees(packet))
        return list(drops(ruleset, base, packet))


POLICY = Drop(True, "FORWARD")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], [POLICY]),
        (["FORWARD -i cali+ -j ACCEPT"], []),
        (["FORWARD --dport 80 -j ACCEPT"], [POLICY._replace(sure=False)]),
        # An accept in a chain that is called ends the base chain too, a return does not.
        (["FORWARD -j ONE", "ONE -i cali+ -j ACCEPT"], []),
        (["FORWARD -j ONE", "ONE -j RETURN", "ONE -j ACCEPT"], [POLICY]),
        (["FORWARD -j ONE", "ONE --dport 80 -j RETURN", "ONE -j ACCEPT"], [POLICY._replace(sure=False)]),
        (["FORWARD -g ONE", "FORWARD -j ACCEPT"], [POLICY]),
        (["FORWARD --dport 80 -g ONE", "FORWARD -j ACCEPT"], [POLICY._replace(sure=False)]),
        # From a chain reached by `-g` it goes back to whoever called the one before.
        (["FORWARD -j ONE", "FORWARD -j ACCEPT", "ONE -g TWO", "TWO --dport 80 -j RETURN"], []),
        # What ends a packet in between ends it, whatever stands behind.
        (["FORWARD -j DROP", "FORWARD -j ACCEPT"], [Drop(True, "FORWARD", "`-A FORWARD -j DROP`")]),
        (
            ["FORWARD --dport 80 -j DROP", "FORWARD -j ACCEPT"],
            [Drop(False, "FORWARD", "`-A FORWARD --dport 80 -j DROP`")],
        ),
        (["FORWARD --dport 80 -j ACCEPT", "FORWARD -j ONE", "ONE -j DROP"], [Drop(False, "ONE", "`-A ONE -j DROP`")]),
        (["FORWARD --dport 80 -j ONE", "ONE -j ACCEPT"], [POLICY._replace(sure=False)]),
        # A loop never ends in the kernel either, which refuses it.
        (["FORWARD -j ONE", "ONE -j TWO", "TWO -j ONE"], [POLICY]),
    ],
)
def test_the_way_through_chains(rules: list[str], expected: list[Drop]) -> None:
    assert Listing("DROP", rules).drops() == expected


def test_our_own_chain_ends_the_way_of_what_policy_judges() -> None:
    text = "*filter\n:FORWARD DROP [0:0]\n:INPUT DROP [0:0]\n:tortie-forward - [0:0]\n:tortie-input - [0:0]\n"
    text += "-A FORWARD -j tortie-forward\n-A INPUT -j tortie-input\nCOMMIT\n"
    (ruleset,) = parse("ip", text)
    forward, entry = ruleset.bases
    assert drops(ruleset, forward, OUT) == ()
    assert drops(ruleset, entry, BGP) == (Drop(True, "INPUT"),)


def test_a_base_chain_sees_its_hook_and_family() -> None:
    (ruleset,) = parse("ip6", "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n")
    first, second = ruleset.bases
    assert (first.hook, first.priority, second.hook) == ("prerouting", -300, "output")
    assert first.sees(Packet(TO, "prerouting", 6))
    assert not first.sees(Packet(TO, "prerouting", 4))
    assert not first.sees(OUT)


def test_what_only_translates_is_passed_over() -> None:
    assert list(parse("ip", "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j DROP\nCOMMIT\n")) == []
