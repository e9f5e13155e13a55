"""Packets that were dropped, or that a Log action named, as events with reasons and names.

`listener` hears what any backend's rules tell of; `wire` reads the packet, `naming` asks the judge, `ration` and `ring`
bound what is kept; `counters` keeps totals of what the kernel counts.
"""

from tortie.dataplane.events.counters import DropCounters
from tortie.dataplane.events.event import Event, Kind
from tortie.dataplane.events.listener import Listener
from tortie.dataplane.events.ring import Page, Ring

__all__ = ["DropCounters", "Event", "Kind", "Listener", "Page", "Ring"]
