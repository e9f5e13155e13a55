"""BIRD's configuration from the intent: pure, and the same text for equal intents.

Invariants:
* A route leaves this node only if it lies in an exported pool, and is either a workload's route with our protocol
  number or one that BGP brought and may pass on. Connected and foreign routes never leave.
* Only BGP routes are written to the kernel.
* What a user can name (interface patterns, passwords) cannot break out of its quotes: a value that was not
  validated before it came here is a programming error.
* Timers are constants: BIRD restarts a session whose timers change, and that withdraws its routes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from tortie.conventions import ELEVATED_ROUTE_PROTOCOL, ROUTE_PROTOCOL
from tortie.intent.bgp import BgpIntent, Network, NextHop, Peer, Pool, SecretRef

# Calico's values, so that its nodes and ours yield to each other: 2^31-1 minus the route priority 1024 or 512.
NORMAL_LOCAL_PREF = 2147482623
ELEVATED_LOCAL_PREF = 2147483135

_MARK = re.compile(r"^define (tortie_[0-9a-f]+) = 0;$", re.MULTILINE)
_INTERFACES = re.compile(r"[A-Za-z0-9_.*-]{1,16}")
_PASSWORD = re.compile(r"[ !#-~]{1,80}")  # BIRD's strings know no escape; a TCP MD5 key has 80 bytes at most


def render(intent: BgpIntent, kernel_metric: int, secrets: Mapping[SecretRef, str]) -> str:
    """The whole configuration, for the peers of `possible_peers`."""
    return _marked(
        _BASE.format(router_id=intent.router_id),
        _direct(intent.hidden_interfaces),
        _COMMON,
        _family(4, 32, intent.pools, kernel_metric),
        _family(6, 128, intent.pools, kernel_metric),
        _SESSION,
        *(_session(peer, intent, secrets) for peer in possible_peers(intent, secrets)),
    )


def possible_peers(intent: BgpIntent, secrets: Mapping[SecretRef, str]) -> list[Peer]:
    """The peers but those whose password is not in `secrets`: never a session without its password."""
    return [peer for peer in intent.peers if peer.password is None or peer.password in secrets]


def render_initial() -> str:
    """What BIRD starts with where no agent has written a configuration yet.

    Without kernel protocols: they would delete the routes that an earlier BIRD left in the kernel.
    """
    return _marked(_BASE.format(router_id="192.0.2.1"))  # RFC 5737: BIRD insists on some router id


def mark_of(text: str) -> str:
    """The constant that BIRD knows exactly while it runs this text; empty for a text that is not ours."""
    found = _MARK.search(text)
    return found[1] if found else ""


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

# LOCAL_PREF counts within an AS only: from another AS every route comes with BIRD's 100 and is not elevated.
_COMMON = f"""\
# A workload that moved to another host wins over our own normal route (120), so that we yield.
filter from_peer {{
  if bgp_local_pref > {NORMAL_LOCAL_PREF} then preference = 200;
  accept;
}}
"""


def _family(version: int, host_bits: int, pools: Iterable[Pool], metric: int) -> str:
    ours = [pool for pool in pools if pool.network.version == version]
    return _FAMILY.format(
        v=version,
        pools=_within(pool.network for pool in ours),
        exported=_within(pool.network for pool in ours if pool.exported),
        withheld=_within(pool.network for pool in ours if not pool.exported),
        host_bits=host_bits,
        metric=metric,
        normal=ROUTE_PROTOCOL,
        normal_pref=NORMAL_LOCAL_PREF,
        elevated=ELEVATED_ROUTE_PROTOCOL,
        elevated_pref=ELEVATED_LOCAL_PREF,
    )


def _within(networks: Iterable[Network]) -> str:
    """A set of the networks and all that lies in them; the empty set needs BIRD 2.0.11."""
    return "[" + ", ".join(f"{network}+" for network in networks) + "]"


# `learn` brings the workloads' routes, and foreign ones as the way to next hops behind a router. Learned routes
# come at once; the scan repairs what a lost message left, and the large buffer makes losses rare: with the default
# one a burst of 1000 routes waits for the next scan. MED tells another AS which host is the origin of a route and
# which ones merely could pass it on: it sees the same AS path from all.
_FAMILY = """\
define pools{v} = {pools};
define exported{v} = {exported};
define withheld{v} = {withheld};

