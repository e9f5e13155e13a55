"""BIRD's configuration from the intent: pure, and the same text for equal intents.

Invariants:
* What a user can name (interface patterns, passwords) cannot break out of its quotes: a value that was not
  validated before it came here is a programming error.
* Timers are constants: BIRD restarts a session whose timers change, and that withdraws its routes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from tortie.bgp.filters import function_name, functions
from tortie.bgp.routes import COMMON, Host, family, kernel_import
from tortie.intent.bgp import (
    KEEPALIVE_TIME_S,
    RESTART_TIME_S,
    BgpIntent,
    Direction,
    NextHop,
    Peer,
    SecretRef,
)

_MARK = re.compile(r"^define (tortie_[0-9a-f]+) = 0;$", re.MULTILINE)
_TO_KERNEL = re.compile(r"(?<=^    )export where source = RTS_BGP;$", re.MULTILINE)
_SESSION_NAME = re.compile(r"^protocol bgp (\S+) ", re.MULTILINE)
_TO_PEER = re.compile(r"(?<=^    )export (?!where source = RTS_BGP;$).*;$", re.MULTILINE)
_INTERFACES = re.compile(r"[A-Za-z0-9_.*-]{1,16}")
_PASSWORD = re.compile(r"[ !#-~]{1,80}")  # BIRD's strings know no escape; a TCP MD5 key has 80 bytes at most


def render(intent: BgpIntent, host: Host, secrets: Mapping[SecretRef, str]) -> str:
    """The whole configuration, for the peers of `possible_peers`; included, without what BIRD may have only once."""
    before = () if host.included else (_BASE.format(router_id=intent.router_id), _direct(intent.hidden_interfaces))
    text = _marked(
        *before,
        COMMON,
        *(family(version, intent, host) for version in (4, 6)),
        *(text for each in intent.filters for version in (4, 6) for text in functions(each, version, _interface)),
        _SESSION,
        *(_session(peer, intent, secrets) for peer in possible_peers(intent, secrets)),
    )
    return text if intent.announcing else withdrawn(text)


def withdrawn(text: str) -> str:
    """The same configuration, but for what peers are told: of no route any more. Their routes still come in.

    Also for a text that an earlier agent left, so that it needs neither an agent nor a datastore. Raises ValueError for
    one that is not ours.
    """
    return _changed(text, _TO_PEER, "export none;")


def retired(text: str) -> str:
    """As `withdrawn`, and BIRD takes back what it wrote to the kernel."""
    return _changed(withdrawn(text), _TO_KERNEL, "export none;")


def _changed(text: str, pattern: re.Pattern[str], replacement: str) -> str:
    mark = _MARK.search(text)
    if mark is None:
        raise ValueError("not a configuration of tortie")
    return _marked(pattern.sub(replacement, text[mark.end() + 1 :]))


def stand_alone(included: str) -> str:
    """A configuration around one that is included, for BIRD to check; whatever the router id is."""
    return _BASE.format(router_id="192.0.2.1") + included


def possible_peers(intent: BgpIntent, secrets: Mapping[SecretRef, str]) -> list[Peer]:
    """The peers but those whose password is not in `secrets`: never a session without its password."""
    return [peer for peer in intent.peers if peer.password is None or peer.password in secrets]


def render_initial(*, included: bool = False) -> str:
    """What BIRD starts with where no agent has written a configuration yet.

    Without kernel protocols: they would delete the routes that an earlier BIRD left in the kernel. A host's BIRD needs
    the filter that its kernel protocols name.
    """
    if included:
        return _marked(*(kernel_import(version, ()) for version in (4, 6)))
    return _marked(_BASE.format(router_id="192.0.2.1"))  # RFC 5737: BIRD insists on some router id


def mark_of(text: str) -> str:
    """The constant that BIRD knows exactly while it runs this text; empty for a text that is not ours."""
    found = _MARK.search(text)
    return found[1] if found else ""


def sessions_of(text: str) -> list[str]:
    """The names of a configuration's BGP sessions."""
    return _SESSION_NAME.findall(text)


def is_password(password: str) -> bool:
    """BIRD can take this password."""
    return _PASSWORD.fullmatch(password) is not None


def _marked(*sections: str) -> str:
    text = "\n".join(sections)
    digest = hashlib.sha256(text.encode()).hexdigest()[:24]
    return (
        f"# Written by tortie, which replaces it when it differs: edits are lost.\ndefine tortie_{digest} = 0;\n{text}"
    )


# A restart with -R delays new routes until every peer is back, so a dead one must not hold up the rest for BIRD's
# 240 s; and it must end before the peers' own restart time, or they drop our routes although we are back.
_BASE = """\
log stderr all;
timeformat base iso long ms;
timeformat protocol iso long ms;
router id {router_id};
graceful restart wait 15;

protocol device {{
  scan time 10;
}}
"""


