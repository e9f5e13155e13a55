"""What a BGPPeer or the mesh says about its sessions, whomever they are with; and what of it is not rendered.

Times are what BIRD takes: whole seconds within its bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from tortie.intent.bgp import (
    KEEPALIVE_TIME_S,
    RESTART_TIME_S,
    Address,
    Advertisement,
    BgpProblem,
    NextHop,
    SecretRef,
)
from tortie.model.kinds.bgpconfiguration import BGPConfigurationSpec, PrefixAdvertisement
from tortie.model.kinds.bgppeer import BGPPeerSpec
from tortie.model.resource import Resource, ResourceKey
from tortie.model.secret import BgpPassword

MESH = ResourceKey("BGPConfiguration", "", "default")

_MAX_RESTART_TIME_S = 4095  # RFC 4724: twelve bits
_MAX_KEEPALIVE_TIME_S = 21845  # RFC 4271: the hold time, three times as long, has sixteen bits

# Fields of the documents that are rendered, or mean nothing here. Any other that has a value is a problem.
_PEER_FIELDS = frozenset(
    {
        *("node", "nodeSelector", "peerIP", "asNumber", "peerSelector", "reversePeering"),
        *("sourceAddress", "keepOriginalNextHop", "nextHopMode", "password", "filters", "localASNumber"),
        *("maxRestartTime", "keepaliveTime", "numAllowedLocalASNumbers", "ttlSecurity", "reachableBy"),
    }
)
_CONFIGURATION_FIELDS = frozenset(
    {
        *("nodeToNodeMeshEnabled", "asNumber", "listenPort", "nodeMeshPassword", "ignoredInterfaces"),
        *("nodeMeshMaxRestartTime", "bindMode", "communities", "prefixAdvertisements"),
        *("logSeverityScreen", "serviceLoadBalancerAggregation"),  # Calico writes them into every object
    }
)
# What Calico does when the field is absent, and we do always.
_CONFIGURATION_DEFAULTS = {
    "programClusterRoutes": "EnabledNoEncapOnly",
    "ipv4NormalRoutePriority": 1024,
    "ipv6NormalRoutePriority": 1024,
}


class Terms(NamedTuple):
    """What an object says about its sessions, whomever they are with."""

    source: ResourceKey
    password: SecretRef | None = None
    use_node_ip: bool = True
    next_hop: NextHop = NextHop.AUTO
    next_hop_only_to_other_as: bool = False
    filters: tuple[str, ...] = ()
    local_as: int = 0  # 0: the node's own
    peer_as: int = 0  # what another node shows to us; 0: its own
    hops: int = 0
    own_as_allowed: int = 0
    restart_time_s: int = RESTART_TIME_S
    keepalive_time_s: int = KEEPALIVE_TIME_S
    reachable_by: Address | None = None

    def reversed(self) -> Terms:
        """The same sessions at their other end, which has nothing of its own to say of AS numbers."""
        return self._replace(local_as=0, peer_as=self.local_as)

    def seen_from_the_other_side(self, *, both: bool) -> Terms:
        """With `both` the other end shows the AS number of the rule too."""
        return self._replace(peer_as=self.local_as) if both else self


def peer_terms(rule: Resource[BGPPeerSpec]) -> Terms:
    spec = rule.spec
    mode = spec.next_hop_mode or ("Keep" if spec.keep_original_next_hop else "Auto")
    return Terms(
        source=rule.key,
        password=_secret(spec.password),
        use_node_ip=spec.source_address != "None",
        next_hop=NextHop(mode),
        next_hop_only_to_other_as=spec.keep_original_next_hop,  # as Calico has it, unlike nextHopMode
        filters=spec.filters,
        local_as=spec.local_as_number or 0,
        hops=spec.ttl_security or 0,
        own_as_allowed=max(spec.num_allowed_local_as_numbers or 0, 0),
        restart_time_s=_seconds(spec.max_restart_time, RESTART_TIME_S, _MAX_RESTART_TIME_S),
        keepalive_time_s=_seconds(spec.keepalive_time, KEEPALIVE_TIME_S, _MAX_KEEPALIVE_TIME_S),
        reachable_by=spec.reachable_by,
    )


def mesh_terms(default: BGPConfigurationSpec | None) -> Terms:
    if default is None:
        return Terms(MESH)
    return Terms(
        MESH,
        password=_secret(default.node_mesh_password),
        restart_time_s=_seconds(default.node_mesh_max_restart_time, RESTART_TIME_S, _MAX_RESTART_TIME_S),
    )


def unrendered_fields(rule: Resource[BGPPeerSpec]) -> list[str]:
    return _unrendered(rule, _PEER_FIELDS)


def ignored_fields(configuration: Resource[BGPConfigurationSpec]) -> Iterator[BgpProblem]:
    for field in _unrendered(configuration, _CONFIGURATION_FIELDS):
        if configuration.document["spec"][field] != _CONFIGURATION_DEFAULTS.get(field):
            yield BgpProblem(configuration.key, f"spec.{field} is not supported yet: ignored")


def community_rules(
    configurations: Sequence[Resource[BGPConfigurationSpec]],
) -> tuple[tuple[Advertisement, ...], list[BgpProblem]]:
    """The communities of announced routes: those of the node's own object alone, if it has any, as Calico has it."""
    rules: list[Advertisement] = []
    problems: list[BgpProblem] = []
    names = {each.name: each.value for configuration in configurations for each in configuration.spec.communities}
    for configuration in configurations:
        if configuration.spec.prefix_advertisements:
            rules, problems = [], []
            for advertisement in configuration.spec.prefix_advertisements:
                values, unknown = _communities(advertisement, names)
                rules.append(Advertisement(advertisement.cidr, values))
                problems += [
                    BgpProblem(
                        configuration.key, f"spec.prefixAdvertisements: no community is named {name!r}: left out"
                    )
                    for name in unknown
                ]
    return tuple(rule for rule in rules if rule.communities), problems


def _communities(
    advertisement: PrefixAdvertisement, names: dict[str, str]
) -> tuple[tuple[tuple[int, ...], ...], list[str]]:
    values, unknown = [], []
    for word in advertisement.communities:
        value = names.get(word, word)
        if all(part.isdecimal() for part in value.split(":")):
            values.append(tuple(map(int, value.split(":"))))
        else:
            unknown.append(word)
    return tuple(values), unknown


def _secret(password: BgpPassword | None) -> SecretRef | None:
    """A password that names no secret becomes a secret that cannot be had: never a session without it."""
    if password is None:
        return None
    ref = password.secret_key_ref
    return SecretRef(ref.name, ref.key) if ref else SecretRef("", "")


def _unrendered(resource: Resource[Any], rendered: frozenset[str]) -> list[str]:
    """Fields of the document that say something and are not rendered, also those that only a newer Calico knows."""
    fields = resource.document.get("spec") or {}
    return sorted(name for name, value in fields.items() if value and name not in rendered)


def _seconds(duration: timedelta | None, default: int, at_most: int) -> int:
    return default if duration is None else min(max(round(duration.total_seconds()), 1), at_most)
