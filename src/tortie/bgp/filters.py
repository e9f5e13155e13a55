"""A BGPFilter as two functions of BIRD for each IP version: pure.

A rule that matches ends the function with its verdict; otherwise the caller's own lines go on. Everything that comes
from a user is a number, a prefix or an interface pattern, which the caller checks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from tortie.intent.bgp import Direction, FilterRule, RouteFilter

# Calico's mapping between the priority of a route and BGP's local preference.
HIGHEST_LOCAL_PREF = 2**31 - 1

ACCEPT = {"export": "accept;", "import": "tortie_take();"}


def function_name(name: str, direction: Direction, version: int) -> str:
    """A name of BIRD's for the filter's: those of resources may be longer than BIRD takes."""
    return f"tortie_{direction}{version}_{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def functions(each: RouteFilter, version: int, checked: Callable[[str], str]) -> Iterator[str]:
    """The functions of one filter for one IP version; none for a direction without rules."""
    for direction in ("export", "import"):
        if rules := each.rules(direction, version):
            lines = [f"  {_rule(rule, direction, checked)}\n" for rule in rules]
            head = f"function {function_name(each.name, direction, version)}(bool same_as) {{\n"
            yield "".join([f"# BGPFilter {each.name}\n", head, *lines, "}\n"])


def _rule(rule: FilterRule, direction: Direction, checked: Callable[[str], str]) -> str:
    conditions = list(_conditions(rule, checked))
    test = f"if {' && '.join(conditions)} then " if conditions else ""
    if rule.action == "Reject":
        return f"{test}reject;"
    return f"{test}{{ {' '.join([*_operations(rule), ACCEPT[direction]])} }}"


def _conditions(rule: FilterRule, checked: Callable[[str], str]) -> Iterator[str]:
    if rule.cidr is not None and rule.match_operator is not None:
        yield _prefix(rule)
    if rule.source is not None:
        yield "source = RTS_BGP"
    if rule.interface is not None:
        yield f'ifname ~ "{checked(rule.interface)}"'
    if rule.peer_type is not None:
        yield "same_as" if rule.peer_type == "iBGP" else "! same_as"
    if rule.communities is not None:
        yield from (f"({_community(value)} ~ {_list_of(value)})" for value in rule.communities.values)
    if rule.as_path_prefix:
        yield f"(bgp_path ~ [= {' '.join(map(str, rule.as_path_prefix))} * =])"
    if rule.priority is not None:
        yield f"defined(bgp_local_pref) && bgp_local_pref = {HIGHEST_LOCAL_PREF - rule.priority}"


def _prefix(rule: FilterRule) -> str:
    """The lengths belong to what NotEqual and NotIn deny, as in Calico's prefix sets."""
    assert rule.cidr is not None
    longest = rule.cidr.max_prefixlen
    equal = rule.match_operator in ("Equal", "NotEqual")
    low = high = rule.cidr.prefixlen
    if not equal:
        high = longest
    if rule.prefix_length is not None:
        wanted = rule.prefix_length
        low = max(low, low if wanted.min is None else wanted.min)
        high = min(high, high if wanted.max is None else wanted.max)
    if low > high:
        return "true" if rule.match_operator in ("NotEqual", "NotIn") else "false"
    within = f"net ~ [{rule.cidr}{{{low},{high}}}]"
    return f"! ({within})" if rule.match_operator in ("NotEqual", "NotIn") else within


def _operations(rule: FilterRule) -> Iterator[str]:
    for operation in rule.operations:
        if operation.add_community is not None:
            yield add_community(operation.add_community.value)
        if operation.prepend_as_path is not None:
            yield from (f"bgp_path.prepend({number});" for number in reversed(operation.prepend_as_path.prefix))
        if operation.set_priority is not None:
            yield f"bgp_local_pref = {HIGHEST_LOCAL_PREF - operation.set_priority.value};"


def add_community(value: str) -> str:
    return f"{_list_of(value)}.add({_community(value)});"


def _community(value: str) -> str:
    """Parsed on the way: numbers come out."""
    return f"({', '.join(str(int(part)) for part in value.split(':'))})"


def _list_of(value: str) -> str:
    return "bgp_community" if value.count(":") == 1 else "bgp_large_community"
