"""Why a packet passes or not: the judge asked at both ends, and its answers in words.

`cluster` computes what each node concerned must let pass, from one snapshot of the store; `party` finds who is meant by
a name or an address; `flow` reads `tcp/443`; `journey` takes a packet from one node to the other; `words` tells of it.
"""

from tortie.explain.cluster import Cluster
from tortie.explain.flow import FlowKind, parse_flow
from tortie.explain.journey import Explanation, Leg, Matched, explain
from tortie.explain.party import Party, find_party

__all__ = ["Cluster", "Explanation", "FlowKind", "Leg", "Matched", "Party", "explain", "find_party", "parse_flow"]
