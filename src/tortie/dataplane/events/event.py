"""What is told of a packet that was dropped, or that a Log action named; JSON by msgspec as it stands."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    DROP = "drop"
    LOG = "log"


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Names are those of resources, like `WorkloadEndpoint(default/web)`. What is not known is left out."""

    number: int = 0  # one more with every event that is told; those between are lost
    time_s: float  # since the epoch
    kind: Kind
    reason: str  # of a drop: a `Reason`
    source: str = ""
    source_port: int | None = None
    destination: str = ""
    destination_port: int | None = None
    protocol: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    tcp_flags: int | None = None
    interface: str = ""  # by which it came; empty when the host sent it
    out_interface: str = ""  # by which it would have left, if that was known
    source_mac: str = ""
    sender: str = ""  # our endpoint that sent it
    receiver: str = ""  # our endpoint that it was for
    endpoint: str = ""  # at which it was decided
    tier: str = ""
    policy: str = ""
    rule: str = ""  # the rule that decided, like `GlobalNetworkPolicy(web) ingress rule 0`
    logged_by: tuple[str, ...] = ()  # every rule with a Log action that it met
    untold: int = 0  # so many of the same endpoint before this one were not told