function announced{v}() {{
  if net ~ withheld{v} || net !~ exported{v} then return false;
  if source = RTS_BGP then return true;
  return net.len = {host_bits} && (krt_source = {normal} || krt_source = {elevated});
}}

# Workloads here, normal and just moved here; other routes only as the way to next hops, never within a pool.
filter from_kernel{v} {{
  if krt_source = {normal} then {{ preference = 120; bgp_local_pref = {normal_pref}; accept; }}
  if krt_source = {elevated} then {{ preference = 300; bgp_local_pref = {elevated_pref}; accept; }}
  if net ~ pools{v} then reject;
  preference = 10;
  accept;
}}

# On a common link BIRD tells the peer our own gateway to the workload. Where that is the peer itself it would tell
# nothing, though the peer knows the way: to the host, as it was told to us.
function to_other_as{v}(ip neighbor_ip) {{
  if ! announced{v}() then reject;
  if source != RTS_BGP then {{ bgp_med = 0; accept; }}
  bgp_med = 100;
  if gw = neighbor_ip then bgp_next_hop = bgp_next_hop;
  accept;
}}

protocol kernel kernel{v} {{
  learn;
  persist;
  scan time 10;
  metric {metric};
  merge paths on;
  netlink rx buffer 67108864;
  graceful restart on;
  ipv{v} {{
    import filter from_kernel{v};
    export where source = RTS_BGP;
  }};
}}
"""

_SESSION = """\
template bgp session {
  graceful restart on;
  graceful restart time 120;
  hold time 90;
  keepalive time 30;
  connect delay time 1;
  connect retry time 2;
  error wait time 1, 5;
}
"""


def _session(peer: Peer, intent: BgpIntent, secrets: Mapping[SecretRef, str]) -> str:
    local = f"{peer.local_address} " if peer.local_address else ""
    lines = [
        f"local {local}port {intent.listen_port} as {peer.local_as};",
        f"neighbor {peer.address} port {peer.port} as {peer.as_number};",
        f"{'direct' if _is_direct(peer) else 'multihop'};",
    ]
    if peer.passive:
        lines.append("passive on;")
    if peer.reflector_client:
        lines += ["rr client;", f"rr cluster id {intent.cluster_id};"]
    if peer.password:
        lines.append(f'password "{_checked(_PASSWORD, secrets[peer.password])}";')
    lines += [f"ipv{peer.address.version} {{", *(f"  {line}" for line in _channel(peer)), "};"]
    return f"protocol bgp {peer.name} from session {{\n" + "".join(f"  {line}\n" for line in lines) + "}\n"


def _channel(peer: Peer) -> list[str]:
    lines = ["import filter from_peer;", f"export {_export(peer)};"]
    if peer.next_hop is not NextHop.AUTO:
        lines.append(f"next hop {peer.next_hop.lower()};")
    if not _is_direct(peer):
        lines.append("gateway recursive;")
    return lines


def _export(peer: Peer) -> str:
    version = peer.address.version
    if peer.internal:
        return f"where announced{version}()"
    return f"filter {{ to_other_as{version}({peer.address}); }}"


def _is_direct(peer: Peer) -> bool:
    """A router of another AS on our link: its routes need no lookup of their next hop, so they can serve others."""
    return peer.on_link and not peer.internal


def _checked(allowed: re.Pattern[str], text: str) -> str:
    if not allowed.fullmatch(text):
        raise ValueError("a value was not validated before it reached BIRD's configuration")
    return text