def _direct(hidden: Iterable[str]) -> str:
    patterns = [f'-"{_checked(_INTERFACES, pattern)}"' for pattern in hidden]
    return _DIRECT.format(interfaces=", ".join([*patterns, '"*"']))


_DIRECT = """\
# Subnets of this host. BGP next hops are found in them; they are announced to nobody.
protocol direct {{
  interface {interfaces};
  ipv4;
  ipv6;
}}
"""

_SESSION = f"""\
template bgp tortie_session {{
  graceful restart on;
  graceful restart time {RESTART_TIME_S};
  hold time {3 * KEEPALIVE_TIME_S};
  keepalive time {KEEPALIVE_TIME_S};
  connect delay time 1;
  connect retry time 2;
  error wait time 1, 5;
}}
"""


def _session(peer: Peer, intent: BgpIntent, secrets: Mapping[SecretRef, str]) -> str:
    local = f"{peer.local_address} " if peer.local_address else ""
    lines = [
        f"local {local}port {intent.listen_port} as {peer.local_as};",
        f"neighbor {peer.address} port {peer.port} as {peer.as_number};",
        *_distance(peer),
    ]
    if _binds_to_address(peer, intent):
        # `free bind`: the address may come after BIRD.
        lines += ["strict bind on;", "free bind on;"]
    if peer.passive:
        lines.append("passive on;")
    if peer.reflector_client:
        lines += ["rr client;", f"rr cluster id {intent.cluster_id};"]
    if peer.own_as_allowed:
        lines.append(f"allow local as {peer.own_as_allowed};")
    if peer.restart_time_s != RESTART_TIME_S:
        lines.append(f"graceful restart time {peer.restart_time_s};")
    if peer.keepalive_time_s != KEEPALIVE_TIME_S:
        hold_time_s = max(3 * KEEPALIVE_TIME_S, 3 * peer.keepalive_time_s)
        lines += [f"hold time {hold_time_s};", f"keepalive time {peer.keepalive_time_s};"]
    if peer.password:
        lines.append(f'password "{_checked(_PASSWORD, secrets[peer.password])}";')
    lines += [f"ipv{peer.address.version} {{", *(f"  {line}" for line in _channel(peer, intent)), "};"]
    return f"protocol bgp {peer.name} from tortie_session {{\n" + "".join(f"  {line}\n" for line in lines) + "}\n"


def _distance(peer: Peer) -> list[str]:
    if not peer.hops:
        return ["direct;" if _is_direct(peer) else "multihop;"]
    return ["direct;" if _is_direct(peer) else f"multihop {peer.hops};", "ttl security on;"]


def _binds_to_address(peer: Peer, intent: BgpIntent) -> bool:
    """One session that needs every address takes the port everywhere, and another could not have it at one."""
    family = [each for each in intent.peers if each.address.version == peer.address.version]
    return intent.node_address_only and all(each.local_address for each in family)


def _channel(peer: Peer, intent: BgpIntent) -> list[str]:
    lines = [f"import {_import(peer, intent)};", f"export {_export(peer, intent)};"]
    if peer.next_hop is not NextHop.AUTO:
        lines.append(f"next hop {peer.next_hop.lower()};")
    if not _is_direct(peer):
        lines.append("gateway recursive;")
    return lines


def _import(peer: Peer, intent: BgpIntent) -> str:
    calls = _calls(peer, intent, "import")
    return f"filter {{ {' '.join([*calls, 'tortie_take();'])} }}" if calls else "filter tortie_from_peer"


def _export(peer: Peer, intent: BgpIntent) -> str:
    version = peer.address.version
    steps = [] if peer.internal else [f"tortie_to_other_as{version}({peer.address});"]
    if calls := _calls(peer, intent, "export"):
        steps += [f"tortie_before_rules{version}();", *calls]
    return f"filter {{ {' '.join([*steps, f'tortie_announce{version}();'])} }}"


def _calls(peer: Peer, intent: BgpIntent, direction: Direction) -> list[str]:
    """Calls of the peer's filters, in its order."""
    version = peer.address.version
    ruled = {each.name for each in intent.filters if each.rules(direction, version)}
    internal = "true" if peer.internal else "false"
    return [f"{function_name(name, direction, version)}({internal});" for name in peer.filters if name in ruled]


def _is_direct(peer: Peer) -> bool:
    """A router of another AS on our link: its routes need no lookup of their next hop, so they can serve others."""
    return peer.on_link and not peer.internal and peer.hops <= 1


def _interface(pattern: str) -> str:
    return _checked(_INTERFACES, pattern)


def _checked(allowed: re.Pattern[str], text: str) -> str:
    if not allowed.fullmatch(text):
        raise ValueError("a value was not validated before it reached BIRD's configuration")
    return text
