"""Which routes BIRD takes from the kernel and writes to it, and which it tells to peers: text from intent, pure.

Invariants:
* A route leaves this node only if it lies in an exported pool, and is either a workload's route with our protocol
  number or one that BGP brought and may pass on. Connected and foreign routes never leave, unless a BGPFilter accepts
  them by name; the host's own default route not even then.
* Only BGP routes are written to the kernel.
* All names begin with `tortie_`: a host's own BIRD may include this text beside anything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tortie.bgp.filters import HIGHEST_LOCAL_PREF, add_community
from tortie.conventions import ELEVATED_ROUTE_PROTOCOL, ROUTE_PROTOCOL
from tortie.intent.bgp import Advertisement, BgpIntent, Network, Pool

# Calico's values, so that its nodes and ours yield to each other.
NORMAL_LOCAL_PREF = HIGHEST_LOCAL_PREF - 1024
ELEVATED_LOCAL_PREF = HIGHEST_LOCAL_PREF - 512


class Host(NamedTuple):
    """What the configuration is for: a BIRD of our own, or as a part of a BIRD's that the host runs anyway."""

    kernel_metric: int = 32
    included: bool = False


# LOCAL_PREF counts within an AS only: from another AS every route comes with BIRD's 100 and is not elevated.
COMMON = f"""\
# A workload that moved to another host wins over our own normal route (120), so that we yield.
function tortie_take() {{
  if bgp_local_pref > {NORMAL_LOCAL_PREF} then preference = 200;
  accept;
}}

filter tortie_from_peer {{
  tortie_take();
}}
"""


def family(version: int, intent: BgpIntent, host: Host) -> str:
    host_bits = 128 if version == 6 else 32
    ours = [pool for pool in intent.pools if pool.network.version == version]
    gifts = [each for each in intent.advertisements if each.network.version == version]
    reached = [(peer.address, peer.reachable_by) for peer in intent.peers if peer.reachable_by and not host.included]
    gateways = [f"  route {to}/{host_bits} via {gateway};\n" for to, gateway in reached if to.version == version]
    return "\n".join(
        [
            kernel_import(version, ours),
            _EXPORT.format(
                v=version,
                exported=_within(pool.network for pool in ours if pool.exported),
                withheld=_within(pool.network for pool in ours if not pool.exported),
                host_bits=host_bits,
                normal=ROUTE_PROTOCOL,
                elevated=ELEVATED_ROUTE_PROTOCOL,
                normal_pref=NORMAL_LOCAL_PREF,
                communities="".join(f"  {_gift(each)}\n" for each in gifts),
            ),
            *([] if host.included else [_KERNEL.format(v=version, metric=host.kernel_metric)]),
            *([_STATIC.format(v=version, routes="".join(gateways))] if gateways else []),
        ]
    )


def kernel_import(version: int, pools: Iterable[Pool]) -> str:
    """What comes from the kernel; a BIRD that includes us names this filter in its own lines."""
    return _KERNEL_IMPORT.format(
        v=version,
        pools=_within(pool.network for pool in pools),
        normal=ROUTE_PROTOCOL,
        normal_pref=NORMAL_LOCAL_PREF,
        elevated=ELEVATED_ROUTE_PROTOCOL,
        elevated_pref=ELEVATED_LOCAL_PREF,
    )


def _gift(each: Advertisement) -> str:
    adds = [add_community(":".join(map(str, community))) for community in each.communities]
    return f"if net ~ {_within([each.network])} then {{ {' '.join(adds)} }}"


def _within(networks: Iterable[Network]) -> str:
    """A set of the networks and all that lies in them; the empty set needs BIRD 2.0.11."""
    return "[" + ", ".join(f"{network}+" for network in networks) + "]"


_KERNEL_IMPORT = """\
define tortie_pools{v} = {pools};

# Workloads here, normal and just moved here; other routes only as the way to next hops, never within a pool.
filter tortie_from_kernel{v} {{
  if krt_source = {normal} then {{ preference = 120; bgp_local_pref = {normal_pref}; accept; }}
  if krt_source = {elevated} then {{ preference = 300; bgp_local_pref = {elevated_pref}; accept; }}
  if net ~ tortie_pools{v} then reject;
  preference = 10;
  accept;
}}
"""

# MED tells another AS which host is the origin of a route and which ones merely could pass it on: it sees the same AS
# path from all.
_EXPORT = """\
define tortie_exported{v} = {exported};
define tortie_withheld{v} = {withheld};

function tortie_announced{v}() {{
  if net ~ tortie_withheld{v} || net !~ tortie_exported{v} then return false;
  if source = RTS_BGP then return true;
  return net.len = {host_bits} && defined(krt_source) && (krt_source = {normal} || krt_source = {elevated});
}}

function tortie_announce{v}() {{
  if ! tortie_announced{v}() then reject;
{communities}  accept;
}}

# On a common link BIRD tells the peer our own gateway to the workload. Where that is the peer itself it would tell
# nothing, though the peer knows the way: to the host, as it was told to us.
function tortie_to_other_as{v}(ip neighbor_ip) {{
  if source != RTS_BGP then bgp_med = 0;
  else {{
    bgp_med = 100;
    if gw = neighbor_ip then bgp_next_hop = bgp_next_hop;
  }}
}}

# Before the rules of users, who may announce what they like, but not by an oversight the way out of this host.
function tortie_before_rules{v}() {{
  if net.len = 0 && source != RTS_BGP then reject;
  if ! defined(bgp_local_pref) then bgp_local_pref = {normal_pref};
}}
"""

# `learn` brings the workloads' routes, and foreign ones as the way to next hops behind a router. Learned routes
# come at once; the scan repairs what a lost message left, and the large buffer makes losses rare: with the default
# one a burst of 1000 routes waits for the next scan.
_KERNEL = """\
protocol kernel kernel{v} {{
  learn;
  persist;
  scan time 10;
  metric {metric};
  merge paths on;
  netlink rx buffer 67108864;
  graceful restart on;
  ipv{v} {{
    import filter tortie_from_kernel{v};
    export where source = RTS_BGP;
  }};
}}
"""

# Else a route to the peer that the peer itself announces would come and go with the session.
_STATIC = """\
protocol static reachable{v} {{
  ipv{v};
{routes}}}
"""
