"""Foreign chains that would drop what policy accepts: from what becomes of packets to findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tortie.doctor.finding import Finding, Result, Severity, Unseen, some
from tortie.doctor.firewall import legacy, nft
from tortie.doctor.firewall.packet import (
    BGP_IN,
    BGP_OUT,
    BGP_PORT,
    FROM_HOST,
    TO_HOST,
    WAYS,
    Packet,
    Ways,
    packets,
    ways,
)
from tortie.doctor.firewall.ruleset import LEGACY, NFTABLES, Base, Ruleset
from tortie.doctor.firewall.walk import Drop, drops
from tortie.doctor.host import Host
from tortie.doctor.network import PREFIXES
from tortie.errors import KernelError, TortieError
from tortie.kernel import modules
from tortie.kernel.netfilter.socket import NetfilterSocket

_WHY = (
    "each base chain of a hook is asked, and an accept, tortie's too, ends only the chain that it stands in: what one"
    " of them drops is dropped"
)

# By the beginning of a chain's or table's name: the program, and how it lets through what is forwarded. {0} is iptables
# of the family, {1} an interface.
_MAKERS = (
    ("DOCKER", "Docker", ("{0} -I DOCKER-USER -i {1} -j ACCEPT", "{0} -I DOCKER-USER -o {1} -j ACCEPT")),
    ("ufw", "ufw", ("ufw default allow routed",)),
    ("firewalld", "firewalld", ("a policy of firewalld between the zones of workloads and uplinks, firewall-cmd(1)",)),
    ("LIBVIRT_", "libvirt", ()),
    ("libvirt_", "libvirt", ()),
    ("KUBE-", "Kubernetes", ()),
    ("cali-", "Calico's Felix", ()),
    ("ts-", "Tailscale", ()),
)


class Fate(NamedTuple):
    """What one base chain does to the packets of a way."""

    packet: Packet
    drop: Drop


def check_nftables(host: Host) -> Iterator[Result]:
    """All that nf_tables holds, that of iptables-nft too."""
    if not modules.runs(nft.SYMBOL):
        return
    try:
        with NetfilterSocket() as sock:
            yield from judge(nft.read(sock), ways(host.network), nft.own_priorities(sock))
    except KernelError as refused:
        yield Unseen("rules of nftables", str(refused))


def check_legacy(host: Host) -> Iterator[Result]:
    try:
        rulesets = list(legacy.read())
        if rulesets:
            yield from judge(rulesets, ways(host.network), _own_priorities())
    except PermissionError:
        yield Unseen("rules of iptables-legacy", "only root may see whether there are any")
    except TortieError as failed:
        yield Unseen("rules of iptables-legacy", str(failed))


def _own_priorities() -> Mapping[str, Sequence[int]]:
    if not modules.runs(nft.SYMBOL):
        return {}
    with NetfilterSocket() as sock:
        return nft.own_priorities(sock)


def judge(rulesets: Iterable[Ruleset], among: Ways, own: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    """`own` are the priorities of tortie's own base chains by hook, where there are any."""
    wanted = list(packets(among))
    for ruleset in rulesets:
        for base in ruleset.bases:
            fates = [
                Fate(packet, drop) for packet in wanted if base.sees(packet) for drop in drops(ruleset, base, packet)
            ]
            for severity in Severity:
                # Of a rule or a policy only the worst is told.
                places = {fate.drop.place for fate in fates if _severity(fate) is severity}
                here = [fate for fate in fates if fate.drop.place in places]
                if here:
                    cure = _cure(ruleset, base, among, here)
                    yield _finding(severity, ruleset, base, here, own.get(base.hook, ()), cure)
                fates = [fate for fate in fates if fate.drop.place not in places]


def _severity(fate: Fate) -> Severity:
    """By what is lost, and how sure it is."""
    way, sure = fate.packet.way, fate.drop.sure
    if way == TO_HOST:
        return Severity.NOTE  # hosts are closed on purpose
    if fate.drop.rule and not sure:
        return Severity.NOTE  # a rule for some packets
    if way in (BGP_IN, FROM_HOST):
        return Severity.WARNING  # a session opens from either side
    return Severity.ERROR if sure else Severity.WARNING


def _finding(
    severity: Severity, ruleset: Ruleset, base: Base, fates: Sequence[Fate], own: Sequence[int], cure: Sequence[str]
) -> Finding:
    sure = [fate for fate in fates if fate.drop.sure]
    first = (sure or fates)[0].drop
    by = f"rule {first.rule} in {first.chain}" if first.rule else "its policy"
    others = len({fate.drop.place for fate in fates}) - 1
    maker, _ = _maker(ruleset)
    return Finding(
        severity,
        f"a chain of {maker or base.program} {'drops' if sure else 'may drop'} packets {some(_lost(sure or fates))}",
        f"{base}, hook {base.hook}, priority {base.priority}{_order(base, own)}; by {by}"
        + (f" and {others} more" if others else ""),
        _WHY if severity is not Severity.NOTE else f"this may be meant so; {_WHY}",
        "; ".join([base.show, *cure]),
    )


def _lost(fates: Iterable[Fate]) -> list[str]:
    hit = {fate.packet.way for fate in fates}
    return [way for way in WAYS if way in hit]


def _order(base: Base, own: Sequence[int]) -> str:
    """Where it stands to ours: it loses the packet either way, and counters tell by which of them."""
    if not own:
        return ""
    place = "before" if base.priority < min(own) else "after" if base.priority > max(own) else "among"
    return f" ({place} tortie's own, {', '.join(map(str, sorted(own)))})"


def _maker(ruleset: Ruleset) -> tuple[str, tuple[str, ...]]:
    names = [*ruleset.chains, ruleset.bases[0].table]
    return next(
        ((maker, advice) for sign, maker, advice in _MAKERS if any(name.startswith(sign) for name in names)), ("", ())
    )


def _cure(ruleset: Ruleset, base: Base, among: Ways, fates: Sequence[Fate]) -> list[str]:
    """Commands that let the lost packets through, in the words of who made the chain if it has words for that."""
    family = "ip6tables" if base.family == "ip6" else "iptables"
    patterns = list(dict.fromkeys(_pattern(interface.name) for interface, _ in among.workloads))
    _, advice = _maker(ruleset)
    if advice and base.hook == "forward":
        return list(dict.fromkeys(each.format(family, f"{name}+") for name in patterns for each in advice))
    if base.program == NFTABLES:
        insert = f"nft insert rule {base.family} {base.table} {base.chain}"
        by_port, by_name = "tcp dport {} accept", '{}ifname "{}*" accept'
    else:
        insert = f"{family}{'-legacy' if base.program == LEGACY else '-nft'} -t {base.table} -I {base.chain}"
        by_port, by_name = "-p tcp --dport {} -j ACCEPT", "-{} {}+ -j ACCEPT"
    if {BGP_IN, BGP_OUT} & set(_lost(fates)):
        return [f"{insert} {by_port.format(BGP_PORT)}"]
    sides = {"prerouting": "i", "input": "i", "output": "o", "postrouting": "o"}.get(base.hook, "io")
    return [f"{insert} {by_name.format(side, name)}" for name in patterns for side in sides]


def _pattern(name: str) -> str:
    """The prefix that the interface has in common with others of its kind."""
    return next((prefix for prefix in PREFIXES if name.startswith(prefix)), name)
