"""Tracked connections that policy does not allow any more are cut.

`judging` makes a packet of a connection and asks the judge; `closing` and `departures` say what a change means for
connections; `audit` walks and deletes.
"""

from tortie.dataplane.flows.audit import FlowAudit

__all__ = ["FlowAudit"]
