"""The board as Prometheus metrics; rendered on demand, so nothing has to be kept in step."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from tortie.intent.report import EndpointState
from tortie.status import Board


def render_metrics(board: Board) -> bytes:
    """The text of `/metrics`."""
    registry = CollectorRegistry()
    registry.register(_BoardCollector(board))
    return generate_latest(registry)


class _BoardCollector:
    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        board = self._board
        endpoints = GaugeMetricFamily("tortie_endpoints", "Local workload endpoints by state.", labels=["state"])
        tally = Tally(report.state for report in board.endpoints.values())
        for state in EndpointState:
            endpoints.add_metric([state.value], tally[state])
        yield endpoints
        yield GaugeMetricFamily("tortie_rows_pending", "Kernel rows not yet as wanted.", value=len(board.pending))
        yield GaugeMetricFamily(
            "tortie_problems", "Objects left out and settings that hurt.", value=len(board.problems)
        )
        yield CounterMetricFamily(
            "tortie_rows_written", "Kernel rows of routing written or deleted.", value=board.writes
        )
        yield CounterMetricFamily(
            "tortie_policy_rows_written", "Kernel rows of policy written or deleted.", value=board.policy_writes
        )
        yield GaugeMetricFamily("tortie_datastore_connected", "1 while the datastore answers.", value=board.connected)
        yield GaugeMetricFamily("tortie_datastore_revision", "Revision in force.", value=board.revision)
        yield GaugeMetricFamily(
            "tortie_policy_revision", "Revision whose policy holds for every packet.", value=board.enforced_revision
        )
        yield GaugeMetricFamily("tortie_loop_lag_seconds", "Event loop delay.", value=board.loop_lag_ms / 1000)
        sessions = GaugeMetricFamily(
            "tortie_bgp_session_established", "1 while the session is up.", labels=["session", "peer"]
        )
        for session in board.bird.sessions:
            sessions.add_metric([session.name, session.address], session.state == "Established")
        yield sessions
