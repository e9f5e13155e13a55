"""iptables-legacy as questions to a packet, from what `iptables-legacy-save` says.

The program is run only if the kernel says that it holds such tables: it would load them otherwise, empty, with a cost
for each packet.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal, cast

from tortie.doctor.firewall.packet import Hook, Interface, Packet
from tortie.doctor.firewall.ruleset import ACCEPT, DROP, LEGACY, RETURN, Action, Answer, Base, Kind, Rule, Ruleset
from tortie.kernel.run import run_blocking

TIMEOUT_S = 10.0
OUTPUT_BYTES = 64 * 1024 * 1024

# Of this network namespace, for root alone.
_TABLES = {"ip": "ip_tables_names", "ip6": "ip6_tables_names"}
_PROGRAMS = {"ip": "iptables-legacy-save", "ip6": "ip6tables-legacy-save"}
# include/uapi/linux/netfilter_ipv4.h
_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
_ENDS = {"ACCEPT": ACCEPT, "DROP": DROP, "REJECT": DROP, "RETURN": RETURN}
_PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "ipv6-icmp": 58, "icmpv6": 58}

Test = Callable[[Packet], bool | None]
Family = Literal["ip", "ip6"]


def read() -> Iterator[Ruleset]:
    """Raises PermissionError where only root may know, CommandFailed where the program fails or is missing."""
    for family, file in _TABLES.items():
        try:
            tables = Path("/proc/thread-self/net", file).read_text().split()
        except FileNotFoundError:
            continue  # the module is not loaded
        if set(tables) & _PRIORITIES.keys():
            text = run_blocking([_PROGRAMS[family]], TIMEOUT_S, output_bytes=OUTPUT_BYTES)
            yield from parse(cast("Family", family), text)


def parse(family: Family, text: str) -> Iterator[Ruleset]:
    """The tables of a listing but for `nat`, which only translates."""
    table = ""
    bases: list[Base] = []
    chains: dict[str, list[Rule]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            table, bases, chains = line[1:], [], {}
        elif line.startswith(":"):
            name, policy, *_ = line[1:].split()
            chains[name] = []
            if policy != "-" and table in _PRIORITIES:
                hook = cast("Hook", name.lower())
                bases.append(Base(LEGACY, family, table, name, hook, _PRIORITIES[table], policy == "DROP"))
        elif line.startswith("-A "):
            words = shlex.split(line)
            chains[words[1]].append(Rule(f"`{line}`", question(words[2:], chains.keys())))
        elif line == "COMMIT" and bases:
            yield Ruleset(tuple(bases), {name: tuple(rules) for name, rules in chains.items()})


def question(words: Sequence[str], chains: Collection[str]) -> Callable[[Packet], tuple[Answer, ...]]:
    """What a rule of these words does to a packet; every chain of `chains` is announced before the first rule."""
    tests: list[Test] = []
    action: Action | None = None
    rest = list(words)
    while rest:
        inverted = rest[0] == "!"
        option, arguments, rest = _next(rest[1:] if inverted else rest)
        if option in ("-j", "-g"):
            action = _ENDS.get(arguments[0])
            if action is None and arguments[0] in chains:
                action = Action(Kind.JUMP if option == "-j" else Kind.GOTO, arguments[0])
            break  # what follows belongs to the target
        if option not in ("-m", "--comment"):
            tests.append(_test(option, arguments[0] if arguments else "", inverted=inverted))

    def ask(packet: Packet) -> tuple[Answer, ...]:
        results = [test(packet) for test in tests]
        return () if action is None or False in results else (Answer(None not in results, action),)

    return ask


def _next(words: list[str]) -> tuple[str, list[str], list[str]]:
    """An option, its arguments, and what follows."""
    end = next((at for at, word in enumerate(words[1:], 1) if word == "!" or word.startswith("-")), len(words))
    if words[0] == "--comment":
        end = 2
    return words[0], words[1:end], words[end:]


def _test(option: str, argument: str, *, inverted: bool) -> Test:
    def ask(packet: Packet) -> bool | None:
        found = _holds(option, argument, packet)
        return None if found is None else found != inverted

    return ask


def _holds(option: str, argument: str, packet: Packet) -> bool | None:
    match option:
        case "-i":
            return _named(packet.incoming, argument)
        case "-o":
            return _named(packet.outgoing, argument)
        case "-s":
            return _within(packet.source, argument)
        case "-d":
            return _within(packet.destination, argument)
        case "-p":
            return _PROTOCOLS.get(argument) == packet.protocol
        case "--dport":
            return None if packet.port is None else _has(argument, packet.port)
        case "--dports":
            return None if packet.port is None else any(_has(each, packet.port) for each in argument.split(","))
        case "--ctstate" | "--state":
            return "NEW" in argument.split(",")
        case "--mark":
            value, _, _mask = argument.partition("/")
            return int(value, 0) == 0  # a packet of ours has none
        case _:
            return None


def _has(ports: str, port: int) -> bool:
    first, _, last = ports.partition(":")
    return int(first) <= port <= int(last or first)


def _named(interface: Interface, pattern: str) -> bool:
    if pattern.endswith("+"):
        return interface.name.startswith(pattern[:-1])
    return interface.name == pattern


def _within(address: bytes | None, network: str) -> bool | None:
    return None if address is None else ip_address(address) in ip_network(network, strict=False)
