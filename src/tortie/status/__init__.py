"""What this node is doing, as one immutable value that every reader shares.

The agent replaces the board after each pass; the API, the metrics and the waiting attach calls only read it.
"""

from tortie.status.board import LIMITS_S, Bird, Board, Dropped, Duration, Logged, Repaired, Session, Vitals, Waiting

__all__ = ["LIMITS_S", "Bird", "Board", "Dropped", "Duration", "Logged", "Repaired", "Session", "Vitals", "Waiting"]
